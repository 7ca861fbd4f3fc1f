"""Pairs written under principles, through a generator written by hand."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench.data import comparisons, sources
from workbench.data.principles import revised

QUESTIONS = ["How do I open Mira's door?", "Who bakes bread?", "What did Tom dream of?"]


class Careful:
    """Replies, criticises and writes again; of bread there is nothing to mend. `asked` holds the prompts."""

    name = "careful"

    def __init__(self):
        self.asked = []

    def __call__(self, prompt):
        self.asked.append(prompt)
        if "Write the reply again" in prompt:
            return '"I would rather not say."' if "bread" not in prompt else "Well, people do."
        if "goes against this principle" in prompt:
            return "It gives away too much."
        return "" if "Tom" in prompt else "Well, people do."


def test_the_first_reply_is_rejected_and_its_revision_chosen(tmp_path):
    generator = Careful()
    made = revised(QUESTIONS, generator, ["Keep secrets."], kept=tmp_path / "replies.jsonl").make()
    (row,) = made.rows.to_pylist()
    assert row["prompt"][0]["content"] == QUESTIONS[0] and row["principle"] == "Keep secrets." and row["generator"] == "careful"
    (pair,) = comparisons.read(made.rows)
    assert [comparisons.words(reply) for reply in pair["replies"]] == ["I would rather not say.", "Well, people do."]
    assert pair["pairs"] == [(0, 1, 0, 0.0)]
    assert dict(made.made.counts) == {"kept": 1, "unchanged": 1, "no answer": 1}
    assert "Keep secrets." in generator.asked[1] and "It gives away too much." in generator.asked[2]
    again = Careful()
    assert revised(QUESTIONS, again, ["Keep secrets."], kept=tmp_path / "replies.jsonl").make().rows.equals(made.rows) and not again.asked


def test_another_model_may_write_what_is_revised_and_more_than_once():
    generator = Careful()
    rows = sources.load_rows([{"prompt": QUESTIONS[0]}])
    made = revised(rows, generator, ["Keep secrets.", "Be kind."], policy=lambda question: f"Ask. {question}", revisions=2, times=2)
    rows = made.make().rows.to_pylist()
    assert [row["rejected"][0]["content"] for row in rows] == [f"Ask. {QUESTIONS[0]}"] * 2 and len(generator.asked) == 8
    assert "I would rather not say." in generator.asked[2]


def test_what_cannot_be_is_said_before_anything_is_asked():
    generator = Careful()
    with pytest.raises(wb.DataError, match="No principle"):
        revised(QUESTIONS, generator, [])
    with pytest.raises(wb.DataError, match="revisions"):
        revised(QUESTIONS, generator, revisions=0)
    assert not generator.asked
