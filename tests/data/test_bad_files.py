"""A corpus of files as they go wrong, made here: each gets one sentence that names the file, the line or row, and a remedy. And files that
only look wrong."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.data import layouts, raw, sources, tables
from workbench.errors import DataError

LINE = b'{"question": "Q", "answer": "R"}\n'
ROWS = [{"question": "Q", "answer": "R"}] * 3
LONG = b"a" * 10_000_000


def arrow(**columns: list) -> bytes:
    import pyarrow as pa

    out = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def parquet(names: list[str], *columns: list) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], names=names), out)
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("rows.jsonl", LINE)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("rows.jsonl"), io.BytesIO())
    return out.getvalue()


def not_utf8_in_arrow() -> bytes:
    return arrow(text=["abcdefgh"]).replace(b"abcdefgh", b"abc\xff\xfefgh")


def bomb_of_parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["x" * 1000] * 100_000}), out, compression="zstd", store_schema=False)
    return out.getvalue()


def bomb_of_arrow() -> bytes:
    import pyarrow as pa

    out = io.BytesIO()
    table = pa.table({"text": ["x" * 1000] * 100_000})
    with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table, max_chunksize=10_000)
    return out.getvalue()


CORPUS: dict[str, tuple[str, bytes | Callable[[], bytes], list[str]]] = {
    # name: (file, content, words of the sentence beside the file's name)
    "broken JSON on line 3": ("a.jsonl", LINE * 2 + b'{"question": "Q", "answer": }\n' + LINE, ["line 3", "not JSON", "Mend"]),
    "a line torn off at the end": ("a.jsonl", LINE * 4 + LINE[:20], ["line 5", "ends in the middle", "fetch it again"]),
    "an object over several lines": ("a.jsonl", json.dumps(ROWS[0], indent=1).encode(), ["line 1", "one whole object a line", ".json"]),
    "NaN": ("a.jsonl", LINE + b'{"question": NaN, "answer": "R"}\n', ["line 2", "not JSON"]),
    "a lone surrogate": ("a.jsonl", LINE + b'{"question": "\\ud800", "answer": "R"}\n', ["line 2", "not JSON"]),
    "a list among objects": ("a.jsonl", LINE + b'\n["Q", "R"]\n', ["Row 2", "line 3", "list"]),
    "a key given twice": ("a.jsonl", LINE + b'{"question": "Q", "question": "P", "answer": "R"}\n', ["line 2", "'question'", "twice"]),
    "a key given twice in an array": ("a.json", b'[\n{"a": 1},\n {"text": "x",\n "text": "y"}\n]', ["line 3", "'text'", "twice"]),
    "text, then a number": ("a.jsonl", LINE * 2 + b'{"question": 5, "answer": "R"}\n',
                            ["Row 3", "line 3", "'question'", "mixes types", "int here, str before"]),
    "text, then a number, in an array": ("a.json", b'[{"t": null},\n{"t": "x"},\n\n{"t": 5}]', ["Row 3", "line 4", "'t'", "mixes types"]),
    "objects within which types mix": ("a.jsonl", b'{"a": {"b": 1}}\n{"a": {"b": "x"}}\n', ["Row 2", "line 2", "'a'", "mixes types"]),
    "a number of 80 bits": ("a.jsonl", b'{"text": "x", "n": 1}\n{"text": "x", "n": 18446744073709551615}\n',
                            ["Row 2", "line 2", "'n'", "64 bits"]),
    "a number of 65 bits": ("a.jsonl", b'{"n": 18446744073709551617}\n{"n": 18446744073709551618}\n',
                            ["Row 1", "line 1", "'n'", "64 bits", "as text"]),
    "a number of 64 bits below zero": ("a.json", b'[{"n": 1},\n{"n": -9223372036854775809}]', ["Row 2", "line 2", "'n'", "64 bits"]),
    "a number of 65 bits within": ("a.jsonl", b'{"m": [{"n": 0.5}]}\n{"m": [{"n": 18446744073709551617}]}\n', ["Row 2", "line 2", "'m'"]),
    "a number of 251 digits": ("a.jsonl", b'{"n": 1}\n{"n": 1' + b"0" * 250 + b"}\n", ["Row 2", "line 2", "64 bits"]),
    "true among numbers": ("a.jsonl", b'{"n": 1}\n{"n": 1.5}\n{"n": true}\n', ["Row 3", "line 3", "'n'", "mixes types", "bool"]),
    "true, then a number": ("a.jsonl", b'{"n": true}\n{"n": 1.5}\n', ["Row 2", "line 2", "'n'", "mixes types", "bool"]),
    "true among numbers in a list": ("a.json", b'[{"n": [1.5]},\n{"n": [0.5, false]}]', ["Row 2", "line 2", "'n'", "mixes types", "bool"]),
    "true among numbers of objects": ("a.jsonl", b'{"o": {"n": 1.5}}\n{"o": {"n": true}}\n', ["Row 2", "line 2", "'o'", "bool"]),
    "values 700 levels deep": ("a.jsonl", LINE + b'{"a":' * 700 + b"1" + b"}" * 700, ["Row 2", "line 2", "nested", "Flatten"]),
    "values 300 levels deep": ("a.json", b'[{"a": 1},\n{"b":' + b"[" * 300 + b"]" * 300 + b"}]", ["Row 2", "line 2", "nested", "Flatten"]),
    "an array cut off": ("a.json", b'[\n{"text": "a"},\n{"text": "b"},\n{"te', ["line 4", "ends in the middle", "fetch it again"]),
    "an array with a fault": ("a.json", b'[\n{"text": "a"},\n{"text" "b"}\n]', ["line 3", "not JSON"]),
    "a number for a file": ("a.json", b"42", ["int", "list of objects"]),
    "no byte": ("a.jsonl", b"", ["line 1", "empty"]),
    "no byte in Parquet": ("a.parquet", b"", ["line 1", "empty"]),
    "nothing but line breaks": ("a.jsonl", b"\n\r\n\n", ["line 1", "empty but for line breaks"]),
    "an empty gzip": ("a.jsonl.gz", gzip.compress(b""), ["line 1", "empty"]),
    "an empty array": ("a.json", b"[]", ["no rows"]),
    "a header alone": ("a.csv", b"question,answer\n", ["no rows"]),
    "Latin-1": ("a.jsonl", LINE * 6 + '{"text": "Grüße"}\n'.encode("latin-1"), ["line 7", "not UTF-8", "0xfc", "iconv"]),
    "Latin-1 in CSV": ("a.csv", "question,answer\nQ,R\nWo?,Köln\n".encode("latin-1"), ["line 3", "not UTF-8", "0xf6"]),
    "UTF-16": ("a.csv", "question,answer\nQ,R\n".encode("utf-16"), ["line 1", "UTF-16", "iconv"]),
    "UTF-16 without its mark": ("a.jsonl", LINE.decode().encode("utf-16-le"), ["line 1", "NUL", "UTF-16"]),
    "a NUL byte": ("a.csv", b"question,answer\nQ,R\nQ\0,R\n", ["line 3", "NUL", "Remove it"]),
    "a NUL byte in text": ("a.txt", b"one\n\ntwo\0\n", ["line 3", "NUL"]),
    "one line of 10 MB": ("a.jsonl", lambda: LINE + b'{"text": "' + LONG + b'"}\n', ["line 2", "10.0 MB", "break up"]),
    "one value of 10 MB in an array": ("a.json", lambda: b'[{"text": "x"}, {"text": "' + LONG + b'"}]', ["Row 2", "10.0 MB", "'text'"]),
    "one paragraph of 10 MB": ("a.txt", lambda: b"short\n\n" + LONG, ["line 3", "10.0 MB", "empty lines"]),
    "one value of 10 MB in CSV": ("a.csv", lambda: b"id,text\n1,x\n2," + LONG + b"\n", ["line 3", "8.4 MB"]),
    "a quoted value of 10 MB": ("a.csv", lambda: b'id,text\n1,x\n2,"' + LONG + b'"\n', ["line 3", "8.4 MB"]),
    "a column of nulls": ("a.jsonl", b'{"question": "Q", "answer": null}\n' * 3, ["'answer'", "empty (null)", "row 1 to row 3", "Fill it"]),
    "columns of nulls alone": ("a.jsonl", b'{"a": null, "b": null}\n' * 2, ["'a'", "empty (null)"]),
    "two columns of one name": ("a.csv", b"text,label,text\na,1,b\n", ["line 1", "'text'", "Rename"]),
    "two columns of one name in Parquet": ("a.parquet", lambda: parquet(["text", "text"], ["a"], ["b"]), ["'text'", "Rename"]),
    "a quote never closed": ("a.csv", b'question,answer\nQ,R\n"What is it,R\nQ,R\nQ,R\n', ["line 3", "never closed"]),
    "two quotes never closed": ("a.csv", b'question,answer\n"What,R\nQ,R\n"Who,R\n', ["line 2", "closed in the middle"]),
    "a quote closed too soon": ("a.csv", b'question,answer\nQ,R\n"He said "no" to it",R\n', ["line 3", "closed in the middle", '""']),
    "a value too few": ("a.csv", b"question,answer\nQ,R\n\nQ\nQ,R\n", ["line 4", "1 values", "2 columns"]),
    "a value too many": ("a.tsv", b"question\tanswer\nQ\tR\nQ\tR\tS\n", ["line 3", "3 values", "2 columns"]),
    "a value too many after quotes": ("a.csv", b'question,answer\n"Q\nQ",R\nQ,R,S\n', ["line 4", "3 values"]),
    "a gzip torn off": ("a.jsonl.gz", lambda: gzip.compress(b"".join(b'{"text": "%d"}\n' % n for n in range(9999)))[:-4000],
                        ["line 8", "ends in the middle", "fetch"]),
    "a gzip with a wrong sum": ("a.jsonl.gz", lambda: gzip.compress(LINE)[:-8] + b"\0" * 8, ["line ", "cannot be unpacked", "CRC"]),
    "a gzip with a wrong block": ("a.jsonl.gz", lambda: gzip.compress(LINE)[:10] + b"\xff" * 40, ["cannot be unpacked"]),
    "no gzip": ("a.jsonl.gz", LINE, ["line 1", "cannot be unpacked", "take .gz off"]),
    "a bomb of rows": ("a.jsonl.gz", lambda: gzip.compress(LINE * 3_000_000), ["MiB", "limit", "gunzip"]),
    "a bomb of Parquet": ("a.parquet.gz", lambda: gzip.compress(bytes(80_000_000)), ["MiB", "limit"]),
    "Parquet in which one value stands for all rows": ("a.parquet", bomb_of_parquet, ["MiB", "limit", "datasets.Dataset"]),
    "Arrow packed hard": ("a.arrow", bomb_of_arrow, ["MiB", "limit", "datasets.Dataset"]),
    "a column for each row": ("a.jsonl", lambda: b"".join(b'{"id%d": "x"}\n' % n for n in range(5000)), ["5,000 columns", "ids"]),
    "rows keyed by id": ("a.json", lambda: json.dumps({str(n): {"text": "x"} for n in range(5000)}).encode(), ["5,000 columns", "ids"]),
    "a header of ids": ("a.csv", lambda: b",".join(b"%d" % n for n in range(5000)) + b"\n" + b"x," * 4999 + b"x\n",
                        ["5,000 columns", "ids"]),
    "a tar of rows": ("a.tar.gz", tarred, ["archive", "'rows.jsonl'", "Unpack"]),
    "a zip": ("a.zip", zipped, ["archive", "Unpack"]),
    "a zip called JSON lines": ("a.jsonl", zipped, ["line 1", "zip archive", "Unpack"]),
    "Parquet called JSON": ("a.json", lambda: parquet(["text"], ["a"]), ["Parquet", "Call it .parquet"]),
    "JSON called Parquet": ("a.parquet", LINE, ["cannot be read", "whole"]),
    "Parquet cut off": ("a.parquet", lambda: parquet(["text"], ["a"] * 99)[:-30], ["cannot be read", "whole"]),
    "Arrow cut off": ("a.arrow", lambda: arrow(text=["a"] * 9999)[:500], ["cannot be read"]),
    "Arrow that is not UTF-8": ("a.arrow", not_utf8_in_arrow, ["cannot be read", "UTF8"]),
    "a web page": ("a.jsonl", b"<!DOCTYPE html>\n<html><body>404</body></html>\n", ["line 1", "web page", "Fetch"]),
    "a pointer of Git LFS": ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
                             ["line 1", "Git LFS", "git lfs pull"]),
    "a pointer of Git LFS called Parquet": ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n",
                                            ["line 1", "Git LFS", "git lfs pull"]),
    "a pointer of Git LFS called Arrow": ("a.arrow", b"version https://git-lfs.github.com/spec/v1\noid sha256:2\nsize 3\n",
                                          ["line 1", "Git LFS", "git lfs pull"]),
    "a workbook": ("a.xlsx", zipped, ["workbook", "CSV"]),
    "weights": ("a.safetensors", b"x", ["weights"]),
    "a document not closed": ("a.txt", b"<DOC>\n<DOCNO>1</DOCNO>\nx\n</DOC>\n<DOC>\ny\n", ["line 5", "not closed"]),
    "nothing known": ("a.dat", b"x", [".dat", ".jsonl"]),
}


def refusal(path: Path | str) -> str:
    """The sentence that says no, checked for what every such sentence has."""
    with pytest.raises(DataError) as caught:
        sources.load_rows(path)
    text = str(caught.value)
    assert Path(path).name in text and caught.value.remedy and len(text.splitlines()) == 1 and len(text) < 450, text
    assert caught.value.what.endswith(".") and ".." not in caught.value.what.replace("...", "") and caught.value.remedy.endswith("."), text
    return text


@pytest.mark.parametrize("name", CORPUS)
def test_a_bad_file_is_named_with_the_place_and_a_remedy(tmp_path, name):
    file, content, words = CORPUS[name]
    (tmp_path / file).write_bytes(content() if callable(content) else content)
    text = refusal(tmp_path / file)
    assert [word for word in words if word not in text] == [], text


def test_the_corpus_is_large_and_no_two_files_of_it_are_alike():
    made = [(file, content() if callable(content) else content) for file, content, _ in CORPUS.values()]
    assert len(made) >= 60 and len(set(made)) == len(made)


NESTED = {
    "a list for a question": (b'{"question": ["Q"], "answer": "R"}\n', ["Row 1 of a.jsonl", "'question' holds list, not text"]),
    "an object for text": (LINE.replace(b'"R"', b'{"text": "R"}'), ["Row 1 of a.jsonl", "'answer' holds dict"]),
    "a null among answers": (LINE * 2 + b'{"question": "Q", "answer": null}\n', ["Row 3 of a.jsonl", "'answer' is empty"]),
    "an unknown role": (b'{"messages": [{"role": "wizard", "content": "x"}]}\n', ["Row 1 of a.jsonl", "wizard"]),
    "no layout": (b'{"frage": "Q", "antwort": "R"}\n', ["'frage', 'antwort'", "Rename"]),
    "preferences": (b'{"prompt": "P", "chosen": "C", "rejected": "R"}\n', ["a.jsonl", "preference pairs", "reward model"]),
}


@pytest.mark.parametrize("name", NESTED)
def test_rows_that_cannot_be_trained_on_are_named_with_their_file(tmp_path, name):
    content, words = NESTED[name]
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError) as caught:
        sources.check_layout(sources.load_rows(tmp_path / "a.jsonl"))
    assert [word for word in words if word not in str(caught.value)] == [] and caught.value.remedy, str(caught.value)


def test_a_folder_a_pipe_and_a_folder_of_datasets_are_told_apart(tmp_path):
    import datasets

    (tmp_path / "rows.jsonl").write_bytes(LINE)
    assert "such as rows.jsonl" in refusal(tmp_path)
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert "load_from_disk" in refusal(tmp_path / "saved")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "no ordinary file" in refusal(tmp_path / "pipe.jsonl")  # and does not wait for somebody to write into it
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    assert "no file" in refusal(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("text", ['{"text": "a"}', "", "one\ntwo", "x" * 5000, "[1, 2]"])
def test_text_that_is_no_name_is_refused(text):
    with pytest.raises(DataError) as caught:
        sources.load_rows(text)
    assert len(str(caught.value)) < 300 and caught.value.remedy


def test_a_bomb_is_given_up_before_it_fills_the_memory(tmp_path):
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb", compresslevel=9) as file:
        for _ in range(300):
            file.write(LINE * 31_000)
    tracemalloc.start()
    text = refusal(tmp_path / "bomb.jsonl.gz")
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(f"a bomb of {300 * 31_000 * len(LINE) / 2**20:.0f} MiB: {peak:.0f} MiB at the peak; {text}")
    assert peak < 200


def test_a_packed_file_beyond_the_absolute_limit_is_refused_however_well_it_packs(tmp_path, monkeypatch):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(os.urandom(2_000_000).hex().encode()))
    assert sources.load_rows(tmp_path / "a.txt.gz").num_rows == 1
    monkeypatch.setattr(raw, "INFLATED_BYTES", 3 * 2**20)
    assert "limit" in refusal(tmp_path / "a.txt.gz")


@pytest.mark.parametrize(("file", "content"), [
    ("bom.csv", b'\xef\xbb\xbf"question","answer"\r\nQ,R\r\nQ,R\r\nQ,R\r\n'), ("bom.json", b"\xef\xbb\xbf" + json.dumps(ROWS).encode()),
    ("semicolons.csv", b"question;answer\nQ;R\nQ;R\nQ;R\n"), ("blank.csv", b"\nquestion,answer\n\nQ,R\nQ,R\n\nQ,R\n"),
    ("cr.csv", b"question,answer\rQ,R\rQ,R\rQ,R\r"),
    ("upper.JSONL", LINE * 3), ("packed.jsonl", gzip.compress(LINE * 3)), ("none", LINE * 3),
    ("none_array", json.dumps(ROWS, indent=2).encode()),
    ("none_table", b"question\tanswer\nQ\tR\nQ\tR\nQ\tR\n"), ("one_line.json", json.dumps(ROWS).encode()),
    ("extra.jsonl", LINE * 2 + LINE.replace(b"}", b', "note": null}')),
    ("a.parquet.gz", gzip.compress(parquet(["question", "answer"], ["Q"] * 3, ["R"] * 3))),
    ("a.arrow.gz", gzip.compress(arrow(question=["Q"] * 3, answer=["R"] * 3))),
    ("a.tsv.gz", gzip.compress(b"question\tanswer\nQ\tR\nQ\tR\nQ\tR\n"))],
    ids=lambda value: value if isinstance(value, str) else "")  # gzip's bytes hold the time: two workers would name this test differently
def test_what_only_looks_wrong_loads(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    table = sources.load_rows(tmp_path / file)
    assert [{name: row[name] for name in ("question", "answer")} for row in table.to_pylist()] == ROWS
    sources.check_layout(table)


SEEDS: dict[str, Callable[[], bytes]] = {
    "a.jsonl": lambda: b"".join(b'{"question": "Q%d", "answer": "a \\"b\\"", "n": [{"x": %d}]}\n' % (n, n) for n in range(20)),
    "a.json": lambda: json.dumps([{"question": f"Q {n}", "answer": "ü"} for n in range(20)], indent=1, ensure_ascii=False).encode(),
    "a.csv": lambda: b"question,answer,n\n" + b"".join(b'"Q, %d","a ""b""",%d\n' % (n, n) for n in range(20)),
    "a.tsv": lambda: b"question\tanswer\n" + b'Q "x"\tR\n' * 20, "bare": lambda: b"ham\tx\nspam\ty\nham\tz\n" * 5,
    "a.txt": lambda: b"<DOC>\n<DOCNO>1</DOCNO>\nhello\n</DOC>\n" * 5, "b.txt": lambda: b"one\n\ntwo\r\n\r\nthree\n" * 5,
    "a.jsonl.gz": lambda: gzip.compress(LINE * 50), "a.parquet": lambda: parquet(["question", "answer"], ["Q"] * 50, ["R"] * 50),
    "a.arrow": lambda: arrow(question=["Q"] * 50, answer=["R"] * 50)}
PIECES = (b'"', b"\n", b",", b"\t", b"[", b"{", b"}", b"null", b"1e999", b"\\", b"\xef\xbb\xbf", b"\r", b'""', b'{"a":1}', b"<DOC>",
          b"\0", b"\xff")


@pytest.mark.parametrize("name", SEEDS)
def test_whatever_is_damaged_it_loads_or_is_refused_in_a_sentence(tmp_path, name):
    rng, whole = random.Random(name), SEEDS[name]()
    refused = 0
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at, how = rng.randrange(len(content) + 1), rng.random()
            if how < 0.2:
                del content[at:]
            elif how < 0.4:
                del content[at:at + rng.randint(1, 30)]
            elif how < 0.6:
                content[at:at + 1] = bytes([rng.randrange(256)])
            else:
                content[at:at] = rng.choice(PIECES)
        (tmp_path / name).write_bytes(content)
        try:
            table = sources.load_rows(tmp_path / name)
            sources.content_hash(table)
        except DataError as error:
            refused += 1
            assert name in str(error) and error.remedy and len(str(error).splitlines()) == 1 and len(str(error)) < 500, str(error)
    assert refused >= 5


def test_quotes_in_a_table_parted_by_tabs_are_characters_where_they_do_not_pair(tmp_path):
    (tmp_path / "a.tsv").write_text('question\tanswer\n"Hello" she said\t5"\nPlain\tR\n')
    assert sources.load_rows(tmp_path / "a.tsv").to_pylist() == [{"question": '"Hello" she said', "answer": '5"'},
                                                                 {"question": "Plain", "answer": "R"}]


def test_a_column_that_no_layout_needs_may_be_empty_and_a_value_may_be_long(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "a", "system": null, "label": null}\n' * 2)
    assert sources.load_rows(tmp_path / "a.jsonl").num_rows == 2
    (tmp_path / "b.csv").write_bytes(b'id,text\n1,"' + b"word " * 1_000_000 + b'"\n2,x\n')  # over pyarrow's own block
    assert sources.load_rows(tmp_path / "b.csv").column("text").to_pylist() == ["word " * 1_000_000, "x"]
    assert tables.LONGEST_VALUE_BYTES > 5_000_000


def test_columns_of_any_type_lie_beside_the_text():
    import datetime
    import decimal

    import pandas as pd
    import pyarrow as pa

    beside = [pa.array([None, decimal.Decimal("1.5")]), pa.array([None, 5], pa.duration("ns")), pa.array([None, "a"], pa.string_view()),
              pa.array([None, datetime.time(1)]), pa.array([None, b"\xff"]), pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
              pa.array([None, "a"]).dictionary_encode(), pa.nulls(2)]
    for column in beside:
        table = sources.load_rows(pa.table({"text": ["a", "b"], "more": column}))
        sources.check_layout(table)
        assert sources.content_hash(table) and layouts.layout_of(table).name == "plain text"
    periods = sources.load_rows(pd.DataFrame({"text": ["a"], "when": pd.period_range("2020", periods=1)}))
    sources.check_layout(periods)


@pytest.mark.parametrize(("value", "unit", "zone"), [(2**63 - 1, "us", None), (-2**62, "ms", None), (1, "us", "Nowhere/Atall")])
def test_times_that_nobody_can_read_are_said_when_they_are_loaded(value, unit, zone):
    import pyarrow as pa

    with pytest.raises(DataError, match="'when' of the Table holds times") as caught:
        sources.load_rows(pa.table({"text": ["a", "b"], "when": pa.array([None, value], pa.timestamp(unit, tz=zone))}))
    assert caught.value.remedy


def test_times_load():
    import pyarrow as pa

    moments = pa.array([None, 86_400_000], pa.int64())
    for when in (moments.cast(pa.timestamp("ns")), moments.cast(pa.timestamp("us", tz="UTC")), moments.cast(pa.date64()),
                 pa.nulls(2, pa.date32())):
        sources.check_layout(sources.load_rows(pa.table({"text": ["a", "b"], "when": when})))


def test_a_large_file_of_large_rows_is_no_bomb(tmp_path, monkeypatch):
    content = arrow(text=["abc" * 1000 + str(n) for n in range(1000)])
    (tmp_path / "a.arrow").write_bytes(content)
    (tmp_path / "a.parquet").write_bytes(parquet(["text"], [os.urandom(1500).hex() for _ in range(2000)]))
    monkeypatch.setattr(raw, "INFLATED_BYTES", len(content) // 2)
    monkeypatch.setattr(raw, "SUSPECT_BYTES", 1000)
    assert sources.load_rows(tmp_path / "a.arrow").num_rows == 1000 and sources.load_rows(tmp_path / "a.parquet").num_rows == 2000


def test_a_sentence_about_columns_names_a_few_of_them():
    with pytest.raises(DataError) as caught:
        layouts.detect([f"c{n}" for n in range(3000)])
    assert "'c11' and 2,988 more" in str(caught.value) and len(str(caught.value)) < 1500


def test_tables_in_memory_are_told_in_a_sentence_too():
    import datasets
    import pandas as pd
    import pyarrow as pa

    for source, word in ((pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns"), (pd.DataFrame({"a": [1, "x"]}), "mixes types"),
                         (datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS)), "train"), (pd.Series([1]), "Series"),
                         (datasets.Dataset.from_list(ROWS).to_iterable_dataset(), "streamed"), ([{"text": "\ud800"}], "surrogate"),
                         ([{1: "x"}], "not text"),
                         (pa.table({"text": pa.nulls(3)}), "empty (null)"), ([{"n": 2**70}], "64 bits")):
        with pytest.raises(DataError, match=word.replace("(", r"\(").replace(")", r"\)")) as caught:
            sources.load_rows(source)
        assert caught.value.remedy and len(str(caught.value).splitlines()) == 1
    table = sources.load_rows(pa.table({"text": ["a", "b"]}))
    assert table.to_pylist() == [{"text": "a"}, {"text": "b"}] and layouts.layout_of(table).name == "plain text"
