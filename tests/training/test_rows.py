"""Rows ready to train on: cut, dropped and counted, padded and packed, checked on the real small tokenizer. Losses are in `test_invariants.py`."""

from __future__ import annotations

import pytest

from tests.runs.tools import rows as questions
from workbench.data import layouts
from workbench.errors import DataError
from workbench.models import loading
from workbench.templates import chat
from workbench.training.rows import IGNORE, Collator, prepare


@pytest.fixture(scope="module")
def tokenizer(real_data):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_data / "stories260k")
    loading.prepare_tokenizer(tokenizer, None)
    chat.ensure_template(tokenizer)
    return tokenizer


def examples(rows):
    return layouts.examples(rows, list(rows[0]))


def prepared(rows, tokenizer, **options):
    return prepare(examples(rows), tokenizer, **(dict(objective="sft", completions_only=True, max_length=128, packing=False) | options))


def test_labels_are_the_ids_where_trained_and_end_with_the_end_token(tokenizer):
    out = prepared(questions(20), tokenizer)
    for row in out.rows:
        kept = [i for i, label in enumerate(row["labels"]) if label != IGNORE]
        assert all(row["labels"][i] == row["input_ids"][i] for i in kept) and row["labels"][0] == IGNORE
        assert row["labels"][kept[-1]] == tokenizer.eos_token_id
    assert out.tokens == sum(len(r["input_ids"]) for r in out.rows) and out.trained_tokens == sum(label != IGNORE for r in out.rows for label in r["labels"])
    assert out.examples == 20 and not out.dropped and out.truncated == 0


@pytest.mark.parametrize("spans", ["user", "nothing"])
def test_marks_that_mark_other_tokens_are_refused_before_training(tokenizer, spans):
    import copy

    marked = copy.copy(tokenizer)
    mark = "{% generation %}{% endgeneration %}" if spans == "nothing" else ""
    marked.chat_template = ("{% for m in messages %}{% if m['role'] == 'user' %}{% generation %}Q: {{ m['content'] }}{% endgeneration %}\n{% else %}A: {{ m['content'] }}" + mark
                            + "{{ eos_token }}{% endif %}{% endfor %}").replace("{% generation %}Q: {{ m['content'] }}{% endgeneration %}",
                                                                               "{% generation %}Q: {{ m['content'] }}{% endgeneration %}" if spans == "user" else "Q: {{ m['content'] }}")
    with pytest.raises(DataError, match="marks other tokens"):
        prepared(questions(20), marked)
    assert prepared(questions(20), marked, completions_only=False).examples == 20


def test_padding_is_masked_by_position_and_not_by_token(tokenizer):
    out = prepared(questions(12), tokenizer)
    features = list(out.rows)
    batch = Collator(tokenizer.pad_token_id, count=True)(features)
    lengths = [len(f["input_ids"]) for f in features]
    assert len(set(lengths)) > 1 and batch["real_tokens"] == sum(lengths)
    for row, (n, feature) in enumerate(zip(lengths, features, strict=True)):
        assert batch["input_ids"][row, :n].tolist() == feature["input_ids"] and batch["attention_mask"][row].tolist() == [1] * n + [0] * (max(lengths) - n)
        assert batch["labels"][row, :n].tolist() == feature["labels"] and set(batch["labels"][row, n:].tolist()) <= {IGNORE}
        assert set(batch["input_ids"][row, n:].tolist()) <= {tokenizer.eos_token_id}, "padded with the end token"
        assert (batch["labels"][row] == tokenizer.eos_token_id).sum() == 1, "and yet the real end is trained"


def test_packed_rows_hold_every_example_once_with_positions_that_restart(tokenizer):
    plain, packed = (prepared(questions(40), tokenizer, packing=packing) for packing in (False, True))
    assert packed.examples == plain.examples == 40 and packed.tokens == plain.tokens and len(packed.rows) < 25
    pieces = []
    for row in packed.rows:
        assert len(row["input_ids"]) <= 128 and sum(row["seq_lengths"]) == len(row["input_ids"])
        start = 0
        for n in row["seq_lengths"]:
            pieces.append((tuple(row["input_ids"][start:start + n]), tuple(row["labels"][start:start + n])))
            start += n
    assert sorted(pieces) == sorted((tuple(r["input_ids"]), tuple(r["labels"])) for r in plain.rows)
    batch = Collator(tokenizer.pad_token_id, 128)(list(packed.rows)[:3])
    assert set(batch) == {"input_ids", "labels", "position_ids"} and all(v.shape == (3, 128) for v in batch.values())
    for row, feature in enumerate(list(packed.rows)[:3]):
        expected = [p for n in [*feature["seq_lengths"], 128 - len(feature["input_ids"])] for p in range(n)]
        assert batch["position_ids"][row].tolist() == expected
        assert set(batch["labels"][row, len(feature["input_ids"]):].tolist()) <= {IGNORE}


def test_rows_that_train_nothing_are_dropped_and_counted_by_reason(tokenizer):
    rows = questions(300)
    rows[10]["answer"] = ""
    rows[20]["question"] = "Why? " * 300
    out = prepared(rows, tokenizer)
    assert dict(out.dropped) == {"no answer": 1, "answer cut off by max_length": 1} and out.examples == 298


@pytest.mark.parametrize(("change", "words"), [
    (dict(answer=""), ["5 of 300", "no answer", "the first is row 8", "1%"]),
    (dict(question="Why? " * 300), ["5 of 300", "answer cut off by max_length", "the first is row 8", "Raise max_length above 128"])])
def test_more_than_one_in_a_hundred_refuses_with_the_reason(tokenizer, change, words):
    rows = questions(300)
    for index in (7, 50, 60, 70, 80):
        rows[index] |= change
    with pytest.raises(DataError) as caught:
        prepared(rows, tokenizer)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    for index in (50, 60):
        rows[index] = questions(1)[0]
    assert prepared(rows, tokenizer).examples == 297, "exactly one in a hundred is let pass"


def test_long_rows_are_cut_and_counted(tokenizer):
    rows = questions(20)
    rows[3]["answer"] = "The cat sat down. " * 60
    out = prepared(rows, tokenizer)
    assert out.truncated == 1 and max(len(r["input_ids"]) for r in out.rows) == 128


def test_pretraining_trains_every_token_of_every_piece_but_the_first(tokenizer):
    text = "Once upon a time there was a dog. " * 40
    whole = tokenizer(text).input_ids + [tokenizer.eos_token_id]
    out = prepare([{"text": text}], tokenizer, objective="pretraining", completions_only=True, max_length=64, packing=False)
    assert [t for r in out.rows for t in r["input_ids"]] == whole
    assert all(r["labels"] == [IGNORE, *r["input_ids"][1:]] for r in out.rows) and out.examples == -(-len(whole) // 64) and out.truncated == 0


def test_pretraining_on_conversations_trains_the_questions_too(tokenizer):
    row = prepared(questions(1), tokenizer, objective="pretraining").rows[0]
    assert row["labels"] == [IGNORE, *row["input_ids"][1:]]
