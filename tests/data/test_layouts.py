"""Each layout is told from its columns and gives the example it should; what fits none is refused by name. Real files are in
`test_real_files.py`."""

from __future__ import annotations

import pytest

from workbench.data import layouts, sources, unfold
from workbench.errors import DataError

U, A, S = ({"role": role, "content": text} for role, text in (("user", "Q"), ("assistant", "R"), ("system", "Be kind.")))


@pytest.mark.parametrize(("name", "row", "example"), [
    ("messages", {"messages": [S, U, A], "id": 3}, {"messages": [S, U, A]}),
    ("ShareGPT",
     {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": "R"}]},
     {"messages": [S, U, A]}),
    ("prompt/completion", {"prompt": "P", "completion": " C"}, {"prompt": "P", "completion": " C"}),
    ("prompt/completion", {"prompt": [U], "completion": [A]}, {"messages": [U, A]}),
    ("instruction/input/output", {"instruction": "Q", "input": "", "output": "R"}, {"messages": [U, A]}),
    ("instruction/input/output", {"instruction": "Q", "output": "R"}, {"messages": [U, A]}),
    ("instruction/input/output", {"instruction": "Q", "input": "more", "output": "R", "system": "Be kind."},
     {"messages": [S, {"role": "user", "content": "Q\n\nmore"}, A]}),
    ("question/answer", {"question": "Q", "answer": "R"}, {"messages": [U, A]}),
    ("question/answer", {"question": "Q", "answer": 4}, {"messages": [U, {"role": "assistant", "content": "4"}]}),
    ("instruction/response", {"instruction": "Q", "context": "", "response": "R", "category": "open_qa"}, {"messages": [U, A]}),
    ("instruction/response", {"instruction": "Q", "context": "more", "response": "R", "system": "Be kind."},
     {"messages": [S, {"role": "user", "content": "Q\n\nmore"}, A]}),
    ("prompt/response", {"prompt": "Q", "response": "R"}, {"messages": [U, A]}),
    ("prompt/response", {"prompt": "Q", "response": "R", "system": "Be kind."}, {"messages": [S, U, A]}),
    ("prompt/response", {"prompt": [S, U], "response": "R"}, {"messages": [S, U, A]}),
    ("prompt/response", {"prompt": [U], "response": [A]}, {"messages": [U, A]}),
    ("text/label", {"text": "T", "label": "spam"}, {"text": "T"}), ("text/label", {"text": "T", "category": 3, "id": 9}, {"text": "T"}),
    ("plain text", {"text": "T", "url": "U"}, {"text": "T"})])
def test_a_layout_is_told_from_its_columns(name, row, example):
    assert layouts.detect(list(row)).name == name
    assert layouts.examples([row], list(row)) == [example]


def test_columns_of_no_layout_are_listed_with_the_layouts_known():
    with pytest.raises(DataError) as caught:
        layouts.detect(["frage", "antwort"])
    text = str(caught.value)
    assert "'frage', 'antwort'" in text
    first = {layout.name: layout for layout in reversed(layouts.LAYOUTS)}
    assert all(name in text and all(column in text for column in layout.columns) for name, layout in first.items())


@pytest.mark.parametrize(("row", "word"), [
    ({"question": "Q", "answer": None}, "'answer' is empty"), ({"question": ["Q"], "answer": "R"}, "list"), ({"messages": []}, "no turns"),
    ({"messages": "hello"}, "no turns"),
    ({"messages": [{"role": "user"}]}, "content"), ({"messages": [{"role": "wizard", "content": "x"}]}, "wizard"),
    ({"messages": ["hi"]}, "a turn lacks"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "role"), ({"conversations": [{"from": "human", "value": None}]}, "value"),
    ({"prompt": [U], "completion": "C"}, "list"), ({"text": True}, "bool")])
def test_a_row_that_does_not_hold_what_its_layout_says_is_named_by_number(row, word):
    with pytest.raises(DataError) as caught:
        layouts.examples([row], list(row), first=17)
    assert "Row 17" in str(caught.value) and word in str(caught.value)


C, R = {"role": "assistant", "content": "good"}, {"role": "assistant", "content": "bad"}
HUMAN, GOOD, BAD = {"from": "human", "value": "Q"}, {"from": "gpt", "value": "good"}, {"from": "gpt", "value": "bad"}
PAIR = {"prompt": [U], "chosen": [C], "rejected": [R]}
DEEP = {"text": "Q", "role": "prompter", "replies": [
    {"text": "bad", "role": "assistant", "rank": 1, "replies": []},
    {"text": "good", "role": "assistant", "rank": 0, "replies": [{"text": "Q", "role": "prompter", "replies": [
        {"text": text, "role": "assistant", "rank": rank, "replies": []} for text, rank in (("bad", 2), ("good", 0), ("R", 1))]}]},
    {"text": "unjudged", "role": "assistant", "rank": None, "replies": []}]}


@pytest.mark.parametrize(("name", "row", "judged"), [
    ("ShareGPT pairs", {"conversations": [HUMAN], "chosen": GOOD, "rejected": BAD}, [PAIR]),
    ("messages pairs", {"messages": [U], "chosen": "good", "rejected": "bad"}, [PAIR]),
    ("prompt/chosen/rejected", {"prompt": "Q", "chosen": " good", "rejected": " bad"},
     [{"prompt": "Q", "chosen": " good", "rejected": " bad"}]),
    ("prompt/chosen/rejected", {"prompt": [U], "chosen": [C], "rejected": [R]}, [PAIR]),
    ("prompt/chosen/rejected", {"prompt": "Q", "chosen": [U, C], "rejected": [U, R]}, [PAIR]),
    ("prompt/chosen/rejected", {"prompt": "Q", "chosen": [S, U, C], "rejected": [S, U, R]}, [PAIR | {"prompt": [S, U]}]),
    ("prompt/chosen/rejected", {"prompt": "\n\nHuman: Q\n\nAssistant:", "chosen": " good", "rejected": " bad"}, [PAIR]),
    ("prompt/chosen/rejected", {"prompt": [U], "chosen": [C, U, C], "rejected": [C, U, R]}, [PAIR | {"prompt": [U, C, U]}]),
    ("chosen/rejected", {"chosen": [U, A, U, C], "rejected": [U, A, U, R]}, [PAIR | {"prompt": [U, A, U]}]),
    ("chosen/rejected", {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant: bad"}, [PAIR]),
    ("chosen/rejected", {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant:"},
     [PAIR | {"rejected": [{"role": "assistant", "content": ""}]}]),
    ("chosen/rejected", {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant: good"},
     [PAIR | {"rejected": [C]}]),
    ("ranked replies", {"prompt": "Q", "replies": ["good", "bad"]}, [{"prompt": "Q", "replies": ["good", "bad"], "ranks": [0, 1]}]),
    ("ranked replies", {"prompt": "Q", "responses": ["bad", "good", "R"], "ranks": [2, 1, 1]},
     [{"prompt": "Q", "replies": ["good", "R", "bad"], "ranks": [1, 1, 2]}]),
    ("ranked replies", {"prompt": [U], "replies": [[R], [C]], "scores": [0.5, 7]},
     [{"prompt": [U], "replies": [[C], [R]], "ranks": [-7, -0.5]}]),
    ("ranked reply trees", {"message_tree_id": "t", "prompt": DEEP},
     [{"prompt": [U], "replies": [[C], [R]], "ranks": [0, 1]}, {"prompt": [U, C, U], "replies": [[C], [A], [R]], "ranks": [0, 1, 2]}]),
    ("messages unpaired", {"messages": [U, C], "label": True}, [{"prompt": [U], "completion": [C], "label": True}]),
    ("ShareGPT unpaired", {"conversations": [HUMAN, BAD], "kto_tag": False}, [{"prompt": [U], "completion": [R], "label": False}]),
    ("prompt/completion unpaired", {"prompt": "Q", "completion": " good", "label": True},
     [{"prompt": "Q", "completion": " good", "label": True}]),
    ("prompt/completion unpaired", {"prompt": "Q", "completion": " good", "kto_tag": 1},
     [{"prompt": "Q", "completion": " good", "label": True}]),
    ("prompt/completion unpaired", {"prompt": [U], "completion": [R], "label": False},
     [{"prompt": [U], "completion": [R], "label": False}]),
    ("instruction/output unpaired", {"instruction": "Q", "input": "", "output": "bad", "kto_tag": False},
     [{"prompt": [U], "completion": [R], "label": False}]),
    ("votes", {"left": "a", "right": "b", "winner": "left", "judge": 7}, [{"left": "a", "right": "b", "winner": "left", "judge": 7}]),
    ("votes", {"model_a": "x", "model_b": "y", "winner": "tie (bothbad)"}, [{"left": "x", "right": "y", "winner": "tie"}]),
    ("votes", {"model_a": "x", "model_b": "y", "winner": "y"}, [{"left": "x", "right": "y", "winner": "right"}]),
    ("votes", {"model_1": "x", "model_2": "y", "label": -1}, [{"left": "x", "right": "y", "winner": None}])])
def test_a_preference_layout_is_told_from_its_columns_and_read_into_one_form(name, row, judged):
    layout = layouts.layout_of(sources.load_rows([row]))
    assert layout.name == name and layouts.detect(list(row)).name == name
    assert layouts.judged([row], list(row)) == judged
    assert layouts.judged(sources.load_rows([row]).to_pylist(), list(row)) == judged
    with pytest.raises(DataError) as caught:
        layouts.examples([row], list(row), name="a.jsonl")
    assert layout.use in str(caught.value) and "a.jsonl" in str(caught.value) and caught.value.remedy


def test_pairs_are_what_trl_makes_of_the_same_messages():
    from trl.data_utils import extract_prompt, is_conversational

    for turns in ([U], [S, U], [U, A, U], [S, U, A, U]):
        row = {"chosen": [*turns, C], "rejected": [*turns, R]}
        [pair] = layouts.judged([row], list(row))
        assert pair == extract_prompt(row) and is_conversational(pair)


@pytest.mark.parametrize(("row", "name"), [
    ({"messages": [U, A], "label": "sport"}, "messages"), ({"messages": [U, A], "label": 3}, "messages"),
    ({"messages": [U, A], "label": None}, "messages"),
    ({"prompt": "P", "completion": " C", "label": "sport"}, "prompt/completion"), ({"text": "T", "label": 1}, "text/label"), ({"text": "T", "label": None}, "plain text"),
    ({"prompt": "P", "completion": " C", "label": 1}, "prompt/completion"), ({"messages": [U, A], "label": 0}, "messages"),
    ({"instruction": "I", "output": "O", "label": 0}, "instruction/input/output"),
    ({"prompt": "P", "completion": " C", "label": False}, "prompt/completion unpaired"),
    ({"prompt": "P", "completion": "C", "replies": 3}, "prompt/completion"),
    ({"question": "Q", "answer": "R", "choices": ["R", "S"]}, "question/answer"),
    ({"question": "Q", "answer": 1, "choices": ["R", "S"]}, "multiple choice"),
    ({"context": "One two", "continuation": "three"}, "context/continuation")])
def test_where_names_leave_it_open_the_values_tell(row, name):
    assert layouts.layout_of(sources.load_rows([row])).name == name


@pytest.mark.parametrize(("context", "more", "joined"),
                         [("One two", "three", "One two three"), ("One two ", "three", "One two three"), ("One", "\ntwo", "One\ntwo")])
def test_a_continuation_is_one_space_away(context, more, joined):
    [example] = layouts.examples([{"context": context, "continuation": more}], ["context", "continuation"])
    assert example["prompt"] + example["completion"] == joined and example["prompt"] == context


@pytest.mark.parametrize(("row", "word"), [
    ({"chosen": "good", "rejected": "bad"}, "no column 'prompt'"), ({"chosen": [U], "rejected": [U]}, "assistant's turn"),
    ({"chosen": [C], "rejected": [R]}, "share no prompt"),
    ({"prompt": "Q", "chosen": None, "rejected": "bad"}, "'chosen' is empty"),
    ({"conversations": [], "chosen": GOOD, "rejected": BAD}, "no turns"),
    ({"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "no transcript"}, "'rejected' is neither"),
    ({"prompt": "Q", "replies": ["one"]}, "fewer than two"),
    ({"prompt": "Q", "replies": ["a", "b"], "ranks": [1]}, "2 replies and 1 ranks"),
    ({"prompt": "Q", "replies": ["a", "b"], "ranks": ["x", "y"]}, "not a list of numbers"),
    ({"prompt": "Q", "replies": ["a", 5.5, None]}, "empty"),
    ({"messages": [U], "kto_tag": True}, "does not end in a reply"), ({"messages": [U, C], "kto_tag": "perhaps"}, "not true or false"),
    ({"left": "a", "right": "b", "winner": "who"}, "'who'"), ({"left": "a", "right": "b", "winner": None}, "'winner' is empty"),
    ({"message_tree_id": "t", "prompt": {"text": "Q", "role": "wizard", "replies": []}}, "wizard")])
def test_a_judgement_that_cannot_be_read_is_named_by_row(row, word):
    with pytest.raises(DataError) as caught:
        layouts.judged([row], list(row), first=9, name="a.jsonl")
    assert "Row 9 of a.jsonl" in str(caught.value) and word in str(caught.value)


def test_rows_that_judge_nothing_are_no_preferences():
    for row in ({"question": "Q", "answer": "R"}, {"query": "Q", "choices": ["R", "S"], "gold": 0}):
        with pytest.raises(DataError, match="of no reply that it is better"):
            layouts.judged([row], list(row))


def test_choices_are_checked():
    for row, word in (({"query": "Q", "choices": ["R"], "gold": 0}, "two or more"),
                      ({"query": "Q", "choices": ["R", "S"], "gold": 2}, "0 to 1")):
        with pytest.raises(DataError, match=word):
            layouts.read([row], layouts.detect(list(row)))


def test_the_towns_preferences_are_pairs_and_no_rows_to_imitate():
    table = sources.load_rows("town:preferences")
    with pytest.raises(DataError, match="reward model") as caught:
        sources.check_layout(table)
    assert "town:preferences" in str(caught.value)
    pairs = layouts.judged(table.to_pylist(), table.column_names)
    assert len(pairs) == table.num_rows and all(pair["chosen"] != pair["rejected"] for pair in pairs[:100])


def _node(own, above, role="assistant"):
    return {"message_id": own, "parent_id": above, "text": own, "role": role}


def test_messages_of_trees_become_one_conversation_a_path():
    rows = [_node("q", None, "prompter"), _node("a", "q"), _node("b", "q"), _node("p", "b", "prompter"), _node("c", "p"),
            _node("r", "a", "prompter")]
    made = unfold.unfold(sources.load_rows(rows))
    assert [[turn["content"] for turn in said] for said in made.column("messages").to_pylist()] == [["q", "a"], ["q", "b", "p", "c"]]
    assert made.column("tree").to_pylist() == [0, 0] and layouts.layout_of(made).name == "messages"


@pytest.mark.parametrize(("rows", "word"), [
    ([_node("q", None, "prompter"), _node("a", "x")], "Row 2 of the list answers the message 'x'"),
    ([_node("q", None), _node("a", "q"), _node("a", "q")], "twice"),
    ([_node("q", None), _node("a", "b"), _node("b", "a")], "circle"), ([_node("q", None, "wizard"), _node("a", "q")], "wizard"),
    ([{"text": "T"}], "no row holds several"),
    ([{"instruction": "I", "instances": "none"}], "Row 1 of the list")])
def test_what_cannot_be_unfolded_says_why(rows, word):
    with pytest.raises(DataError, match=word):
        unfold.unfold(sources.load_rows(rows))
