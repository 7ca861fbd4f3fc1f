"""Each layout is told from its columns and gives the example it should; what fits none is refused by name. Real files are in `test_sources.py`."""

from __future__ import annotations

import pytest

from workbench.data import layouts
from workbench.errors import DataError

U, A, S = ({"role": role, "content": text} for role, text in (("user", "Q"), ("assistant", "R"), ("system", "Be kind.")))


@pytest.mark.parametrize(("name", "row", "example"), [
    ("messages", {"messages": [S, U, A], "id": 3}, {"messages": [S, U, A]}),
    ("ShareGPT", {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": "R"}]}, {"messages": [S, U, A]}),
    ("prompt/completion", {"prompt": "P", "completion": " C"}, {"prompt": "P", "completion": " C"}),
    ("prompt/completion", {"prompt": [U], "completion": [A]}, {"messages": [U, A]}),
    ("instruction/input/output", {"instruction": "Q", "input": "", "output": "R"}, {"messages": [U, A]}),
    ("instruction/input/output", {"instruction": "Q", "output": "R"}, {"messages": [U, A]}),
    ("instruction/input/output", {"instruction": "Q", "input": "more", "output": "R", "system": "Be kind."},
     {"messages": [S, {"role": "user", "content": "Q\n\nmore"}, A]}),
    ("question/answer", {"question": "Q", "answer": "R"}, {"messages": [U, A]}),
    ("question/answer", {"question": "Q", "answer": 4}, {"messages": [U, {"role": "assistant", "content": "4"}]}),
    ("plain text", {"text": "T", "label": "spam"}, {"text": "T"})])
def test_a_layout_is_told_from_its_columns(name, row, example):
    assert layouts.detect(list(row)).name == name
    assert layouts.examples([row], list(row)) == [example]


def test_columns_of_no_layout_are_listed_with_the_layouts_known():
    with pytest.raises(DataError) as caught:
        layouts.detect(["frage", "antwort"])
    text = str(caught.value)
    assert "'frage', 'antwort'" in text
    assert all(layout.name in text and all(column in text for column in layout.columns) for layout in layouts.LAYOUTS)


@pytest.mark.parametrize(("row", "word"), [
    ({"question": "Q", "answer": None}, "'answer' is empty"), ({"question": ["Q"], "answer": "R"}, "list"), ({"messages": []}, "no turns"), ({"messages": "hello"}, "no turns"),
    ({"messages": [{"role": "user"}]}, "content"), ({"messages": [{"role": "wizard", "content": "x"}]}, "wizard"), ({"messages": ["hi"]}, "a turn lacks"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "role"), ({"conversations": [{"from": "human", "value": None}]}, "value"),
    ({"prompt": [U], "completion": "C"}, "list"), ({"text": True}, "bool")])
def test_a_row_that_does_not_hold_what_its_layout_says_is_named_by_number(row, word):
    with pytest.raises(DataError) as caught:
        layouts.examples([row], list(row), first=17)
    assert "Row 17" in str(caught.value) and word in str(caught.value)
