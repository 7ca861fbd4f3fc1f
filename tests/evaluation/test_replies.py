"""Replies from models, functions and endpoints into a preference store."""

from __future__ import annotations

import pytest

from workbench.alignment import PreferenceStore
from workbench.data.generators import LocalModel
from workbench.errors import WorkbenchError
from workbench.evaluation.replies import collect_replies
from workbench.models import loading
from workbench.town import base_folder

PROMPTS = ["Who bakes?", "Who sings?", "Who bakes?", "Where?", "When?", "Why?"]


class Crowd:
    """An endpoint's double: several requests open at a time."""

    workers = 3

    def __call__(self, prompt: str) -> str:
        return f"{prompt} Nobody."


def test_every_source_answers_every_prompt_once_and_known_ones_are_left(tmp_path):
    asked, said = [], []
    sources = {"echo": lambda prompt: asked.append(prompt) or prompt.upper(), "crowd": Crowd()}
    store = collect_replies(PROMPTS, sources, tmp_path / "p.db", progress=lambda done, total: said.append((done, total)))
    found = store.replies()
    assert len(found) == 10 and dict(zip(found["prompt"] + found["source"], found["reply"], strict=True))["Where?crowd"] == "Where? Nobody."
    assert sorted(asked) == sorted(set(PROMPTS)) and sorted(said) == [(n, 10) for n in range(11)] and said[-1] == (10, 10)
    collect_replies([*PROMPTS, "New?"], sources, store)
    assert len(asked) == 6 and asked[-1] == "New?" and len(store.replies()) == 12
    store.close()


def test_a_model_and_its_folder_answer_as_the_generators_do(tmp_path):
    folder = str(base_folder("small"))
    pair = loading.load(folder)
    store = collect_replies(["Who bakes?"], {"pair": pair, "folder": folder}, tmp_path / "p.db", max_tokens=8, temperature=0.7, seed=3)
    one, other = store.replies()["reply"]
    assert one == other == str(LocalModel(pair, max_tokens=8, seed=3)("Who bakes?"))
    store.close()


def test_stopping_keeps_what_was_answered(tmp_path):
    store = PreferenceStore(tmp_path / "p.db")

    def until_three(done: int, _total: int) -> None:
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        collect_replies(PROMPTS, {"a": str.upper, "b": str.lower}, store, progress=until_three)
    assert len(store.replies()) == 3
    store.close()


@pytest.mark.parametrize(
    ("prompts", "sources", "says"),
    [
        ([], {"a": str.upper}, "no prompts"),
        (["  "], {"a": str.upper}, "empty"),
        (["a"], {}, "nobody to ask"),
        (["a"], {"a": "./nowhere"}, "nowhere"),
        (["a"], {"a": 3}, "from a int"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_is(tmp_path, prompts, sources, says):
    with pytest.raises(WorkbenchError, match=says):
        collect_replies(prompts, sources, tmp_path / "p.db")
    assert not (tmp_path / "p.db").exists()
