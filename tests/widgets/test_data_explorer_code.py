"""The data explorer's code and state: without the panel they give the same rows, in the same order."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

import workbench as wb
from tests.widgets.test_data_explorer import planted
from widgets import DataExplorer
from widgets.data_explorer.state import Where
from workbench.errors import DataError


@pytest.fixture(scope="module")
def given() -> tuple[list[dict], list[dict]]:
    return planted()


@pytest.fixture
def explorer(given) -> DataExplorer:
    return DataExplorer(given[0], test=given[1]).look()


def decided(explorer: DataExplorer, chance: random.Random) -> None:
    """A few random choices and decisions."""
    for _ in range(chance.randint(1, 4)):
        explorer.state.where = Where(
            query=chance.choice(["", "", "orla", 'the "baker of"', "nothing such"]),
            show=chance.choice(["all", "all", "copies", "leaks", "private", "kept"]), threshold=chance.choice([0.6, 0.8]),
            ranges=chance.choice([{}, {"words": [10.0, 20.0]}, {"letter_share": [None, 0.9]}, {"likeness": [0.6, None]}]))
        if chance.random() < 0.5 and len(explorer.shown) < 150:
            explorer.drop()
        elif 20 < len(explorer.shown):
            explorer.actions.keep_only()
        explorer.drop(chance.sample(range(200), 2))
        explorer.actions.mark("keep", tuple(chance.sample(range(200), 3)))
        explorer.actions.mark("flag", tuple(chance.sample(range(200), 2)))
    explorer.state.sort = chance.choice(["row", "text", "words", "group", "mark", "likeness", "loss", "letter_share"])
    explorer.state.descending = chance.random() < 0.5


@pytest.mark.parametrize("seed", range(24))
def test_the_code_gives_the_same_rows_without_the_panel(explorer: DataExplorer, given, seed: int) -> None:
    decided(explorer, random.Random(seed))
    names: dict = {"rows": explorer.table, "test": given[1]}
    exec(explorer.code(), names)
    assert names["kept"].equals(explorer.kept) and 0 < explorer.kept.num_rows < 200
    assert names.get("flagged", []) == explorer.flagged
    if not explorer.state.where.everything:
        assert names["shown"].tolist() == explorer.shown


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", ["row", "text", "words", "group", "mark", "likeness", "loss"])
def test_the_code_shows_the_rows_in_the_order_of_the_table(explorer: DataExplorer, given, sort: str, descending: bool) -> None:
    explorer.drop([3, 17, 44])
    explorer.actions.mark("flag", (5, 44, 150))
    explorer.state.sort, explorer.state.descending = sort, descending
    for where in (Where(), Where(query="orla"), Where(show="copies", threshold=0.6)):
        explorer.state.where = where
        names: dict = {"rows": explorer.table, "test": given[1]}
        exec(explorer.code(), names)
        assert names.get("shown", np.arange(200)).tolist() == explorer.shown


def test_the_code_names_files_and_trains_on_what_it_keeps(tmp_path, given) -> None:
    paths = []
    for name, rows in zip(("rows", "test"), given, strict=True):
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    explorer = DataExplorer(str(paths[0]), test=paths[1])
    explorer.state.where = Where(show="leaks")
    explorer.drop()
    names: dict = {}
    exec(explorer.code(), names)
    assert names["kept"].equals(explorer.kept) and wb.load_rows(wb.Recipe(data=names["kept"]).data).num_rows == 199
    again = DataExplorer.from_json(explorer.state_json())
    assert again.state == explorer.state and again.kept.equals(explorer.kept)


def test_the_state_of_given_rows_asks_for_them_again(explorer: DataExplorer, given) -> None:
    decided(explorer, random.Random(1))
    text = explorer.state_json()
    with pytest.raises(DataError, match="Give them again"):
        DataExplorer.from_json(text)
    again = DataExplorer.from_json(text, rows=given[0], test=given[1])
    assert again.state == explorer.state and again.shown == explorer.shown and again.kept.equals(explorer.kept)
