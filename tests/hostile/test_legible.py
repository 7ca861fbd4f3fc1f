"""What others wrote as letters that can be seen: each string of the corpus by itself, against what a terminal, a page and a parser make of it."""

from __future__ import annotations

import argparse
import json
import pickle
import unicodedata
from pathlib import Path

import pytest

import workbench as wb
from tests.hostile.panels import _run
from tests.hostile.strings import HALF, STRINGS, WORD, file_name
from tests.widgets.fakes import prepared
from widgets.frame.inputs import caption
from widgets.frame.literals import argument
from widgets.frame.markup import escape
from widgets.frame.panel import _filled
from widgets.frame.sheet import plain
from widgets.run_monitor.reading import State
from workbench.__main__ import runs
from workbench.errors import DataError, WorkbenchError
from workbench.journal import events as ev
from workbench.legible import FIRST_STRONG, POP, letters, words

ALL = {**STRINGS, "half": HALF, "long": WORD}


def order_marks(text: str) -> list[str]:
    return [unicodedata.bidirectional(letter) for letter in text if unicodedata.bidirectional(letter) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")]


@pytest.mark.parametrize("name", sorted(ALL))
def test_nothing_acts_and_nothing_is_endless(name: str) -> None:
    said = words(ALL[name])
    assert all(unicodedata.category(letter) not in ("Cc", "Cs") or letter in "\t\n" for letter in said)
    assert order_marks(said) == ["FSI", "PDI"] * said.count(FIRST_STRONG), "each run from right to left is closed again"
    assert words(said) == letters(said) == said and max(map(len, said.split()), default=0) <= 241
    said.encode("utf-8")
    for shown in (escape(ALL[name]), plain(ALL[name])):
        assert "<" not in shown and ">" not in shown and '"' not in escape(ALL[name]) and len(shown) < 130_000


def test_what_is_harmless_stays_as_it_is() -> None:
    for text in ("Mira bakes bread, 3 < 4 & 5.", "Grüße aus Köln – 学校 \U0001f469\u200d\U0001f467", "two\nlines\tand a tab"):
        assert words(text) == letters(text) == text
    hebrew = STRINGS["hebrew"]
    assert letters(hebrew) == hebrew and words(f"In {hebrew}: 12 rows") == f"In {FIRST_STRONG}{hebrew}{POP}: 12 rows"


def test_no_label_is_taken_for_a_formula() -> None:
    said = caption("Weight of $x^2$ and \\(y\\) \\begin{align}z\\end{align}")
    assert "$" not in said and "x^2" in said and not any(sign in said for sign in ("\\(", "\\[", "\\begin"))
    assert caption("Price in $") == "Price in $" and caption(f" {WORD}\n2 ")[-1] == "…"


def test_an_error_shows_the_value_and_no_more() -> None:
    error = DataError(f"The row {STRINGS['ansi']} {WORD} is no row.", f"Mend {STRINGS['override']}.")
    assert len(str(error)) < 700 and "\x1b" not in str(error) and "␛[31mred" in str(error) and "⟨RLO⟩" in error.remedy
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert WorkbenchError("It is so.", "Mend it.")._render_traceback_() == ["WorkbenchError: It is so. Mend it."]


@pytest.mark.parametrize("name", sorted(STRINGS))
def test_an_argument_in_code_is_a_literal(name: str) -> None:
    given = eval(f"dict({argument(STRINGS[name], STRINGS[name])})", {"dict": dict})  # noqa: S307
    assert given == {STRINGS[name]: STRINGS[name]} and "\n" not in argument(STRINGS[name], STRINGS[name])


def test_a_state_of_anothers_holds_what_its_fields_hold() -> None:
    assert _filled(State, {"smoothing": 7, "runs": "r"}) == State(smoothing=7, runs="r")
    for wrong in ({"smoothing": "0); hostile_ran() #"}, {"runs": 3}, {"overlays": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            _filled(State, wrong)


def test_a_run_whose_name_is_no_text_hides_no_other_run(tmp_path: Path) -> None:
    """Names of files are bytes; a table and a journal hold characters."""
    made = wb.Recipe(steps=3, model="town-small", data="town:facts")
    for name in (file_name(HALF), "whole"):
        _run(tmp_path / name, made, ev.Started(pid=2**30), prepared(3), ev.Ended(step=0, status="failed", reason=f"No file {HALF}."))
    listed = wb.list_runs(tmp_path)
    assert sorted(listed["name"]) == ["half  character \ufffd", "whole"]
    assert json.loads(ev.encode(ev.Ended(step=0, status="failed", reason=HALF)))["reason"] == "half \ufffd character \ufffd"
    assert "No file half \ufffd character \ufffd." in wb.attach(tmp_path / "whole").status.sentence


def test_a_terminal_gets_no_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """What a run says of itself in a terminal: the list of runs, a status."""
    made = wb.Recipe(steps=3, model="town-small", data="town:facts")
    ansi = STRINGS["ansi"]
    run = _run(tmp_path / file_name(ansi), made, ev.Started(pid=2**30), prepared(3), ev.Ended(step=0, status="failed", reason=ansi, remedy=ansi), note=ansi, log=ansi)
    runs(argparse.Namespace(runs=tmp_path))
    status = wb.attach(run).status
    print(status.__repr__(), status.sentence, status.remedy, status.log_tail)
    printed = capsys.readouterr().out
    assert "␛[31mred" in printed and not {"\x1b", "\x07", "\x9b"} & set(printed)


def test_a_source_is_named_by_whole_characters() -> None:
    with pytest.raises(DataError, match="half a character"):
        wb.Mixture({HALF: [{"text": "a"}]})
