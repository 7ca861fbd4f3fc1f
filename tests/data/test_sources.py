"""Rows from files, tables and the real data: the same content hash whatever the container, and errors that name file and line."""

from __future__ import annotations

import csv
import gzip
import json

import pytest

from workbench.data import layouts, sources
from workbench.errors import DataError

ROWS = [{"question": "What is 3 + 4?", "answer": "007"}, {"question": 'A "quoted",\nbroken question — ü 語', "answer": "1.0"},
        {"question": "Is it?", "answer": "True"},
        {"question": "Date?", "answer": "2024-01-01"}, {"question": "Nothing?", "answer": "NA"}, {"question": "Empty?", "answer": ""}]


def written(folder):
    """The same rows in every container there is: name -> source."""
    import datasets
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "a.jsonl").write_text(lines)
    (folder / "crlf.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode() + b"\n\n")
    (folder / "a.json").write_text(json.dumps(ROWS, indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / "wrapped.json").write_text(json.dumps({"version": 1, "data": ROWS}))
    (folder / "lines.json").write_text(lines)
    (folder / "other_order.json").write_text(json.dumps([dict(reversed(row.items())) for row in ROWS]))
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["question", "answer"], delimiter=delimiter, quoting=csv.QUOTE_MINIMAL)
            writer.writeheader()
            writer.writerows(ROWS)
    for name in ("a.jsonl", "a.csv", "a.json"):
        (folder / (name + ".gz")).write_bytes(gzip.compress((folder / name).read_bytes()))
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, folder / "a.parquet", row_group_size=2)
    sources.keep(table, folder / "a.arrow")
    files = {path.name: str(path) for path in folder.iterdir()}
    return files | {"Dataset": datasets.Dataset.from_list(ROWS), "DataFrame": pd.DataFrame(ROWS), "list": ROWS, "Path": folder / "a.jsonl"}


def test_the_same_rows_have_the_same_hash_from_every_container(tmp_path):
    hashes = {name: sources.content_hash(sources.load_rows(source)) for name, source in written(tmp_path).items()}
    assert len(hashes) >= 15 and set(hashes.values()) == {hashes["list"]}, hashes


def test_another_row_another_order_or_another_letter_is_another_hash():
    def of(rows):
        return sources.content_hash(sources.load_rows(rows))

    changed = [dict(row) for row in ROWS]
    changed[2]["answer"] = "true"
    assert len({of(ROWS), of(ROWS[::-1]), of(changed), of(ROWS[:-1]), of([*ROWS, ROWS[0]])}) == 5


def test_a_selected_or_shuffled_dataset_gives_the_rows_it_shows():
    import datasets

    dataset = datasets.Dataset.from_list(ROWS)
    assert sources.load_rows(dataset.select([4, 1])).to_pylist() == [ROWS[4], ROWS[1]]
    assert sources.load_rows(dataset.shuffle(seed=3)).to_pylist() == list(dataset.shuffle(seed=3))


def test_kept_rows_come_back_the_same(tmp_path):
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            {"messages": [{"role": "user", "content": "c"}]}]
    table = sources.load_rows(rows)
    sources.keep(table, tmp_path / "deep" / "rows.arrow")
    back = sources.kept(tmp_path / "deep" / "rows.arrow")
    assert back.to_pylist() == rows and sources.content_hash(back) == sources.content_hash(table)


@pytest.mark.parametrize(("name", "content", "words"), [
    ("a.jsonl", b'{"text":"a"}\n{"text":"b"}\n{"text":\n{"text":"d"}\n', ["a.jsonl", "line 3"]),
    ("a.jsonl", b'{"text":"a"}\n\n\n["b"]\n', ["Row 2", "list"]),
    ("a.json", b'[\n {"text": "a"},\n {"text": "b"},\n {"text": }\n]\n', ["a.json", "line 4"]),
    ("a.json", b'{"text":"a"}\n{"text":"b"}\n{broken\n', ["a.json", "line 3"]),
    ("a.json", b"3", ["int"]), ("a.json", b"", ["line 1"]), ("a.jsonl", b"\n\n", ["no rows"]), ("a.json", b"[]", ["no rows"]),
    ("a.jsonl", b'{"text":"a"}\n{"text":"\xff\xfe"}\n', ["line 2", "UTF-8"]), ("a.csv", b"text\n", ["no rows"]), ("a.csv", b"", ["a.csv"]),
    ("a.csv", b"text,label\nx,1\ny\n", ["a.csv", "2"]), ("a.parquet", b"not parquet", ["a.parquet"]),
    ("a.arrow", b"not arrow", ["a.arrow"]),
    ("a.jsonl.gz", b"not gzip", ["a.jsonl.gz"]), ("a.docx", b"x", [".docx", ".jsonl"]), ("a", b"x", ["(none)"]),
    ("a.jsonl", b'{"text":"a"}\n{"text":5}\n', ["'text'", "mixes types"])])
def test_a_broken_file_is_named_with_the_place(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        sources.load_rows(str(tmp_path / name))
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("source",
                         ["nowhere.jsonl", "/no/such/rows", "./x.csv", "nowhere.csv.gz", "town:nothing", 5, None, [], ["text"],
                          [{"text": "a"}, 3]])
def test_a_source_that_is_no_source_says_so(source):
    with pytest.raises(DataError):
        sources.load_rows(source)


def test_a_folder_is_refused_and_a_hub_id_offline_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="folder"):
        sources.load_rows(str(tmp_path))
    with pytest.raises(DataError, match="somebody/some-rows") as caught:
        sources.load_rows("somebody/some-rows")
    assert len(str(caught.value).splitlines()) == 1 and caught.value.remedy


def test_a_hub_that_cannot_be_reached_once_may_be_asked_again(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with pytest.raises(DataError, match="somebody/some-rows"):
        sources.load_rows("somebody/some-rows")
    assert datasets.config.HF_HUB_OFFLINE is False


def test_held_out_rows_are_drawn_by_the_seed_and_never_trained_on():
    table = sources.load_rows([{"text": str(n)} for n in range(500)])
    train, heldout = sources.split(table, 0.1, seed=4)
    kept = {row["text"] for part in (train, heldout) for row in part.to_pylist()}
    assert heldout.num_rows == 50 and kept == {str(n) for n in range(500)}
    assert train.num_rows == 450
    again, other = sources.split(table, 0.1, seed=4)[1], sources.split(table, 0.1, seed=5)[1]
    assert again.equals(heldout) and not other.equals(heldout)
    assert sources.split(table, 0.9, seed=0)[1].num_rows == 200 and sources.split(table, 0, seed=0)[1].num_rows == 0
    assert sources.split(table.slice(0, 2), 0.1, seed=0)[1].num_rows == 1
    with pytest.raises(DataError):
        sources.split(table.slice(0, 1), 0.1, seed=0)


def test_plain_text_is_split_at_empty_lines(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"One\r\ntwo.\r\n\r\n\r\nThree.\n")
    assert sources.load_rows(tmp_path / "a.txt").to_pylist() == [{"text": "One\ntwo."}, {"text": "Three."}]


@pytest.mark.parametrize(("file", "layout", "count"), [
    ("gsm8k/train_2000.jsonl", "question/answer", 2000), ("gsm8k/test.jsonl", "question/answer", 1319),
    ("fastchat/dummy_conversation.json", "ShareGPT", 500),
    ("identity/identity.json", "instruction/input/output", 91)])
def test_real_files_load_in_their_layout(real_data, file, layout, count):
    table = sources.load_rows(str(real_data / file))
    assert table.num_rows == count and layouts.detect(table.column_names).name == layout
    sources.check_layout(table)
    examples = layouts.examples(table.to_pylist(), table.column_names)
    assert all({turn["role"] for turn in example["messages"]} <= {"user", "assistant", "system"} for example in examples)
    assert all(example["messages"][0]["content"] for example in examples)


def test_real_rows_of_no_layout_are_refused_by_their_columns_and_load_once_named(real_data):
    import pandas as pd

    seeds = sources.load_rows(str(real_data / "self_instruct" / "seed_tasks.jsonl"))
    with pytest.raises(DataError, match="'instances'"):
        sources.check_layout(seeds)
    flat = [{"instruction": row["instruction"], **row["instances"][0]} for row in seeds.to_pylist()]
    sources.check_layout(sources.load_rows(flat))
    sms = real_data / "sms_spam" / "SMSSpamCollection"
    frame = pd.read_csv(sms, sep="\t", names=["label", "text"], quoting=csv.QUOTE_NONE, keep_default_na=False)
    table = sources.load_rows(frame)
    assert table.num_rows == 5574 and layouts.detect(table.column_names).name == "text/label"
    sources.check_layout(table)
    assert sources.load_rows(str(sms)).to_pylist() == table.to_pylist()  # without an ending, a header or quotes that pair, and the same


def test_real_plain_text_loads(real_data):
    files = sorted((real_data / "tinyshakespeare").glob("*.txt"))
    table = sources.load_rows(str(files[0]))
    assert table.num_rows > 1000 and table.column_names == ["text"]
