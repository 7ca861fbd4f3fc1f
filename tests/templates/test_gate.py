"""Many examples at once as one by one; a task's rows as a table to train on; the gate, against counts made here and training's own."""

from __future__ import annotations

import re

import numpy as np
import pytest

from workbench import town
from workbench.data import layouts, sources
from workbench.errors import DataError
from workbench.models import loading
from workbench.templates import chat, gate
from workbench.templates.tasks import Task, Template

TASK = Task(name="quiz", system="Be kind to {{ name }}.", templates=(
    Template(name="ask", input="{{ question }}", target="{{ answer }}"),
    Template(name="tell", input="Tell me: {{ question }}", target="It is {{ answer }}.")))
ROWS = [{"question": f"How much is {n} and {n}?", "answer": "so " * (n % 7) + str(2 * n), "name": f"P{n}"} for n in range(300)]
MIXED = [
    {"messages": [{"role": "user", "content": "Who bakes?"}, {"role": "assistant", "content": "Mira 🥖 does, naïvely."}]},
    {"text": "Plain words."}, {"text": "  "}, {"prompt": "Who bakes", "completion": " bread?"}, {"prompt": "Who", "completion": ""},
    {"messages": [{"role": "user", "content": "Nobody answers."}]},
    {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n\n"},
                  {"role": "user", "content": "c"}, {"role": "assistant", "content": "𝔡 é"}]},
    {"messages": [{"role": "user", "content": "Empty"}, {"role": "assistant", "content": ""}]},
]


@pytest.fixture(scope="module")
def townsfolk():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(town.base_folder())


@pytest.fixture
def unmarked(townsfolk):
    """The same template without marks: replies are found turn by turn."""
    import copy

    made = copy.copy(townsfolk)
    made.chat_template = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", made.chat_template)
    return made


@pytest.mark.parametrize("completions_only", [True, False])
@pytest.mark.parametrize("which", ["townsfolk", "unmarked"])
def test_many_at_once_are_as_one_by_one(request, which, completions_only, monkeypatch):
    tokenizer = request.getfixturevalue(which)
    one_by_one = [chat.encode(tokenizer, example, completions_only) for example in MIXED]
    monkeypatch.setattr(chat, "CHUNK", 3)
    assert list(chat.encode_all(tokenizer, MIXED, completions_only)) == one_by_one
    assert all(len(ids) == len(mask) and mask[:1] == [0] for ids, mask in one_by_one)


def test_tokens_are_those_of_the_tokenizers_own_chat_template(townsfolk):
    for example in MIXED:
        if "messages" in example:
            own = townsfolk.apply_chat_template(example["messages"], tokenize=True, return_dict=True)["input_ids"]
            assert chat.encode(townsfolk, example, True)[0] == chat.encode(townsfolk, example, False)[0] == list(own)


@pytest.mark.parametrize("which", ["townsfolk", "unmarked"])
def test_every_byte_of_a_reply_is_trained(request, which):
    """A character of several bytes may be several tokens that all stand at its place."""
    tokenizer = request.getfixturevalue(which)
    read = chat.read(tokenizer, MIXED[0], True)
    assert len({place for place in read.places}) < len(read.places), "no character of this reply is several tokens: nothing is tested"
    trained = [token for token, kept in zip(read.ids, read.mask, strict=True) if kept]
    assert tokenizer.decode(trained) == " Mira 🥖 does, naïvely.<|im_end|>"


@pytest.mark.parametrize("example", [example for example in MIXED if "messages" not in example or len(example["messages"]) > 1])
def test_what_is_read_knows_the_place_of_each_token(townsfolk, example):
    read = chat.read(townsfolk, example, True)
    assert (read.ids, read.mask) == chat.encode(townsfolk, example, True) and len(read.places) == len(read.ids)
    for token, (first, last) in zip(read.ids, read.places, strict=True):
        said = townsfolk.decode([token])
        assert "�" in said or read.text[first:last] == said


def test_a_refused_conversation_is_named_among_many(townsfolk):
    odd = {"messages": [{"role": "tool", "content": "x"}, {"role": "user", "content": "y"}]}
    with pytest.raises(DataError, match="roles tool, user"):
        list(chat.encode_all(townsfolk, [*MIXED, odd, MIXED[0]], True))


@pytest.mark.parametrize("options", [{}, {"use": "all", "demonstrations": 2, "as_turns": True}, {"chat": False, "demonstrations": 1}])
def test_a_table_of_a_task_is_rows_to_train_on(options):
    table = TASK.table(ROWS, **options)
    read = layouts.examples(sources.load_rows(table).to_pylist(), table.column_names)
    made = TASK.examples(ROWS, **options)
    assert read == made.examples and table["row"].to_pylist() == made.rows and table["template"].to_pylist() == made.templates
    sources.check_layout(table)


def test_a_few_rows_are_what_all_rows_give_there():
    import pyarrow as pa

    for rows in (ROWS, pa.Table.from_pylist(ROWS)):
        all_rows, few = (TASK.examples(rows, demonstrations=3, seed=5, **only) for only in ({}, {"only": [7, 250, 3]}))
        assert few.rows == [7, 250, 3] and few.examples == [all_rows.examples[index] for index in few.rows]


def test_a_recipe_takes_the_table_and_trains_those_tokens(townsfolk):
    from workbench.recipes import Recipe
    from workbench.training.rows import prepare

    admitted = TASK.admit(ROWS, townsfolk, max_length=128)
    recipe = Recipe(data=admitted.table, max_length=128)
    rows = sources.load_rows(recipe.data)
    prepared = prepare(layouts.examples(rows.to_pylist(), rows.column_names), townsfolk, objective="sft", completions_only=True,
                       max_length=recipe.max_length, packing=False)
    assert prepared.examples == 300 and prepared.tokens == admitted.judged.lengths.sum()
    assert prepared.trained_tokens == admitted.judged.trained.sum() == admitted.judged.answers.sum()


def counted(tokenizer, examples, max_length):
    """Lengths, trained tokens and reasons, from `encode` alone."""
    found = [chat.encode(tokenizer, example, True) for example in examples]
    return [len(ids) for ids, _ in found], [sum(mask[:max_length]) for _, mask in found]


def test_up_to_one_in_a_hundred_is_dropped_and_counted(townsfolk):
    rows = [dict(row) for row in ROWS]
    rows[17]["question"] = rows[200]["question"] = "very " * 300
    admitted = TASK.admit(rows, townsfolk, use="ask", max_length=64)
    lengths, trained = counted(townsfolk, TASK.examples(rows, use="ask").examples, 64)
    assert admitted.judged.lengths.tolist() == lengths and admitted.judged.trained.tolist() == trained
    assert admitted.judged.dropped.counts == {gate.CUT_OFF: 2} and admitted.judged.dropped.first == {gate.CUT_OFF: 18}
    assert admitted.table["row"].to_pylist() == [n for n in range(300) if n not in (17, 200)]
    assert np.flatnonzero(~admitted.judged.kept).tolist() == [17, 200] and admitted.judged.truncated == 0


def test_more_are_refused_in_the_words_of_training(townsfolk):
    from workbench.training.rows import prepare

    rows = [dict(row, question="very " * 300) if n % 50 == 3 else row for n, row in enumerate(ROWS)]
    examples = TASK.examples(rows, use="ask")
    with pytest.raises(DataError, match=r"6 of 300 rows .*cut off by max_length: 6, the first is row 4") as refused:
        TASK.admit(rows, townsfolk, use="ask", max_length=64)
    with pytest.raises(DataError) as training:
        prepare(examples.examples, townsfolk, objective="sft", completions_only=True, max_length=64, packing=False)
    assert str(training.value) == str(refused.value) and "Raise max_length above 64" in refused.value.remedy
    judged = gate.judge(examples.examples, townsfolk, max_length=64)
    assert str(judged.refusal) == str(refused.value) and judged.dropped.counts.total() == 6, "the panel shows what would be refused"


def test_an_answer_cut_short_is_counted_and_stays(townsfolk):
    long = {"messages": [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "one two three " * 20}]}
    judged = gate.judge([long], townsfolk, max_length=40)
    assert judged.truncated == 1 and 0 < judged.trained[0] < judged.answers[0] and judged.refusal is None


@pytest.mark.parametrize(("template", "words"), [
    ("{{ messages | length }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}", "does not write a reply behind the prompt"),
    ("{% for m in messages %}{% generation %}{{ m['role'] }}: {{ m['content'] }}{% endgeneration %}\n{% endfor %}", "marks other tokens")])
def test_a_tokenizer_that_cannot_train_answers_alone_is_refused(townsfolk, template, words):
    import copy

    tokenizer = copy.copy(townsfolk)
    tokenizer.chat_template = template
    with pytest.raises(DataError, match=words) as caught:
        TASK.admit(ROWS[:5], tokenizer)
    assert "completions_only=False" in caught.value.remedy
    assert TASK.admit(ROWS[:5], tokenizer, completions_only=False).table.num_rows == 5


def test_a_tokenizer_without_a_template_gets_plain_lines(real_data):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_data / "stories260k")
    loading.prepare_tokenizer(tokenizer, None)
    assert TASK.admit(ROWS[:5], tokenizer).table.num_rows == 5 and tokenizer.chat_template


def test_progress_is_told_over_both_halves_and_can_end_the_work(townsfolk):
    told = []
    TASK.admit(ROWS, townsfolk, progress=lambda done, of: told.append((done, of)))
    assert told == [(0, 600), (256, 600), (300, 600)]

    class Cancelled(Exception):
        pass

    def cancel(done, of):
        if done >= 300:
            raise Cancelled
    with pytest.raises(Cancelled):
        TASK.admit(ROWS, townsfolk, progress=cancel)


@pytest.mark.parametrize(("template", "place"), [
    (Template(name="t", input="a\n {{ qestion }}", target="{{ answer }}"), ("the input of 't'", 2, 5)),
    (Template(name="t", input="{{ question }}", target="{{ qestion }}", strict=True), ("the target of 't'", 1, 4))])
def test_an_unknown_column_is_named_with_its_place(template, place):
    for fails in (lambda: template.check(ROWS[0]), lambda: template.render(ROWS[0])):
        with pytest.raises(DataError) as caught:
            fails()
        assert "answer_choices" not in caught.value.remedy and "'question'" in caught.value.remedy
        assert caught.value.unknown == "qestion" and (caught.value.part, caught.value.line, caught.value.column) == place
