"""Recipes: what is refused and with which words, JSON and back, differences, and the schedule's shape against
transformers'. The fields are frozen in `test_public_surface.py`."""

from __future__ import annotations

import dataclasses
import json
import math
import pydoc
import re

import pytest

import workbench as wb
from workbench import launching
from workbench.alignment.objectives import OBJECTIVES
from workbench.models.passed_through import OWN_FIELDS
from workbench.recipes import LIVE, check_live, resolve_model, schedule_shape, warmup_count


def test_what_can_be_changed_while_a_run_goes_is_as_agreed():
    assert sorted(LIVE) == ["beta", "evaluate_every", "kl_target", "learning_rate", "mixture", "reward_weights", "temperature"]


def test_a_recipe_comes_back_from_json_the_same():
    recipe = wb.Recipe(method=wb.LoRA(rank=3, alpha=7, dropout=0.1, target_modules=("q_proj",)), epochs=2, heldout="town:heldout", sample_prompts=["Who?"],
                       training_arguments={"dataloader_drop_last": True}, optimizer_arguments={"beta2": 0.95})
    assert wb.Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    full = wb.Recipe(method=wb.Full(), steps=7)
    assert wb.Recipe.from_json(json.loads(json.dumps(full.to_json()))) == full


@pytest.mark.parametrize(("fields", "word"), [
    (dict(objective="poo"), "sft"), (dict(schedule="sawtooth"), "cosine"), (dict(precision="int8"), "fp32"), (dict(learning_rate=0), "learning_rate"),
    (dict(learning_rate=math.nan), "learning_rate"), (dict(learning_rate=2), "from 0 to 1"), (dict(steps=0), "steps"), (dict(steps=1.5), "steps"),
    (dict(steps=True), "steps"), (dict(steps=5, epochs=1), "one of the two"), (dict(epochs=0), "epochs"), (dict(batch_size=0), "batch_size"),
    (dict(gradient_accumulation=-1), "gradient_accumulation"), (dict(max_length=4), "max_length"), (dict(heldout=1.0), "heldout"), (dict(heldout=-0.1), "heldout"),
    (dict(early_stopping=2, heldout=0), "held-out"), (dict(keep_best=True, heldout=0), "held-out"), (dict(optimizer_arguments={"gamma": 1}), "beta1"),
    (dict(training_arguments={"max_steps": 3}), "max_steps"), (dict(training_arguments={"optim_target_modules": {"q_proj"}}), "optim_target_modules"),
    (dict(optimizer_arguments={"beta1": object()}), "beta1"), (dict(method=wb.LoRA(options={"lora_bias": object()})), "JSON"), (dict(warmup_steps=1.7), "whole number"),
    (dict(seed=-1), "seed"), (dict(warmup_steps=-1), "warmup_steps"), (dict(model=""), "model"),
    (dict(model=None), "model"), (dict(method="lora"), "wb.LoRA"), (dict(method={"name": "dora"}), "lora"), (dict(method={"name": "lora", "rnak": 2}), "rank"),
    (dict(keep_checkpoints=0), "keep_checkpoints"), (dict(weight_decay=-1), "weight_decay"), (dict(max_grad_norm=math.inf), "max_grad_norm")])
def test_what_cannot_work_is_refused_with_what_to_do(fields, word):
    with pytest.raises(wb.RecipeError) as caught:
        wb.Recipe(**fields)
    assert word in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize("fields", [dict(rank=0), dict(rank=2.0), dict(rank=True), dict(alpha=0), dict(alpha="x"), dict(dropout=1), dict(dropout="x"),
                                    dict(bias="some"), dict(target_modules=()), dict(target_modules=3)])
def test_a_method_that_cannot_work_is_refused(fields):
    with pytest.raises(wb.RecipeError):
        wb.LoRA(**fields)


ODD = ("x", "", None, -1, 0, 2.5, math.nan, math.inf, True, [], {}, object())


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(wb.Recipe)])
def test_odd_values_are_taken_or_refused_but_never_a_crash(name):
    """The same in a worker's recipe.json, which anybody may have edited."""
    taken = 0
    for value in ODD:
        try:
            wb.Recipe(**{name: value})
            taken += 1
        except wb.RecipeError:
            pass
    assert taken < len(ODD), "nothing at all is checked here"


SETTINGS = [(kind, field.name) for kind in OBJECTIVES.values() for field in dataclasses.fields(kind)]


@pytest.mark.parametrize(("kind", "name"), SETTINGS, ids=lambda value: value if isinstance(value, str) else value.name)
def test_odd_settings_of_an_objective_are_taken_or_refused_but_never_a_crash(kind, name):
    taken = 0
    for value in ODD:
        try:
            recipe = wb.Recipe(objective=kind(**{name: value}))
            taken += 1
            json.dumps(recipe.to_json())
        except wb.RecipeError:
            pass
    assert taken < len(ODD), "nothing at all is checked here"


def test_an_objective_is_a_name_or_a_value_with_settings():
    recipe = wb.Recipe(objective=wb.DPO(beta=0.2), data="town:preferences")
    assert recipe.objective == "dpo" and recipe.settings.beta == 0.2 and wb.Recipe(objective="dpo").settings == wb.DPO()
    assert wb.Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.replace(**{"objective.beta": 0.3}).settings == wb.DPO(beta=0.3) and wb.Recipe().settings is None
    assert wb.difference(recipe, recipe.replace(**{"objective.beta": 0.3})) == [("objective.beta", 0.2, 0.3)]
    assert recipe.replace(objective="sft").settings is None and recipe.replace(seed=1).settings == wb.DPO(beta=0.2)
    for wrong in (lambda: wb.Recipe(settings={"beta": 1}), lambda: wb.Recipe().replace(**{"objective.beta": 1}), lambda: wb.DPO(betta=1),
                  lambda: wb.Recipe(objective="dpo", settings=wb.GRPO()), lambda: recipe.replace(**{"objective.betta": 1}),
                  lambda: wb.Recipe(objective=wb.PPO(rewards="a.py:f"), keep_best=True),
                  lambda: wb.Recipe(objective=wb.PPO(rewards="a.py:f"), gradient_accumulation=2), lambda: recipe.replace(packing=True)):
        with pytest.raises(wb.RecipeError):
            wrong()


def test_what_can_be_changed_live_is_told_by_the_objective():
    ppo = wb.Recipe(objective=wb.PPO(rewards={"a": "a.py:f", "b": "b.py:f"}, kl_target=6), data="town:conduct")
    check_live({"beta": 0.1, "kl_target": None, "temperature": 0.7, "reward_weights": {"b": 0.5}, "learning_rate": 1e-4}, (), ppo)
    for values in ({"beta": -1}, {"beta": math.nan}, {"temperature": 0}, {"reward_weights": {"c": 1}}, {"reward_weights": 1}, {"reward_weights": {}},
                   {"reward_weights": {"a": "x"}}, {"kl_target": 0}):
        with pytest.raises(wb.RecipeError):
            check_live(values, (), ppo)
    for recipe, name in ((wb.Recipe(), "beta"), (wb.Recipe(objective="dpo"), "temperature"), (wb.Recipe(objective=wb.RLOO(rewards="a.py:f")), "kl_target")):
        with pytest.raises(wb.RecipeError, match=name):
            check_live({name: 1.0}, (), recipe)
    check_live({"kl_target": 3}, (), ppo.replace(**{"objective.kl_target": None}))


def test_replace_checks_again_and_reaches_into_the_method():
    recipe = wb.Recipe(method=wb.LoRA(rank=8))
    assert recipe.replace(**{"method.rank": 2}, steps=5).method == wb.LoRA(rank=2) and recipe.method.rank == 8
    for changes in ({"stpes": 3}, {"method.rank": 0}, {"method.rnak": 1}, {"optimizer.beta1": 0.5}, {"steps": -1}):
        with pytest.raises(wb.RecipeError):
            recipe.replace(**changes)
    with pytest.raises(wb.RecipeError):
        wb.Recipe(method=wb.Full()).replace(**{"method.rank": 2})


def test_steps_and_epochs_take_each_others_place():
    assert (wb.Recipe().replace(epochs=1).steps, wb.Recipe().replace(epochs=1).epochs) == (None, 1)
    assert (wb.Recipe(epochs=2).replace(steps=5).steps, wb.Recipe(epochs=2).replace(steps=5).epochs) == (5, None)
    assert wb.Recipe(epochs=2).replace(seed=1).epochs == 2 and wb.Recipe(epochs=2).replace(epochs=None).steps == 200
    with pytest.raises(wb.RecipeError, match="one of the two"):
        wb.Recipe().replace(steps=3, epochs=1)


def test_a_path_is_kept_as_text(tmp_path):
    recipe = wb.Recipe(model=tmp_path, data=tmp_path / "rows.jsonl", heldout=tmp_path / "more.jsonl")
    assert wb.Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe and recipe.model == str(tmp_path)


def test_whole_warm_up_steps_may_be_written_with_a_point():
    assert warmup_count(wb.Recipe(warmup_steps=3.0), 20) == 3 and warmup_count(wb.Recipe(warmup_steps=0.5), 20) == 10


def test_a_mistyped_field_in_json_is_named_with_the_nearest_one():
    with pytest.raises(wb.RecipeError, match="learning_rate"):
        wb.Recipe.from_json({"learning_rat": 1e-3})


def test_difference_names_every_field_that_differs_and_no_other():
    a = wb.Recipe(method=wb.LoRA(rank=8), learning_rate=1e-3, steps=10)
    b = wb.Recipe(method=wb.LoRA(rank=4), learning_rate=1e-3, steps=20)
    assert wb.difference(a, b) == [("steps", 10, 20), ("method.rank", 8, 4)] and wb.difference(a, a) == []
    assert ("method", "lora", "full") in wb.difference(a, wb.Recipe(method=wb.Full(), learning_rate=1e-3, steps=10))


@pytest.mark.parametrize("values", [{}, {"learning_rate": "fast"}, {"learning_rate": math.nan}, {"learning_rate": -1e-3}, {"learning_rate": True},
                                    {"evaluate_every": 0}, {"evaluate_every": 1.5}, {"batch_size": 4}])
def test_live_changes_that_cannot_be_made_are_refused(values):
    with pytest.raises(wb.RecipeError):
        check_live(values)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3, 0.2])
def test_the_schedules_shape_is_transformers_own(schedule, warmup):
    import torch
    from transformers import get_scheduler

    from workbench.training.supervised import SCHEDULE_NAMES

    recipe = wb.Recipe(schedule=schedule, warmup_steps=warmup, steps=20, learning_rate=0.5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = get_scheduler(SCHEDULE_NAMES[schedule], optimizer, num_warmup_steps=warmup_count(recipe, 20), num_training_steps=20)
    for step in range(20):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * schedule_shape(recipe, step, 20), abs=1e-12), step
        optimizer.step()
        theirs.step()


def test_what_a_recipe_decides_itself_are_training_arguments_that_exist():
    from transformers import TrainingArguments

    names = {f.name for f in dataclasses.fields(TrainingArguments)}
    assert OWN_FIELDS - names <= {"warmup_ratio"}  # gone from transformers 5, still typed by many


def test_models_that_are_not_there_say_so_before_anything_starts(tmp_path):
    (tmp_path / "file").write_text("")
    for source, word in ((str(tmp_path), "config.json"), (str(tmp_path / "nowhere"), "no folder"), (str(tmp_path / "file"), "is a file"),
                         ("somebody/some-model", "not on this machine")):
        with pytest.raises(wb.WorkbenchError, match=word):
            resolve_model(source)


def test_errors_read_as_one_sentence_and_a_remedy():
    error = wb.RunError("The thing broke.", "Mend it.")
    assert str(error) == "The thing broke. Mend it." and error._render_traceback_() == ["RunError: The thing broke. Mend it."]


def test_a_recipe_of_a_mixture_or_of_stages_comes_back_from_json_the_same():
    tasks, chat = wb.Mixture({"facts": "town:facts", "pets": "town:task_pet"}, rule="equal"), wb.Mixture({"talk": "town:task_town"})
    for data, steps in ((tasks, 200), (wb.Stages([(tasks, 100), (chat, 60)], replay=0.1), 20)):
        recipe = wb.Recipe(data=data)
        again = wb.Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
        assert recipe.steps == steps and type(again.data) is type(data) and again.data.rates == data.rates and again.to_json() == recipe.to_json()


def test_two_mixtures_differ_by_their_shares():
    sources = {"facts": 300, "pets": 100}
    told = wb.difference(wb.Recipe(data=wb.Mixture(sources)), wb.Recipe(data=wb.Mixture(sources, rule="equal")))
    assert told == [("mixture.facts", 0.75, 0.5), ("mixture.pets", 0.25, 0.5)]


def test_a_mixture_in_memory_has_no_json_until_it_is_started():
    import datasets

    recipe = wb.Recipe(data=wb.Mixture({"a": datasets.Dataset.from_list([{"text": "x"}])}))
    with pytest.raises(wb.RecipeError, match="in memory"):
        recipe.to_json()


@pytest.mark.parametrize(("make", "said"), [
    (lambda: wb.Recipe(learning_rat=1e-3), "learning_rate"), (lambda: wb.LoRA(r=8), "Its fields are rank"), (lambda: wb.Full(rank=8), "Full has no field 'rank'"),
    (lambda: wb.start("town"), "wb.Recipe"), (lambda: wb.Recipe().replace(method=wb.LoRA(rnk=2)), "rank")])
def test_a_misspelt_field_is_one_sentence(make, said):
    with pytest.raises(wb.RecipeError) as caught:
        make()
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", [wb.Recipe, wb.Launch])
def test_help_says_what_each_field_is(kind):
    shown = pydoc.render_doc(kind, renderer=pydoc.plaintext)
    for field in dataclasses.fields(kind):
        assert re.search(rf"^ +\|? +{field.name}: \S+ \S+", shown, re.MULTILINE), field.name
    words = {wb.Recipe: ("learning_rate: The schedule's peak.", "tensorboard --logdir runs"), wb.Launch: launching.STRATEGIES}[kind]
    assert all(word in shown for word in words)


def test_the_name_of_a_model_is_no_name_of_rows():
    with pytest.raises(wb.DataError, match="is a model"):
        wb.load_rows("town")
