"""Demonstrations: which rows, in which order, never the row itself; and a task turned round."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from workbench.errors import DataError
from workbench.templates import promptsource
from workbench.templates.demonstrations import invert, order
from workbench.templates.sandbox import TemplateError
from workbench.templates.tasks import Rendered, Task, Template

ROOT = Path(__file__).resolve().parents[2]
ASK = Template(name="ask", input="{{ question }}", target="{{ answer }}")
TASK = Task(name="quiz", templates=(ASK,))
ROWS = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(40)]


def given(example) -> list[tuple[str, str]]:
    """The demonstrations in a conversation's user text, and last the row's own input with its target."""
    user, reply = example["messages"]
    *before, own = user["content"].split("\n\n")
    return [tuple(block.split("\n")) for block in [*before, f"{own}\n{reply['content']}"]]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 1000])
def test_an_order_holds_each_number_once(count):
    assert sorted(order(count, 1, 2)) == list(range(count))


def test_the_first_numbers_of_many_are_even_and_quickly_there():
    firsts = Counter(next(order(10, 0, key)) for key in range(10_000))
    assert all(850 < firsts[number] < 1150 for number in range(10)), "10,000 draws of 1 in 10: five deviations are 150"
    assert len(set(itertools.islice(order(10**12, 0, 0), 5))) == 5


@pytest.mark.parametrize("count", [1, 3, 39])
def test_demonstrations_are_other_rows_with_their_own_answers(count):
    for index, example in enumerate(TASK.examples(ROWS, demonstrations=count).examples):
        blocks = given(example)
        assert len(blocks) == count + 1 and blocks[-1] == (f"q{index}", f"a{index}")
        assert all(question[1:] == answer[1:] for question, answer in blocks)
        assert len(set(blocks)) == count + 1, "no row twice, the row itself only at the end"


def test_rows_that_ask_the_same_are_no_demonstration_either():
    rows = [{"question": "same", "answer": str(n)} for n in range(30)]
    rows += [{"question": "p", "answer": "1"}, {"question": "r", "answer": "2"}]
    for example in TASK.examples(rows, demonstrations=1).examples:
        blocks = given(example)
        assert blocks[0][0] != blocks[1][0]
    with pytest.raises(DataError, match="3 demonstrations were asked for, and only 2 other rows"):
        TASK.examples(rows, demonstrations=3)


def test_rows_without_an_answer_are_no_demonstration():
    rows = [*ROWS * 8, *[{"question": f"open{n}", "answer": ""} for n in range(3)]]
    made = TASK.examples(rows, demonstrations=5)
    assert len(made.examples) == 320 and "open" not in str(made.examples)


def test_a_pool_of_its_own_still_gives_away_no_answer():
    test_rows = [{"question": "q3", "answer": "a3"}, {"question": "new", "answer": "n"}]
    for seed in range(30):
        made = TASK.examples(test_rows, pool=ROWS[:5], demonstrations=4, seed=seed).examples
        assert {block[0] for block in given(made[0])[:-1]} == {"q0", "q1", "q2", "q4"}
        assert {block[0] for block in given(made[1])[:-1]} < {"q0", "q1", "q2", "q3", "q4"}


@pytest.mark.parametrize("pool", ["backwards", "copies among the rows"])
def test_a_row_that_a_template_words_by_chance_is_still_not_its_own_demonstration(pool):
    """The drawn word makes the input of a row and of its copy differ, so inputs alone do not tell."""
    draws = Task(name="t", templates=(Template(name="ask", input="{{ ['Say', 'Tell', 'Write', 'Name'] | choice }}: {{ question }}?", target="{{ answer }}"),))
    if pool == "backwards":
        made = draws.examples(ROWS[:12], pool=ROWS[:12][::-1], demonstrations=5, seed=1)
    else:
        made = draws.examples([*ROWS[:12], *ROWS[:12]], demonstrations=5, seed=1)
    for example in made.examples:
        *others, (asked, _) = given(example)
        assert len(others) == 5 and asked.partition(": ")[2] not in {question.partition(": ")[2] for question, _ in others}


def test_draws_are_the_same_in_every_process_and_differ_by_seed_and_row():
    here = [given(example) for example in TASK.examples(ROWS, demonstrations=3, seed=9).examples]
    script = ("from workbench.templates.tasks import Task, Template\n"
              "rows = [{'question': f'q{n}', 'answer': f'a{n}'} for n in range(40)]\n"
              "task = Task(name='other', templates=(Template(name='ask', input='{{ question }}', target='{{ answer }}'),))\n"
              "print([e['messages'][0]['content'] for e in task.examples(rows, demonstrations=3, seed=9).examples])")
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONHASHSEED": "5"}, cwd=ROOT)
    assert there.stdout.strip() == str([e["messages"][0]["content"] for e in TASK.examples(ROWS, demonstrations=3, seed=9).examples])
    assert here != [given(example) for example in TASK.examples(ROWS, demonstrations=3, seed=10).examples]
    assert len({tuple(blocks[:-1]) for blocks in here}) > 30


def test_demonstrations_as_turns_and_as_plain_text():
    turns = TASK.examples(ROWS, demonstrations=2, as_turns=True).examples[7]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3 and turns[-2]["content"] == "q7"
    text = TASK.examples(ROWS, demonstrations=2, chat=False).examples[7]
    assert text["prompt"] == f"{turns[0]['content']}\n{turns[1]['content']}\n\n{turns[2]['content']}\n{turns[3]['content']}\n\nq7\n"
    assert text["completion"] == "a7"
    bare = TASK.examples(ROWS, demonstrations=0).examples[7]["messages"]
    assert bare == [{"role": "user", "content": "q7"}, {"role": "assistant", "content": "a7"}]


def test_a_demonstration_reads_as_it_does_where_it_is_a_row_itself():
    drawn = Task(name="d", templates=(Template(name="t", input="{{ range(10**5) | choice }} {{ question }}", target="{{ answer }}"),))
    made = drawn.examples(ROWS, demonstrations=2).examples
    own = {given(example)[-1] for example in made}
    assert all(block in own for example in made for block in given(example))


def test_a_task_turned_round():
    turned = invert(Template(name="t", input="Q: {{ question }}\n", target="\n{{ answer }}", metadata={"original_task": True}))
    assert turned.name == "t (inverted)" and turned.metadata == {"original_task": False}
    assert turned.render(ROWS[3]) == Rendered("Here is an answer:\n\na3\n\nWrite what it answers.", "Q: q3")
    bare = invert(ASK, question="{{ question }}", lead="Which question has the answer ", ask="?", name="back")
    assert bare.name == "back" and bare.render(ROWS[3]) == Rendered("Which question has the answer a3?", "q3")


def test_turned_round_where_input_and_target_hang_together():
    row = {"words": ["a", "b", "c"], "n": 1}
    shared = Template(name="s", input="{% set w = words | choice %}{{ w }} in upper case", target="{{ w | upper }}")
    for key in range(8):
        there, back = shared.render(row, key=key), invert(shared, name="s").render(row, key=key)
        assert back.target == there.input and f"\n\n{there.target}\n\n" in back.input, "the same draw on both sides"
    both = Template(name="b", input="{% if n == 1 %}one", target="{{ n }}{% endif %}")
    assert invert(both, lead="<", ask=">").render(row) == Rendered("<1>", "one")
    assert invert(both, question="{{ words[0] }}", lead="<", ask=">").render(row) == Rendered("<1>", "a")
    assert invert(both).render({"n": 2, "words": []}) is None


def test_a_row_with_separators_is_turned_round_whole():
    row = {"words": ["x"], "text": "left ||| right"}
    shared = Template(name="s", input="{% set t = text %}{{ t }}", target="[{{ t }}]")
    assert invert(shared, lead="", ask="").render(row) == Rendered("[left ||| right]", "left ||| right")


@pytest.mark.parametrize("name", ["rotten_tomatoes", "openbookqa__main", "commonsense_qa", "sciq"])
def test_promptsources_templates_turned_round_give_the_question_back_and_can_be_exported(real_data, name):
    rows = {
        "rotten_tomatoes": {"text": "a lovely film .", "label": 1},
        "openbookqa__main": {"question_stem": "Boats sail on", "choices": {"text": ["x", "the sea"], "label": ["A", "B"]},
                             "answerKey": "B"},
        "commonsense_qa": {"question": "Where?", "choices": {"text": list("vwxyz"), "label": list("ABCDE")}, "answerKey": "C"},
        "sciq": {"question": "What?", "support": "S", "correct_answer": "c", "distractor1": "d", "distractor2": "e", "distractor3": "f"}}
    task = promptsource.read(real_data / "promptsource" / f"{name}.yaml")
    turned = Task(name=task.name, templates=tuple(invert(template, name=template.name) for template in task.templates))
    again = promptsource.loads(promptsource.dumps(turned))
    for template in task.templates:
        there, back = template.render(rows[name], key=4), turned[template.name].render(rows[name], key=4)
        if there is not None:
            assert back.target == there.input and there.target in back.input and (back.choices is None or there.target == there.input)
            assert again[template.name].render(rows[name], key=4) == back


def test_what_cannot_be_turned_round_is_told():
    with pytest.raises(DataError, match="no target to begin from"):
        invert(Template(name="t", input="a", target=None))
    with pytest.raises(TemplateError, match="The target of 't', line 1, column 4"):
        invert(Template(name="t", input="a", target="{{ }}"))
    with pytest.raises(TemplateError):
        invert(ASK, lead="{{")
