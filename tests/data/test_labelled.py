"""Rows to classify: which columns they are told by, which rows are refused and with which words."""

from __future__ import annotations

import pandas as pd
import pytest

import workbench as wb
from workbench.data import labelled, run_rows, sources

TWO = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


def table(rows):
    return sources.load_rows(rows)


def gather(rows, heldout=0, seed=0):
    return run_rows.gather(rows, heldout, seed, labelled.RULES)


@pytest.mark.parametrize(("columns", "told"), [
    (["label", "text"], ("text", "label")), (["Text", "Label"], ("Text", "Label")), (["id", "sms", "label"], ("sms", "label")),
    (["sentence", "label", "idx"], ("sentence", "label")), (["review", "sentiment"], ("review", "sentiment")),
    (["text", "label", "label_text"], ("text", "label_text")), (["message", "class"], ("message", "class"))])
def test_text_and_label_are_told_by_their_names(columns, told):
    assert labelled.columns_of(columns) == told


@pytest.mark.parametrize(("columns", "missing"), [(["question", "label"], "text"), (["text", "answer"], "label")])
def test_a_missing_column_is_named_with_those_there_are(columns, missing):
    with pytest.raises(wb.DataError) as caught:
        labelled.columns_of(columns, "mail.csv")
    assert f"mail.csv has no column of {missing}" in caught.value.what and repr(columns[0]) in caught.value.what and caught.value.remedy


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([2, 10, 1], ["1", "2", "10"]),
        ([True, False, True], ["False", "True"]),
        ([1.0, 0.0, 1.0], ["0", "1"]),
        (["b", "a", "c"], ["a", "b", "c"]),
    ],
)
def test_labels_are_names_whatever_the_column_holds(values, names):
    examples = labelled.read(table([{"text": f"t{i}", "label": value} for i, value in enumerate(values)]))
    assert labelled.label_names(examples) == names and {example["label"] for example in examples} == set(names)


@pytest.mark.parametrize(("row", "words"), [
    ({"text": "c", "label": None}, "Row 3 of the list has no label"), ({"text": "c", "label": " "}, "Row 3 of the list has no label"),
    ({"text": "  ", "label": "x"}, "Row 3 of the list has no text"), ({"text": None, "label": "x"}, "Row 3 of the list has no text")])
def test_a_row_that_lacks_something_is_named(row, words):
    with pytest.raises(wb.DataError) as caught:
        gather([*TWO, row])
    assert words in caught.value.what and caught.value.remedy


def test_a_number_between_is_no_label():
    with pytest.raises(wb.DataError, match="0.5 in 'label', which is no label"):
        gather([{"text": "a", "label": 0.5}, {"text": "b", "label": 1.0}])


def test_one_label_only_is_nothing_to_tell_apart():
    with pytest.raises(wb.DataError, match="Every training row has the label 'x'"):
        gather([{"text": str(i), "label": "x"} for i in range(4)])


def test_a_label_of_its_own_for_each_row_is_no_class():
    with pytest.raises(wb.DataError, match="20 labels for 20 training rows"):
        gather([{"text": f"t{i}", "label": f"id-{i}"} for i in range(20)])


def test_a_label_that_is_held_out_alone_is_refused(tmp_path):
    heldout = tmp_path / "heldout.jsonl"
    heldout.write_text('{"text": "c", "label": "z"}\n{"text": "d", "label": "x"}\n')
    with pytest.raises(wb.DataError, match="1 held-out row has the label 'z', which no training row has.*x, y"):
        gather(TWO * 3, str(heldout))


def test_held_out_rows_without_labels_are_refused(tmp_path):
    heldout = tmp_path / "heldout.jsonl"
    heldout.write_text('{"text": "c"}\n')
    with pytest.raises(wb.DataError, match="heldout.jsonl has no column of labels"):
        gather(TWO, str(heldout))


def test_every_source_of_a_mixture_is_looked_at():
    mixture = wb.Mixture({"one": TWO * 4, "two": [{"text": "a"}] * 4})
    with pytest.raises(wb.DataError, match="The source 'two': the list has no column of labels"):
        gather(mixture)


def test_the_real_collection_is_read_by_its_path(real_data):
    examples = labelled.read(table(str(real_data / "sms_spam" / "SMSSpamCollection")))
    # pandas reads the same file another way
    frame = pd.read_csv(real_data / "sms_spam" / "SMSSpamCollection", sep="\t", names=["label", "text"], quoting=3, keep_default_na=False)
    assert pd.DataFrame(examples)["label"].value_counts().to_dict() == frame["label"].value_counts().to_dict() and labelled.label_names(
        examples
    ) == ["ham", "spam"]
