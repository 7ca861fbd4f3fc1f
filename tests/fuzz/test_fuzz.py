"""Every property of every parser on a few examples, the same each time; for minutes, with fresh ones: `python -m tests.fuzz`."""

from __future__ import annotations

import pytest

from tests.fuzz import __main__ as fuzz

ALL = {f"{parser}-{found.__name__}": found for parser in fuzz.PARSERS for found in fuzz.properties(parser)}


@pytest.mark.parametrize("name", ALL)
def test_holds(name, tmp_path):
    ALL[name](tmp_path)
