"""What a run kept at its evaluations is the table that its model gives, and needs no model."""

from __future__ import annotations

import numpy as np
import pytest

import workbench as wb
from tests.runs import tools
from workbench import town
from workbench.data import run_rows
from workbench.evaluation.kept_gaps import KeptGaps
from workbench.evaluation.rewards import reward_gaps

PAIRS = town.rows("preferences")[:40]


def run_of(folder, **fields):
    given = dict(model="town-small", data=PAIRS, objective="reward", method=wb.Full(), steps=4, batch_size=5, heldout=0.2,
                 evaluate_every=2, max_length=96, sample_prompts=0)
    return tools.here(wb.Recipe(**(given | fields)), folder)


def test_what_was_kept_is_what_the_model_says(tmp_path):
    run = run_of(tmp_path)
    kept = KeptGaps(run.folder)
    assert kept.steps == [2, 4]
    table, told = kept.table(), reward_gaps(run, run_rows.read(run.folder).heldout[""])
    assert list(table.columns) == list(told.columns) and table["prompt"].tolist() == told["prompt"].tolist()
    assert np.allclose(table["gap"], told["gap"], atol=1e-4)
    assert not np.allclose(kept.table(2)["gap"], table["gap"], atol=1e-4), "every step has gaps of its own"
    train = kept.table(part="train")
    assert len(train) == 10 and set(train["prompt"]) <= set(kept.lines("train")["prompt"]) and len(kept.lines("train")) == 32
    with pytest.raises(wb.DataError, match="at step 3"):
        kept.table(3)
    (run.folder / "arrays" / "gaps-000004.safetensors").unlink()
    assert KeptGaps(run).steps == [2]


def test_of_a_mixture_each_pair_is_of_its_source_and_criteria_mix_by_weights(tmp_path):
    first, other = ([row | {"better_ours": "chosen", "better_theirs": told} for row in rows]
                    for rows, told in ((PAIRS[:20], "chosen"), (PAIRS[20:], "rejected")))
    run = run_of(tmp_path, data=wb.Mixture({"one": first, "other": other}))
    kept = KeptGaps(run)
    train = kept.table(part="train")
    assert set(train["source"]) == {"one", "other"} and list(kept.rewards().heads) == ["ours", "theirs"]
    by_source = {"one": {row["prompt"] for row in first}, "other": {row["prompt"] for row in other}}
    assert all(prompt in by_source[source] for prompt, source in zip(train["prompt"], train["source"], strict=True))
    assert np.allclose(kept.table(weights={"ours": 1})["gap"], kept.table()["gap/ours"])


def test_a_run_that_kept_none_says_so(tmp_path):
    run = run_of(tmp_path, heldout=0, steps=1)
    assert KeptGaps(run).steps == []
    with pytest.raises(wb.DataError, match="kept no rewards"):
        KeptGaps(run).table()
