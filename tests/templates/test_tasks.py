"""Templates and tasks: what a row becomes, where an error is, which rows are dropped, and that it ends as trained tokens."""

from __future__ import annotations

import datetime
import decimal
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from workbench import town
from workbench.data import layouts
from workbench.errors import DataError
from workbench.templates import chat
from workbench.templates.sandbox import TemplateError
from workbench.templates.tasks import Rendered, Task, Template, drawing, plain

ROOT = Path(__file__).resolve().parents[2]
ASK = Template(name="ask", input="{{ question }}", target="{{ answer }}")
TELL = Template(name="tell", input="Tell me: {{ question }}", target="It is {{ answer }}.")
TASK = Task(name="quiz", templates=(ASK, TELL))
ROWS = [{"question": f"How much is {n} and {n}?", "answer": str(2 * n)} for n in range(300)]


def test_a_row_becomes_input_and_target():
    assert ASK.render({"question": " Who? ", "answer": "Mira\n"}) == Rendered("Who?", "Mira")
    graded = Template(name="g", input="{{ text }} ", target="\n{{ answer_choices[label] }}", answer_choices="bad ||| good ||| {{ third }}")
    assert graded.render({"text": "Fine.", "label": 1, "third": "odd"}) == Rendered("Fine.", "good", ("bad", "good", "odd"))
    assert graded.columns == {"text", "label", "third"}
    assert graded.choices({"text": "", "label": 0, "third": " x "}) == ["bad", "good", "x"] and ASK.choices({}) is None


def test_what_the_input_sets_the_target_knows_and_a_condition_may_hold_both():
    shared = Template(name="s", input="{% set order = [[1, 0], [0, 1]] | choice %}{{ words[order[0]] }}", target="{{ words[order[1]] }}")
    made = {shared.render({"words": ["a", "b"]}, key=key) for key in range(20)}
    assert made == {Rendered("a", "b"), Rendered("b", "a")}
    both = Template(name="b", input="{% if keep %}Q", target="A{% endif %}")
    assert both.render({"keep": True}) == Rendered("Q", "A") and both.render({"keep": False}) is None


def test_draws_depend_on_seed_key_and_name_alone():
    choosing = Template(name="c", input="{{ range(1000) | choice }} {{ range(1000) | random }}", target="x")
    here = [choosing.render({}, seed=3, key=key).input for key in range(5)]
    script = ("from workbench.templates.tasks import Template\n"
              f"t = Template(name='c', input={choosing.input!r}, target='x')\n"
              "print([t.render({}, seed=3, key=k).input for k in reversed(range(5))])")
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONHASHSEED": "7"}, cwd=ROOT)
    assert there.stdout.strip() == str(here[::-1])
    assert len({*here, choosing.render({}, seed=4, key=0).input, drawing("c")(range(10**6))}) == 7


@pytest.mark.parametrize(("input", "target", "choices", "message"), [
    ("a\nb {{ question }", "x", None, "The input of 't', line 2, column 15: unexpected '}'"),
    ("a\nb", "one\n{{ answr }}", None, "The target of 't', line 2, column 4: there is no column 'answr'"),
    ("a\nb", " {{ answer.__class__ }}", None, "The target of 't', line 1, column 5: '__class__' of a str"),
    ("a\r\nb\r\n", "{{ answer | uper }}", None, "The target of 't', line 1, column 13: there is no filter 'uper'; did you mean 'upper'"),
    ("{{ answer_choices[0] }}", "x", "a ||| {{ }}", "The answer choices of 't', line 1, column 10: Expected an expression"),
    ("x", "x", "{{ zork }}", "The answer choices of 't', line 1, column 4: there is no column 'zork'"),
    ("a {% if question %}", "b", None, "The input of 't', line 1, column 20: Unexpected end of template"),
])
def test_an_error_is_told_where_it_was_written(input, target, choices, message):
    template = Template(name="t", input=input, target=target, answer_choices=choices)
    with pytest.raises(TemplateError) as caught:
        template.render({"question": "q", "answer": "a"})
    assert str(caught.value).startswith(message)
    assert (caught.value.line, caught.value.column) == tuple(map(int, re.search(r"line (\d+), column (\d+)", message).groups()))


@pytest.mark.parametrize(("input", "target", "part"), [("{% if text %}Read: {{ text }}", "{{ label }}", "input"), ("{{ text }}", "{% if text %}{{ label }}", "target"),
                                                       ("{% if text %}{{ text }}", "{{ label }}{% endif %}", "")])
def test_what_is_never_closed_is_told_where_it_was_opened(input, target, part):
    row = {"text": "a", "label": "b"}
    template = Template(name="t", input=input, target=target)
    if not part:  # opened in the one and closed in the other, as promptsource's files do
        assert template.render(row) == Rendered("a", "b")
        return
    with pytest.raises(TemplateError, match="nexpected end of template") as caught:
        template.render(row)
    assert caught.value.part == f"the {part} of 't'" and caught.value.line == 1


def test_columns_are_checked_before_any_row_is_seen():
    ASK.check(["question", "answer", "more"])
    with pytest.raises(TemplateError, match="target of 'ask', line 1, column 4: there is no column 'answer'.*'question'"):
        ASK.check(["question"])
    with pytest.raises(TemplateError, match="answer choices of 'c', line 1, column 4: there is no column 'x'"):
        Template(name="c", input="a", target="b", answer_choices="{{ x }}").check(["question"])
    Template(name="h", input="{{ a_b }}{{ answer_choices }}", target="b", answer_choices="c").check(["a-b"])


def test_rows_are_made_plain():
    row = {"a-b": 1, "when": datetime.date(2026, 11, 21), "price": decimal.Decimal("1.50"), "vector": np.array([1.5, 2]),
           "number": np.int64(3), "deep": ({"x": (1, None)},), "text": np.str_("t")}
    assert plain(row) == {"a_b": 1, "when": "2026-11-21", "price": "1.50", "vector": [1.5, 2.0], "number": 3,
                          "deep": [{"x": [1, None]}], "text": "t"}
    for value in (b"bytes", object(), {1, 2}, [b"deep"]):
        with pytest.raises(DataError, match="column 'odd' holds"):
            plain({"odd": value})


def test_one_template_a_row_or_all_or_those_named():
    one = TASK.examples(ROWS, seed=1)
    assert one.rows == list(range(300)) and 110 < one.templates.count("ask") < 190
    assert one.examples == TASK.examples(iter(ROWS), seed=1).examples == TASK.examples(pa.Table.from_pylist(ROWS), seed=1).examples
    assert one.templates != TASK.examples(ROWS, seed=2).templates
    both = TASK.examples(ROWS[:3], use="all")
    assert both.rows == [0, 0, 1, 1, 2, 2] and both.templates == ["ask", "tell"] * 3
    assert both.examples[1] == {"messages": [{"role": "user", "content": "Tell me: How much is 0 and 0?"},
                                             {"role": "assistant", "content": "It is 0."}]}
    assert set(TASK.examples(ROWS, use="tell").templates) == set(TASK.examples(ROWS, use=["tell"]).templates) == {"tell"}
    with pytest.raises(DataError, match="no template 'sing'"):
        TASK.examples(ROWS, use=["sing"])


def test_a_row_keeps_its_text_when_others_come_before_it_in_another_order():
    """Nothing is drawn from a stream that other rows have moved on."""
    half = TASK.examples(ROWS[:150], seed=5)
    assert half.examples == TASK.examples(ROWS, seed=5).examples[:150]


def test_examples_are_a_layout_that_is_known():
    for made in (TASK.examples(ROWS, chat=True).examples, TASK.examples(ROWS, chat=False).examples):
        assert layouts.examples(made, list(made[0])) == made
    assert TASK.examples(ROWS[:1], use="ask", chat=False).examples == [{"prompt": "How much is 0 and 0?\n", "completion": "0"}]


def test_a_system_prompt_is_jinja_too():
    task = Task(name="s", templates=(ASK,), system="Answer {{ name }}.")
    made = task.examples([{"question": "q", "answer": "a", "name": "Ann"}]).examples[0]["messages"]
    assert made[0] == {"role": "system", "content": "Answer Ann."}
    with pytest.raises(TemplateError, match="system prompt, line 1, column 11: there is no column 'name'"):
        task.examples([{"question": "q", "answer": "a"}])
    plain_text = Task(name="s", templates=(ASK,), system="Be brief.")
    assert plain_text.examples(ROWS[:1], chat=False).examples[0]["prompt"] == "Be brief.\n\nHow much is 0 and 0?\n"


def test_rows_without_a_target_are_counted_and_more_than_one_in_a_hundred_refuse():
    rows = [*ROWS[:297], *[{"question": "open", "answer": " "}] * 3]
    made = TASK.examples(rows, use="ask")
    assert len(made.examples) == 297 and made.no_target == [(297, "ask"), (298, "ask"), (299, "ask")]
    with pytest.raises(DataError, match=r"4 of 300 rendered rows of 'quiz' have no target .* row 297, by 'ask'\); at most 1%"):
        TASK.examples([*ROWS[:296], *[{"question": "open", "answer": ""}] * 4], use="ask")


def test_rows_a_template_says_nothing_about_are_left_out_and_counted():
    some = Task(name="some", templates=(Template(name="odd", input="{% if n is odd %}{{ n }}", target="{{ n + 1 }}{% endif %}"),))
    made = some.examples([{"n": n} for n in range(10)])
    assert made.rows == [1, 3, 5, 7, 9] and made.left_out == {"odd": 5}
    with pytest.raises(DataError, match="writes anything"):
        some.examples([{"n": 2}])


def test_templates_are_found_replaced_and_added():
    changed = TASK
    for name in ("tell", "new"):
        changed = changed.with_template(Template(name=name, input="x", target="y"))
    assert [template.name for template in changed.templates] == ["ask", "tell", "new"]
    assert changed["tell"].input == "x" and TASK["tell"] == TELL


def test_from_the_row_to_the_trained_tokens():
    """The whole way on the town's tokenizer: what is trained is the target and the end of the turn, nothing else."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(town.base_folder())
    assert chat.mask_method(tokenizer) == "generation marks"
    task = Task(name="t", templates=(ASK,), system="Be kind.")
    row = {"question": "Who bakes bread?", "answer": "Mira bakes bread."}
    for example in task.examples([row]).examples:
        ids, mask = chat.encode(tokenizer, example, True)
        trained = tokenizer.decode([token for token, kept in zip(ids, mask, strict=True) if kept])
        assert trained.replace(" ", "") == "Mirabakesbread.<|im_end|>"


@pytest.mark.parametrize(("jinja", "rows", "options", "words"), [
    ("{{ q }} ||| {{ a }}", [{"q": "Q", "a": "R"}] * 3, {"demonstrations": -1}, "demonstrations is -1"),
    ("{{ q }} ||| {{ a }}", [{"q": "Q", "a": "R"}] * 3, {"demonstrations": "2"}, "demonstrations is '2'"),
    ("{{ q }} ||| {{ a }}", ["Q", "R"], {}, "A row is str"),
    ("{{ q }}{{ '\\ud800' }} ||| {{ a }}", [{"q": "Q", "a": "R"}], {}, "half a character"),
    ("{{ q }} ||| {{ a }}", [{"q": "\udfff", "a": "R"}], {}, "half a character"), (None, [{"q": "Q"}], {}, "no templates")])
def test_what_cannot_be_rendered_or_asked_for_is_a_sentence(jinja, rows, options, words):
    task = Task(name="t", templates=(Template.from_jinja("one", jinja),) if jinja else ())
    with pytest.raises(DataError, match=words) as caught:
        task.examples(rows, **options)
    assert caught.value.remedy
