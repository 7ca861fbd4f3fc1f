"""Every method through the real worker: it trains, and its result opens to the very losses the worker measured; and stopped and resumed it
is the same run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import workbench as wb
from tests.models.test_methods import EVERY
from tests.runs import tools
from workbench.data import run_rows
from workbench.evaluation.row_losses import row_losses
from workbench.journal import commands as cmd
from workbench.models import classifier
from workbench.models.methods import Adapters, LoRA, PromptTuning, QLoRA
from workbench.runs.start import prepare

TRAINED = ("freeze", "bitfit", "dora", "pissa", "pattern", "nf4", "8 bits", "adapters", "prompt", "qat", "ia3", "prefix")


def recipe(method, **fields):
    given = dict(model="town-small", data=tools.rows(24), heldout=0.25, method=method, steps=4, batch_size=4, max_length=96, learning_rate=1e-2, evaluate_every=1,
                 checkpoint_every=4, sample_prompts=1, sample_tokens=4)
    return wb.Recipe(**(given | fields))


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("name", TRAINED)
def test_a_result_opens_to_the_loss_the_worker_measured(name, tmp_path):
    method = EVERY[name]
    run = wb.train(recipe(method), runs=tmp_path)
    assert run.history.prepared.trainable_parameters == wb.count_parameters("town-small", method)[0]
    model, tokenizer = run.load()
    if name == "qat":  # the result is the unrounded weights
        model = method.apply(model)
    rows = [row for table in run_rows.read(run.folder).heldout.values() for row in table.to_pylist()]
    table = row_losses((model, tokenizer), rows, max_length=96)
    measured = (table["loss"] * table["tokens"]).sum() / table["tokens"].sum()
    assert run.history.evaluations[-1].step == 4 and measured == pytest.approx(run.history.evaluations[-1].loss, rel=1e-5 if name != "8 bits" else 2e-2)
    assert run.history.evaluations[-1].loss < run.history.evaluations[0].loss, "it learns"


@pytest.mark.parametrize("name", ["bitfit", "pissa", "nf4", "adapters", "prefix"])
def test_a_classifier_opens_to_the_loss_that_was_measured(name, tmp_path):
    rows = [{"text": f"win prize {number} now" if number % 2 else f"dear friend, I walk at {number}", "label": ("ham", "spam")[number % 2]} for number in range(32)]
    run = tools.here(recipe(EVERY[name], objective="classification", data=rows), tmp_path)
    model, tokenizer = run.load()
    held = [row for table in run_rows.read(run.folder).heldout.values() for row in table.to_pylist()]
    labels = classifier.labels_of(model.config)
    scores = classifier.score(classifier.logits(model, tokenizer, [row["text"] for row in held], 96), np.array([labels.index(row["label"]) for row in held]))
    assert labels == ["ham", "spam"] and scores.loss == pytest.approx(run.history.evaluations[-1].loss, rel=1e-5)


@pytest.mark.parametrize("method", [Adapters(size=4), PromptTuning(tokens=3), QLoRA(rank=2, dropout=0.1), LoRA(rank=2, variant="pissa")], ids=lambda m: m.name)
def test_stopped_and_resumed_it_is_the_uninterrupted_run(method, tmp_path):
    from safetensors.torch import load_file

    asked = recipe(method, steps=6, checkpoint_every=2, evaluate_every=3)
    whole = tools.here(asked, tmp_path, "whole")
    folder = prepare(asked, tmp_path, "parts")
    cmd.send(folder, cmd.Stop(at_step=4))
    assert tools.train_here(folder) == "stopped"
    (folder / "worker.json").write_text(json.dumps({"pid": 0, "created": 0.0, "asked": 4e9}))  # what a resume notes: older commands are done with
    assert tools.train_here(folder) == "finished"
    resumed = wb.attach(folder)
    assert tools.losses(resumed) == tools.losses(whole) and resumed.history.resumptions == [4]
    assert [e.loss for e in resumed.history.evaluations] == [e.loss for e in whole.history.evaluations]
    ours, theirs = (load_file(run.folder / "result" / "adapter_model.safetensors") for run in (resumed, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
