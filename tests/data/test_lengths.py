"""Lengths against the tokens that training itself makes, packing against trl's, padding against batches written out."""

from __future__ import annotations

import copy
import logging
import random

import numpy as np
import pyarrow as pa
import pytest

from workbench import town
from workbench.data import layouts, lengths, sources
from workbench.errors import DataError
from workbench.templates import chat

CHATS = [{"messages": [{"role": "user", "content": f"Who bakes bread {'again ' * i}?"},
                       {"role": "assistant", "content": "Mira " * (i + 1)}]} for i in range(9)]
PAIRS = [{"prompt": "Bread is", "completion": " good."}, {"prompt": "Bread", "completion": "  "}, {"prompt": "", "completion": "ü 語"}]
PLAIN = [{"text": "A story."}, {"text": ""}, {"text": "Two\nlines </s>"}]


def counting(tokenizer, asked: list[int]):
    """The tokenizer, noting in `asked` how many texts each call was to cut."""
    class Counting(type(tokenizer)):
        def __call__(self, text, **options):
            asked.append(len(text) if isinstance(text, list) else 1)
            return super().__call__(text, **options)

    other = copy.copy(tokenizer)
    other.__class__ = Counting
    return other


@pytest.fixture
def townsfolk():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(town.base_folder())


@pytest.fixture
def stories(real_data):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(real_data / "stories260k")


def trained_length(tokenizer, rows) -> list[int]:
    table = sources.load_rows(rows)
    return [len(chat.encode(tokenizer, example, False)[0]) for example in layouts.examples(table.to_pylist(), table.column_names)]


@pytest.mark.parametrize("rows", [CHATS, PAIRS, PLAIN])
@pytest.mark.parametrize("which", ["townsfolk", "stories"])
def test_lengths_are_those_of_training(rows, which, request):
    tokenizer = request.getfixturevalue(which)
    before = tokenizer.chat_template
    counted = lengths.token_lengths(rows, tokenizer, cache=None)
    assert tokenizer.chat_template == before, "counting changed the caller's tokenizer"
    chat.ensure_template(tokenizer)
    assert counted.dtype == np.int64 and counted.tolist() == trained_length(tokenizer, rows)


def test_real_rows_have_the_length_that_training_gives_them(real_data, stories):
    table = sources.load_rows(str(real_data / "gsm8k" / "train_2000.jsonl")).slice(0, 300)
    counted = lengths.token_lengths(table, stories, cache=None)
    chat.ensure_template(stories)
    assert counted.tolist() == trained_length(stories, table.to_pylist())


def test_any_callable_and_any_column():
    table = pa.Table.from_pylist([{"question": "one two", "answer": "three"}, {"question": "", "answer": "four five six"}])
    assert lengths.token_lengths(table, str.split).tolist() == [3, 3]
    assert lengths.token_lengths(table, str.split, columns="question").tolist() == [2, 0]
    assert lengths.token_lengths(["abc", ""], len).tolist() == [3, 0]
    assert lengths.token_lengths([], len).tolist() == []


def test_texts_rows_and_generators_count_alike(townsfolk):
    texts = [row["text"] for row in PLAIN]
    expected = lengths.token_lengths(PLAIN, townsfolk, cache=None).tolist()
    assert lengths.token_lengths(texts, townsfolk, cache=None).tolist() == expected
    assert lengths.token_lengths((text for text in texts), townsfolk, cache=None).tolist() == expected
    assert lengths.token_lengths(pa.Table.from_pylist(PLAIN), townsfolk, columns="text", cache=None).tolist() == expected


def test_what_was_counted_is_not_counted_again_not_even_by_another_process(townsfolk, tmp_path):
    asked: list[int] = []
    tokenizer = counting(townsfolk, asked)
    counted = lengths.token_lengths(CHATS, tokenizer, cache=lengths.LengthCache(tmp_path))
    assert sum(asked) == len(CHATS)
    asked.clear()
    fresh = lengths.LengthCache(tmp_path)  # what a new process begins with
    assert lengths.token_lengths([*CHATS[4:], *CHATS[:2]], tokenizer, cache=fresh).tolist() == [*counted[4:], *counted[:2]] and asked == []
    more = [*CHATS, {"messages": [{"role": "user", "content": "New?"}, {"role": "assistant", "content": "Yes."}]}]
    assert lengths.token_lengths(more, tokenizer, cache=fresh).tolist()[:-1] == counted.tolist() and asked == [1]


def test_what_was_counted_before_it_was_stopped_is_kept(townsfolk, tmp_path):
    asked: list[int] = []
    texts = [f"letter {i}" for i in range(2 * lengths.CHUNK_ROWS)]

    def stop(done, count):
        assert (done, count) == (lengths.CHUNK_ROWS, len(texts))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lengths.token_lengths(texts, townsfolk, cache=lengths.LengthCache(tmp_path), progress=stop)
    lengths.token_lengths(texts, counting(townsfolk, asked), cache=lengths.LengthCache(tmp_path))
    assert sum(asked) == lengths.CHUNK_ROWS


def test_a_row_longer_than_the_model_is_counted_without_a_word(townsfolk):
    said = []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    logger, listener = logging.getLogger("transformers"), Listener()
    before = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.WARNING)
    try:
        assert lengths.token_lengths(["bread " * 2000], townsfolk, cache=None)[0] > townsfolk.model_max_length
        counted_in_silence = list(said)
        townsfolk(["bread " * 2000])
    finally:
        logger.removeHandler(listener)
        logger.setLevel(before)
    assert counted_in_silence == [] and len(said) == 1, "the tokenizer itself warns"


def test_another_template_is_another_length(townsfolk):
    cache = lengths.LengthCache()
    before = lengths.token_lengths(CHATS, townsfolk, cache=cache)
    townsfolk.chat_template = "{% for m in messages %}<<{{ m['content'] }}>>{% endfor %}"
    after = lengths.token_lengths(CHATS, townsfolk, cache=cache)
    assert after.tolist() == lengths.token_lengths(CHATS, townsfolk, cache=None).tolist() != before.tolist()


def test_the_same_words_as_plain_text_and_as_a_chat_are_two_entries(townsfolk):
    townsfolk.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    cache = lengths.LengthCache()
    one = lengths.token_lengths([{"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]}], townsfolk,
                                cache=cache)
    two = lengths.token_lengths(["Who?Me."], townsfolk, cache=cache)
    assert two[0] == one[0] + 1, "plain text is closed by the end token"


def test_a_damaged_cache_is_counted_again(townsfolk, tmp_path):
    counted = lengths.token_lengths(CHATS, townsfolk, cache=lengths.LengthCache(tmp_path))
    [file] = tmp_path.iterdir()
    for damage in (b"", b"not a zip at all", file.read_bytes()[:-30]):
        file.write_bytes(damage)
        assert lengths.token_lengths(CHATS, townsfolk, cache=lengths.LengthCache(tmp_path)).tolist() == counted.tolist()


def test_a_row_that_does_not_fit_is_named(townsfolk):
    rows = [*CHATS, {"messages": []}]
    with pytest.raises(DataError, match="Row 10"):
        lengths.token_lengths(rows, townsfolk)
    townsfolk.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(DataError, match="no such role"):
        lengths.token_lengths(CHATS, townsfolk)


def test_waste_of_six_rows_by_hand():
    found = lengths.waste([2, 3, 4, 7, 9, 1], [8, 4], batch_size=2).iloc
    whole, cut = found[0], found[1]
    assert (whole["tokens"], whole["truncated_rows"], whole["lost_tokens"]) == (25, 1, 1) and whole["lost_share"] == pytest.approx(1 / 26)
    assert whole["padding_share_full"] == pytest.approx(1 - 25 / 48)
    assert whole["padding_share_sorted"] == pytest.approx(1 - 25 / (2 * 2 + 4 * 2 + 8 * 2))  # 1 2 | 3 4 | 7 8
    assert whole["packed_rows"] == 4 and whole["packing_efficiency"] == pytest.approx(25 / 32)  # 8 | 7 1 | 4 3 | 2, as 8 = 4 + 3 leaves 1
    assert (cut["tokens"], cut["truncated_rows"], cut["lost_tokens"], cut["packed_rows"]) == (18, 2, 8, 5)  # 4 | 4 | 4 | 3 1 | 2


def test_padding_in_random_order_is_that_of_batches_written_out():
    chance = random.Random(0)
    sizes = [chance.randint(1, 100) for _ in range(103)]
    order = np.random.default_rng(5).permutation(103)
    batches = [[min(sizes[i], 60) for i in order[b:b + 8]] for b in range(0, 103, 8)]
    wide = sum(max(batch) * len(batch) for batch in batches)
    found = lengths.waste(sizes, 60, batch_size=8, seed=5).iloc[0]
    assert found["padding_share"] == pytest.approx(1 - sum(map(sum, batches)) / wide)


@pytest.mark.parametrize("seed, longest, limit", [(0, 90, 64), (1, 300, 128), (2, 20, 64), (3, 64, 64), (4, 1000, 1024)])
def test_packed_rows_are_as_many_as_trl_makes(seed, longest, limit):
    import datasets
    from trl.data_utils import pack_dataset

    chance = random.Random(seed)
    sizes = [max(1, min(longest, round(chance.lognormvariate(3.5, 1)))) for _ in range(700)]
    rows = datasets.Dataset.from_dict({"input_ids": [[1] * size for size in sizes]})
    theirs = pack_dataset(rows, limit, "bfd")
    assert lengths.packed_rows(np.array(sizes), limit) == len(theirs)


def test_ten_million_rows_are_reckoned_on_counts():
    many = np.random.default_rng(0).integers(1, 2000, 10_000_000)
    packed = lengths.packed_rows(many, 2048)
    assert many.sum() / 2048 <= packed <= 1.01 * many.sum() / 2048


@pytest.mark.parametrize("sizes, limit, sentence", [([], 5, "no lengths"), ([3, -1], 5, "-1 is not a length"), ([3], 0, "below 1")])
def test_what_cannot_be_reckoned_is_said(sizes, limit, sentence):
    with pytest.raises(DataError, match=sentence):
        lengths.waste(sizes, limit)
