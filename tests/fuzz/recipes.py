"""Recipes as JSON: every valid one comes back the same, and one from elsewhere is a recipe or a sentence. Reading opens, imports and runs
nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, reject
from hypothesis import strategies as st

import workbench as wb
from tests.fuzz.damage import wounded
from tests.fuzz.watch import watched
from workbench.errors import RecipeError, WorkbenchError
from workbench.recipes import PRECISIONS, SCHEDULES, Recipe

COUNT, RATE, NAME = st.integers(1, 10**6), st.floats(1e-9, 1.0), st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=10)
METHODS = st.one_of(
    st.builds(
        wb.LoRA,
        rank=st.integers(1, 64),
        alpha=st.none() | st.floats(0.1, 99),
        dropout=st.floats(0, 0.9),
        variant=st.sampled_from(("lora", "rslora", "dora")),
        rank_pattern=st.dictionaries(st.sampled_from(("q_proj", "layers.0.*")), st.integers(0, 9), max_size=2),
    ),
    st.builds(wb.Full),
    st.builds(wb.BitFit),
    st.builds(wb.Freeze, st.lists(st.sampled_from(("embed_tokens", "layers.0")), min_size=1, max_size=2)),
    st.builds(wb.Adapters, size=st.integers(1, 99)),
    st.builds(wb.PromptTuning, tokens=st.integers(1, 99)),
    st.just(wb.Peft(config={"peft_type": "IA3"})),
    st.builds(wb.QLoRA, rank=st.integers(1, 9)),
)
OBJECTIVES = st.one_of(
    st.sampled_from(("sft", "dpo", "kto", "orpo", "reward")),
    st.builds(wb.DPO, beta=st.floats(0.01, 9)),
    st.builds(wb.IPO, beta=st.floats(0.01, 9)),
    st.builds(
        wb.PPO, rewards=st.dictionaries(NAME, st.sampled_from(("town:helpful", "x.py:f", "https://a.example/s")), min_size=1, max_size=2)
    ),
)
MIXTURES = st.dictionaries(NAME, st.sampled_from(("town:facts", "a.jsonl")), min_size=1, max_size=3).map(
    lambda sources: wb.Mixture(sources, rule="weights", weights=dict.fromkeys(sources, 1.5), counts=dict.fromkeys(sources, 7))
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    objective = draw(OBJECTIVES)
    fields = {
        "objective": objective,
        "method": draw(METHODS),
        "learning_rate": draw(RATE),
        "data": draw(st.just("town:instructions") | NAME | MIXTURES),
    }
    drawn = {
        "batch_size": COUNT,
        "seed": st.integers(0, 2**63),
        "schedule": st.sampled_from(SCHEDULES),
        "precision": st.sampled_from(PRECISIONS),
        "max_length": st.integers(8, 10**6),
        "heldout": st.floats(0, 0.9),
        "steps": st.none() | COUNT,
        "evaluate_every": st.none() | COUNT,
        "warmup_steps": st.floats(0, 0.9) | COUNT,
        "model": NAME,
        "optimizer_arguments": st.dictionaries(st.sampled_from(("beta1", "epsilon")), RATE),
        "training_arguments": st.just({}) | st.just({"group_by_length": True}),
    }
    for name in draw(st.sets(st.sampled_from(sorted(drawn)))):
        fields[name] = draw(drawn[name])
    try:
        return Recipe(**fields)
    except RecipeError:  # an objective and a method that do not go together
        return reject()


WORDS = tuple(
    word.encode()
    for word in (
        '"rank"',
        '{"name": "lora"}',
        '{"name": "full", "rank": 8}',
        '{"mixture": {"sources": {"a": 5}}}',
        '{"stages": {"stages": []}}',
        '{"mixture": []}',
        '{"stages": 5}',
        '"ppo"',
        '{"rewards": {"a": "../../x.py:f"}}',
        '{"__class__": "os.system"}',
        "[]",
        "{}",
        "-1",
        "0",
        "1e400",
        '"\\u0000"',
        "[[[[]]]]",
        '{"name": []}',
        '"os:system"',
        "\"__import__('os')\"",
    )
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe's JSON with some of its values, at any depth, put in the place of others."""
    body = json.loads(json.dumps(draw(recipes()).to_json()))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = body
        while True:
            key = draw(st.sampled_from(sorted(place))) if isinstance(place, dict) else draw(st.integers(0, len(place) - 1))
            if not (isinstance(place[key], (dict, list)) and place[key] and draw(st.booleans())):
                break
            place = place[key]
        place[key] = draw(JUNK | st.sampled_from([json.loads(word) for word in WORDS]))
    return body


def same(recipe: Recipe) -> None:
    body = recipe.to_json()
    text = json.dumps(body)
    assert json.dumps(Recipe.from_json(json.loads(text)).to_json()) == text


@given(recipes())
def kept(folder: Path, recipe: Recipe) -> None:
    """To JSON and back, and again: nothing is lost or added."""
    same(recipe)
    assert wb.difference(recipe, Recipe.from_json(json.loads(json.dumps(recipe.to_json())))) == []


@given(changed())
def from_elsewhere(folder: Path, body: dict[str, Any]) -> None:
    """A recipe that keeps itself, or a sentence; either without touching anything."""
    try:
        with watched():
            recipe = Recipe.from_json(body)
    except WorkbenchError as error:
        assert error.what.endswith(".") and error.remedy, repr(error)
        return
    same(recipe)


@given(wounded(recipes().map(lambda recipe: json.dumps(recipe.to_json(), indent=1).encode()), WORDS))
def damaged(folder: Path, content: bytes) -> None:
    """A run folder whose recipe.json anybody wrote is opened, listed and asked for its recipe."""
    run = folder / "runs" / "one"
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.json").write_bytes(content)
    with watched((run.parent,)):
        opened = wb.attach(run)
        assert opened.status == "new" and len(wb.list_runs(run.parent)) == 1
        try:
            recipe = opened.recipe
        except WorkbenchError as error:
            assert error.what.endswith(".") and error.remedy, repr(error)
            return
    same(recipe)


PROPERTIES = (kept, from_elsewhere, damaged)
