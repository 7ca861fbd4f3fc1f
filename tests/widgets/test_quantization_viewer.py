"""The quantization viewer without a browser: its numbers against numpy, its code run, its sentence, its faults, its widgets and threads."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.frame.test_panel import Reader
from widgets import QuantizationViewer
from widgets.quantization_viewer.state import Choice, State, compared
from widgets.quantization_viewer.tensor_tree import rows_of, shown
from widgets.quantization_viewer.words import row_outlier

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<img src=x onerror=alert(1)> $x$"
UP, DOWN = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"


def tensors(outlier: float = 0.0) -> dict[str, torch.Tensor]:
    """Two layers' matrices, a norm and an embedding; with an outlier in one row of the first matrix."""
    drawn = torch.Generator().manual_seed(4)
    found = {UP: torch.randn(48, 128, generator=drawn) * 0.02, DOWN: torch.randn(128, 64, generator=drawn) * 0.05,
             "model.embed_tokens.weight": torch.randn(40, 64, generator=drawn), "model.norm.weight": torch.ones(64)}
    if outlier:
        found[UP][17, 40] = outlier
    return found


def folder_of(path: Path, held: dict[str, torch.Tensor]) -> str:
    path.mkdir(parents=True, exist_ok=True)
    save_file(held, path / "model.safetensors")
    return str(path)


def trace(figure: dict, uid: str) -> dict:
    return next(trace for trace in figure["data"] if trace["uid"] == uid)


def decibels(of: np.ndarray, back: np.ndarray) -> float:
    return 10 * math.log10((of.astype(float) ** 2).sum() / ((back.astype(float) - of) ** 2).sum())


@pytest.fixture
def panel() -> QuantizationViewer:
    return QuantizationViewer(tensors(), state=State(layer=UP.removesuffix(".weight")))


# ---- what it shows, pure

def test_opening_it_needs_nothing_heavy_and_makes_no_widget() -> None:
    code = ("import sys, ipywidgets; from widgets import QuantizationViewer\n"
            "made = []; old = ipywidgets.Widget.__init__\n"
            "def noted(self, *a, **k): made.append(self); old(self, *a, **k)\n"
            "ipywidgets.Widget.__init__ = noted\n"
            "p = QuantizationViewer('town-small'); heavy = [m in sys.modules for m in ('torch', 'transformers', 'trl', 'datasets')]\n"
            "p.figure('narrow'); p.summary(); p.code(); p.state_json(); p.static_html()\n"
            "print(len(made), any(heavy), *(m in sys.modules for m in ('transformers', 'trl', 'datasets')))")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.split() == ["0", "False", "False", "False", "False"]


def test_bars_and_decibels_are_those_of_the_weights(panel: QuantizationViewer) -> None:
    panel.state.scheme, held = "vector-wise", tensors()[UP].numpy()
    largest = np.abs(held).max(1, keepdims=True)
    scale = 127 / largest
    back = np.round(scale * held) / scale
    bars, dots, words = (trace(panel.figure(), uid) for uid in ("weights", "sqnr-good", "sqnr-words"))
    assert sum(bars["y"]) == pytest.approx(100)
    counts, _ = np.histogram(held / largest, bins=len(bars["x"]), range=(-1, 1))
    # a weight whose share is on an edge may go to either side of it
    assert np.abs(np.asarray(bars["y"]) - 100 * counts / held.size).max() <= 100 * 2 / held.size
    assert dots["x"] == [pytest.approx(decibels(held, back), abs=1e-3)]
    assert panel.look().bits_per_weight == 8 + 32 / 128 and panel.look().exact
    assert panel.look().max_error == pytest.approx(np.abs(back - held).max(), rel=1e-4)
    names = panel.figure()["layout"]["yaxis3"]["ticktext"]
    assert [name for name in names if name.startswith("<b>")] == ["<b>int8 vector-wise</b>"] and len(words["x"]) == len(names)


def test_levels_stand_where_the_codes_do(panel: QuantizationViewer) -> None:
    lines = trace(panel.figure(), "levels")
    at = [x for x in lines["x"] if x is not None][::2]
    # QLoRA, appendix E, the ends and the middle of the table
    assert len(at) == 16 and at[0] == -1 and at[7] == 0 and at[-1] == 1 and at[1] == pytest.approx(-0.6961928)
    panel.state.scheme, panel.state.bits = "absmax", 3
    at = [x for x in trace(panel.figure(), "levels")["x"] if x is not None][::2]
    assert at == pytest.approx([-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1])
    panel.state.bits = 8
    title = panel.figure()["layout"]["annotations"][0]["text"]
    assert "255 absmax levels" in title
    panel.state.scheme = "bf16"
    assert not any(each["uid"] == "levels" for each in panel.figure()["data"]) and panel.summary().kind == "ok"


@pytest.mark.parametrize("width", ["wide", "medium", "narrow"])
@pytest.mark.parametrize("scheme", ["fp16", "zero-point", "block-wise", "NF4"])
def test_a_scheme_has_a_picture_at_every_width(panel: QuantizationViewer, scheme: str, width: str) -> None:
    panel.state.scheme = scheme
    figure = panel.figure(width)
    lines = [line for line in compared(panel.state.choice)]
    assert len(figure["layout"]["yaxis3"]["ticktext"]) == len(lines) >= 8
    assert len(trace(figure, "sqnr")["x"]) + len(trace(figure, "sqnr-good")["x"]) == len(lines)
    assert "NaN" not in json.dumps(figure, default=lambda values: values.tolist())


def test_schemes_beside_each_other_follow_bits_and_hold_the_chosen_one_once() -> None:
    for scheme in ("absmax", "NF4", "FP4 double", "bf16"):
        for bits in (3, 4, 8):
            lines = compared(Choice(scheme, bits, 64))
            assert [line.key for line in lines].count(Choice(scheme, bits, 64).key) == 1
            assert len({line.label for line in lines}) == len(lines)
    assert Choice("absmax", 8, 32).key == Choice("absmax", 8, 256).key != Choice("absmax", 4, 32).key
    assert Choice("NF4", 3, 32).key == Choice("NF4", 8, 32).key != Choice("NF4", 8, 64).key


def test_the_error_of_the_rival_is_drawn_behind(panel: QuantizationViewer) -> None:
    mine, other = trace(panel.figure(), "error"), trace(panel.figure(), "rival")
    assert max(mine["y"]) > max(other["y"]), "NF4 of normal weights errs less than FP4"
    assert panel.summary().text == (f"NF4 block 64 keeps layers.0.mlp.up_proj at {panel.look().sqnr_db:.1f} dB in 4.5 bits per weight, "
                                    f"{panel.look().sqnr_db - panel.look().rival_db:.1f} dB better than FP4 block 64.")


def test_one_rows_outlier_is_the_first_thing_said() -> None:
    panel = QuantizationViewer(tensors(outlier=2.0), state=State(layer=UP.removesuffix(".weight"), scheme="absmax"))
    held = tensors(outlier=2.0)[UP].numpy()
    largest = np.abs(held).max(1)
    ratio = largest.max() / np.median(largest)
    said = panel.summary()
    begins = f"One row of layers.0.mlp.up_proj holds a weight {ratio:.0f} times the rest: absmax spends {math.log2(ratio):.1f} of 8 bits"
    assert said.kind == "warn" and said.text.startswith(begins)
    assert panel.look().row == 17
    inside = [note["text"] for note in panel.figure()["layout"]["annotations"] if "of 255 levels" in note["text"]]
    steps = 127 / 2.0 * np.quantile(np.abs(held), .99)
    assert inside and int(inside[0].split()[0]) == pytest.approx(2 * steps + 1, abs=4)
    panel.state.scheme = "vector-wise"
    assert panel.summary().kind == "ok" and "absmax in 8 bits" in panel.summary().text
    assert row_outlier(np.array([1.0, 1.0, 40.0])) == (40.0, 2) and row_outlier(np.zeros(3)) == (1.0, 0)


def test_a_poor_scheme_is_a_warning_that_names_a_better_one(panel: QuantizationViewer) -> None:
    panel.state.scheme, panel.state.bits = "absmax", 2
    assert panel.summary().kind == "warn" and "keeps" in panel.summary().text.split(";")[1]


def test_the_code_gives_the_same_numbers(tmp_path: Path, panel: QuantizationViewer) -> None:
    for made in (panel, QuantizationViewer(folder_of(tmp_path / "m", tensors()))):
        for scheme, double in (("absmax", False), ("NF4", True), ("LLM.int8()", False)):
            made.state.scheme, made.state.double = scheme, double
            made.measure()
            names: dict = {"model": tensors(), "print": lambda *_: None}
            exec(made.code(), names)
            look = made.look()
            assert (names["found"].sqnr_db, names["found"].bits_per_weight) == (look.sqnr_db, look.bits_per_weight)
            assert names["errors"] == made.known.weights.errors[made.state.choice.key]


def test_state_survives_json_and_tensors_in_memory_are_asked_for(tmp_path: Path, panel: QuantizationViewer) -> None:
    with pytest.raises(ValueError, match="give them again"):
        QuantizationViewer.from_json(panel.state_json())
    again = QuantizationViewer.from_json(panel.state_json(), model=tensors())
    assert again.state == panel.state and again.summary() == panel.summary()
    named = QuantizationViewer(folder_of(tmp_path, tensors()), state=State(scheme="absmax", bits=5, threshold=3.5))
    assert QuantizationViewer.from_json(named.state_json()).summary() == named.summary()


def test_without_a_kernel_the_matrices_that_suffer_most_are_listed(panel: QuantizationViewer) -> None:
    assert panel.extra_html() == ""
    panel.measure()
    read = Reader(panel.static_html())
    found = {name: value for name, value in panel.known.weights.errors[panel.state.choice.key].items() if "norm" not in name}
    worst = min(found, key=found.__getitem__)
    assert "svg" in read.tags and "table" in read.tags and worst.removesuffix(".weight") in read.text and "model.norm" not in read.text


def test_names_of_tensors_stay_text() -> None:
    panel = QuantizationViewer({HOSTILE: torch.randn(16, 64), "b": torch.randn(16, 64)}, state=State(layer=HOSTILE)).measure()
    read = Reader(panel.static_html())
    assert read.tags.isdisjoint({"script", "img"}) and not read.handlers and HOSTILE in read.text
    shown_words = json.dumps([note["text"]
                              for note in panel.figure()["layout"]["annotations"]] + list(panel.figure()["layout"]["yaxis3"]["ticktext"]))
    assert "<img" not in shown_words and "$x$" not in shown_words
    exec(panel.code(), {"model": {HOSTILE: torch.randn(16, 64)}, "print": lambda *_: None})


# ---- a made failure

@pytest.mark.parametrize(("kind", "fails", "cure"), [("weight row", "absmax", "vector-wise"), ("token", "absmax", "vector-wise"),
                                                     ("feature", "vector-wise", "LLM.int8()")])
def test_three_failures_and_their_cures_are_seen(kind: str, fails: str, cure: str) -> None:
    panel = QuantizationViewer(tensors(), state=State(failure=kind))
    look, said, figure = panel.look(), panel.summary(), panel.figure()
    values = dict(look.schemes)
    assert values[cure] > values[fails] + 20 and said.kind == "warn"
    assert f"{values[fails]:.1f} dB" in said.text and f"{values[cure]:.1f} dB" in said.text and fails in said.text
    assert trace(figure, "schemes-bad")["x"] == [values[fails]] and trace(figure, "schemes-good")["x"] == [values[cure]]
    assert list(trace(figure, "outliers")["x"]) == [look.outlier] == [int(np.argmax(look.magnitudes))]
    names: dict = {"print": lambda *_: None}
    exec(panel.code(), names)
    assert {effect.scheme: effect.rest_sqnr_db for effect in names["effects"]} == values


def test_the_threshold_decides_whether_the_outlier_feature_is_kept() -> None:
    panel = QuantizationViewer(tensors(), state=State(failure="feature"))
    assert dict(panel.look().schemes)["LLM.int8()"] > 35
    panel.state.threshold = 1000.0
    assert dict(panel.look().schemes)["LLM.int8()"] == pytest.approx(dict(panel.look().schemes)["vector-wise"])


# ---- a whole model

@pytest.fixture(scope="module")
def town() -> QuantizationViewer:
    """The small town model, with perplexity and layers measured on a few texts."""
    import workbench as wb

    texts = ["Mira is a baker. Mira lives in Orla.", "Dear Tomas, the bells of Linmoor rang all day.", "The baker of Orla is Mira.",
             "Tomas has a dog."]
    panel = QuantizationViewer(wb.load("town-small"), texts=texts, state=State(scheme="absmax", bits=4, view="model"))
    assert panel.summary().kind == "idle" and "Measure perplexity" in panel.summary().text
    return panel.measure_perplexity().measure_sensitivity().calibrate()


def test_perplexity_and_size_of_each_scheme_are_the_engines(town: QuantizationViewer) -> None:
    from workbench.quantization.models import perplexity, quantize_model

    model, tokenizer = town.known.weights.source
    texts = town.known.unseen()
    assert texts == town.known.texts()[1::2] and not set(texts) & set(town.known.texts()[::2]), "calibration sees the others"
    look = town.look()
    assert look.base == perplexity(model, tokenizer, texts)
    line = next(line for line in look.lines if line.choice.scheme == "absmax")
    twin, sizes = quantize_model(model, "absmax", bits=4)
    assert line.perplexity == perplexity(twin, tokenizer, texts) and line.size == pytest.approx(sizes.bytes_after, rel=1e-6)
    dots = trace(town.figure(), "perplexity-good")
    assert dots["x"] == [line.perplexity] and len(trace(town.figure(), "perplexity")["x"]) == len(look.lines) - 1


def test_one_layer_at_a_time(town: QuantizationViewer) -> None:
    from workbench.quantization.models import perplexity, quantize_model

    model, tokenizer = town.known.weights.source
    found = dict(town.look().sensitivity)
    assert tuple(found) == town.known.layers and len(found) == 21
    worst = max(found, key=found.__getitem__)
    assert found[worst] == perplexity(quantize_model(model, "absmax", bits=4, layers=[worst])[0], tokenizer, town.known.unseen())
    assert worst in town.summary().text
    bars = trace(town.figure("medium"), "sensitivity")
    assert max(bars["x"]) == pytest.approx(100 * (found[worst] / town.look().base - 1)) and len(bars["x"]) == 21


def test_code_of_the_whole_model_gives_its_numbers(town: QuantizationViewer) -> None:
    names: dict = {"model": town.known.weights.source, "texts": town.known.texts(), "print": lambda *_: None}
    exec(town.code(), names)
    assert names["before"] == town.look().base and {row.layer: row.perplexity for row in names["rows"]} == dict(town.look().sensitivity)
    assert names["after"] == next(line.perplexity for line in town.look().lines if line.choice.scheme == "absmax")


def test_tied_tensors_are_one(town: QuantizationViewer) -> None:
    town.state.view = "tensor"
    try:
        names: dict = {"model": town.known.weights.source, "print": lambda *_: None}
        exec(town.code(), names)
        assert names["weights"].names == town.known.weights.names and "lm_head.weight" not in names["weights"].names
    finally:
        town.state.view = "model"


def test_llm_int8_of_one_tensor_is_said_to_be_vector_wise_after_calibration_too(town: QuantizationViewer) -> None:
    town.state.view, town.state.scheme = "tensor", "LLM.int8()"
    try:
        assert town.known.inputs is not None and "perplexity" in town.summary().text
        shown, same = town.look(), town.known.weights.exact(town.tensor, Choice("vector-wise", 8))
        assert (shown.sqnr_db, shown.max_error) == (same.sqnr_db, same.max_error)
        assert "every column in int8 vector-wise" in town.summary().text
    finally:
        town.state.view, town.state.scheme = "model", "absmax"
    alone = QuantizationViewer(tensors(outlier=2.0), state=State(layer=UP.removesuffix(".weight"), scheme="LLM.int8()"))
    assert alone.summary().text.startswith("One row of") and "every column in int8 vector-wise" in alone.summary().text
    alone.state.scheme = "vector-wise"
    assert "every column" not in alone.summary().text


def test_the_picked_tensor_is_told_with_the_models_perplexity(town: QuantizationViewer) -> None:
    town.state.view = "tensor"
    try:
        assert "the whole model:" in town.summary().text and "perplexity" in town.summary().text
        assert len(trace(town.figure(), "perplexity-good")["x"]) == 1
    finally:
        town.state.view = "model"


def test_activations_show_outliers_and_static_against_dynamic(town: QuantizationViewer) -> None:
    town.state.view, town.state.layer, town.state.bits = "activations", "model.layers.0.mlp.down_proj", 8
    try:
        look = town.look()
        names: dict = {"model": town.known.weights.source, "texts": town.known.texts(), "print": lambda *_: None}
        exec(town.code(), names)
        assert [(row.scheme, row.dynamic_db, row.static_db)
                for row in names["rows"]] == look.schemes and names["outliers"].tolist() == look.outliers.tolist()
        before = len(look.outliers)
        town.state.threshold = float(np.sort(look.maxima)[-5])
        after = town.look()
        assert len(after.outliers) == 4 != before and "4 of 192 input features" in town.summary().text
        assert len(trace(town.figure(), "outlier-marks")["x"]) == 4
        llm = dict(after.output)["LLM.int8()"]
        town.state.threshold = 1e6
        assert dict(town.look().output)["LLM.int8()"] == dict(town.look().output)["vector-wise"] < llm
        town.state.layer = "model.embed_tokens"
        assert town.look() is None and town.summary().kind == "idle"
    finally:
        town.state.view, town.state.layer, town.state.bits, town.state.threshold = "model", "", 4, 6.0


def test_activations_quantized_too_are_another_measurement(town: QuantizationViewer) -> None:
    town.state.activations = "dynamic"
    try:
        lines = {line.choice.label: line.perplexity for line in town.look().lines}
        assert lines["NF4 block 64"] is not None and lines["int4 absmax"] is None, "NF4 leaves activations as they are"
    finally:
        town.state.activations = "16-bit"


# ---- two runs

def run_of(folder: Path, method: object, losses: list[float], model: object = None, tokenizer: object = None,
           rows: list[dict] | None = None, objective: str = "pretraining") -> str:
    """A finished run's folder with held-out losses at every tenth step, and a result where a model is given."""
    import workbench as wb
    from tests.widgets.fakes import FakeRun, prepared
    from workbench.data import run_rows
    from workbench.data.sources import load_rows
    from workbench.journal import events as ev

    rows = load_rows(rows or [{"text": f"Mira has {count} loaves. Tomas has a dog."} for count in range(4)])
    made = FakeRun(folder, wb.Recipe(model="town-small", method=method, steps=10 * len(losses), objective=objective, max_length=64))
    made.write(ev.Started(pid=1), prepared(), *(ev.Evaluated(step=10 * k + 10, loss=loss) for k, loss in enumerate(losses)),
               ev.Ended(step=10 * len(losses), status="finished", reason="", result="result"))
    run_rows.RunRows({"": rows}, {"": rows}).write(folder)
    if model is not None:
        model.save_pretrained(folder / "result")
        tokenizer.save_pretrained(folder / "result")
    return str(folder)
