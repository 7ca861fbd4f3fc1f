"""Archives of documents: a row a member, and what archives do that mean harm or are no archives."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from workbench.data import layouts, sources
from workbench.errors import DataError

SPECIAL = {"folder": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}


def packed(path, members, mode="w:gz"):
    """A tar of (name, content or what else it is)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content not in SPECIAL:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = SPECIAL[content], "/etc/passwd"
                archive.addfile(info)
    return path


@pytest.mark.parametrize(("file", "mode"), [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.gz", "w:gz"), ("a.tar.gz", "w")])
def test_each_document_is_a_row_and_its_name_a_value(tmp_path, file, mode):
    members = [("docs", "folder"), ("docs/b.txt", "\ufeffZwei Zeilen,\nKöln\n".encode()), ("../../a.txt", b" one "), ("._b.txt", b"\xff"),
               ("/abs/c.TXT", b"three")]
    table = sources.load_rows(packed(tmp_path / file, members, mode))
    assert table.to_pylist() == [{"file": "docs/b.txt", "text": "Zwei Zeilen,\nKöln"}, {"file": "../../a.txt", "text": "one"},
                                 {"file": "/abs/c.TXT", "text": "three"}]
    assert layouts.layout_of(table).name == "plain text" and [path.name for path in tmp_path.iterdir()] == [file]


def test_of_web_pages_the_text_is_read(tmp_path):
    page = (b"<html><head><title>T</title><style>p {}</style></head>"
            b"<body><p>Bread &amp; pie<p>at <b>Orla</b>&#x2019;s<script>x()</script></body>")
    [row] = sources.load_rows(packed(tmp_path / "a.tar", [("a.htm", page)], "w")).to_pylist()
    assert row["text"] == "Bread & pie\nat Orla\u2019s"


BAD = {
    "a link": (lambda path: packed(path, [("a.txt", b"x"), ("b.txt", "link")]), ["'b.txt'", "link"]),
    "a hard link": (lambda path: packed(path, [("b.txt", "hard link")]), ["'b.txt'", "link"]),
    "a device": (lambda path: packed(path, [("b.txt", "device")]), ["'b.txt'", "device"]),
    "two kinds": (lambda path: packed(path, [("a.txt", b"x"), ("b.md", b"y")]), ["several kinds", ".md, .txt", "one kind"]),
    "rows": (lambda path: packed(path, [("a.jsonl", b"{}")]), ["archive", "'a.jsonl'", "Unpack"]),
    "pictures": (lambda path: packed(path, [("a.txt", b"x"), ("a.png", b"y")]), ["archive", "'a.png'", "documents are .txt"]),
    "no document": (lambda path: packed(path, [("a", "folder")]), ["archive", "no documents"]),
    "Latin-1": (lambda path: packed(path, [("a.txt", "x\nKöln".encode("latin-1"))]), ["'a.txt', line 2", "not UTF-8", "0xf6"]),
    "a document of 10 MB": (lambda path: packed(path, [("a.txt", b"a" * 10_000_000)]), ["'a.txt'", "10.0 MB"]),
    "no archive": (lambda path: path.write_bytes(b"one\n" * 400), ["1. document", "tar file"]),
    "no byte": (lambda path: path.write_bytes(b""), ["1. document", "tar file"]),
    "torn off": (lambda path: path.write_bytes(_torn(path)), ["document", "Fetch it again"]),
    "a bomb": (lambda path: packed(path, [(f"{n}.txt", bytes(8_000_000)) for n in range(10)]), ["MiB", "limit", "unpack"]),
    "a bomb behind a header": (lambda path: path.write_bytes(gzip.compress(_sized("a.png", 10**11) + bytes(80_000_000))), ["'a.png'"]),
    "a member that says it is larger than it is": (lambda path: path.write_bytes(_sized("a.txt", 5_000_000) + b"x" * 99), ["document"]),
}


def _torn(path):
    packed(path, [(f"{n}.txt", bytes(str(n), "utf-8") * 999) for n in range(300)])
    return path.read_bytes()[:-800]


def _sized(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()


@pytest.mark.parametrize("name", BAD)
def test_an_archive_that_is_none_of_documents_is_refused_in_a_sentence(tmp_path, name):
    make, words = BAD[name]
    make(tmp_path / "a.tar.gz")
    with pytest.raises(DataError) as caught:
        sources.load_rows(tmp_path / "a.tar.gz")
    text = str(caught.value)
    assert [word for word in words if word not in text] == [] and "a.tar.gz" in text, text
    assert caught.value.remedy.endswith(".") and len(text.splitlines()) == 1


def test_judgements_and_rankings_of_a_search_are_tables(tmp_path):
    (tmp_path / "q.txt").write_text("1 0 D-1 1\n\n1 0 D-2 0\n")
    (tmp_path / "r.txt").write_text("1 Q0 D-1 1 12.5 x\n1 Q0 D-2 2 -3e-1 x\n")
    (tmp_path / "t.txt").write_text("1 0 apples 1\n1 Q0 D-1 1 12.5 x\n")
    judged, found, text = (sources.load_rows(tmp_path / f"{letter}.txt") for letter in "qrt")
    assert judged.to_pylist() == [{"query_id": "1", "document_id": "D-1", "relevance": 1},
                                  {"query_id": "1", "document_id": "D-2", "relevance": 0}]
    assert found.to_pylist()[1] == {"query_id": "1", "document_id": "D-2", "rank": 2, "score": -0.3, "run": "x"}
    names = [layouts.layout_of(table).name for table in (judged, found, text)]
    assert names == ["relevance judgements", "ranking of documents", "plain text"]
    with pytest.raises(DataError, match="which a search is measured on"):
        sources.check_layout(judged)
