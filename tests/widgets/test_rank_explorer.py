"""The rank explorer without a browser: its spectra against a full SVD, its counts against the model's, its code run, its sentence, refusals, widgets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.frame.test_panel import Reader, descendants
from widgets import RankExplorer
from widgets.rank_explorer import figure as drawing
from widgets.rank_explorer import reading, words
from widgets.rank_explorer.figure import Look, Point
from widgets.rank_explorer.spectra import Matrix, Spectra
from widgets.rank_explorer.state import State
from widgets.rank_explorer.sweeping import points_of, values_of
from workbench.errors import WorkbenchError
from workbench.runs.sweep import interval

ROOT = Path(__file__).resolve().parents[2]
SMALL = ROOT / "workbench" / "town" / "base" / "small"
HOSTILE = "<img src=x onerror=alert(1)> $x$"
SHAPES = {"self_attn.q_proj": (80, 80), "self_attn.k_proj": (80, 80), "mlp.up_proj": (192, 80), "mlp.down_proj": (80, 192)}
"""(d_out, d_in) of some matrices of the small town model, whose width is 80 and whose feed-forward is 192 wide."""
FALLING = (8.0, 4.0, 2.0, 1.0)
"""Singular values whose squares are 64, 16, 4 and 1 of 85: one direction holds 75 %, two 94 %, three 98.8 %."""


def adapter(folder: Path, spectra: dict[str, tuple[float, ...]] | None = None, seed: int = 0, **config) -> Path:
    """A peft folder whose updates have exactly these singular values, for layers 0 and 1 of every matrix of `SHAPES` unless told otherwise."""
    import torch
    from safetensors.torch import save_file

    spectra = spectra or {f"model.layers.{layer}.{module}": FALLING for layer in (0, 1) for module in SHAPES}
    draw, tensors = np.random.default_rng(seed), {}
    rank = max(len(values) for values in spectra.values())
    for name, values in spectra.items():
        d_out, d_in = SHAPES.get(".".join(name.split(".")[-2:]), (80, 80))
        left, right = (np.linalg.qr(draw.normal(size=(width, len(values))))[0] for width in (d_out, d_in))
        scale = 2 * rank / len(values) if "alpha_pattern" in config else 2  # alpha / r
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.tensor(right.T.copy(), dtype=torch.float32)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.tensor(left * np.array(values) / scale, dtype=torch.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    body = dict(peft_type="LORA", r=rank, lora_alpha=2 * rank, base_model_name_or_path="town-small", task_type="CAUSAL_LM",
                target_modules=sorted({name.rsplit(".", 1)[-1] for name in spectra}))
    (folder / "adapter_config.json").write_text(json.dumps(body | config))
    return folder


def trace(figure: dict, uid: str) -> dict:
    return next(trace for trace in figure["data"] if trace.get("uid") == uid)


@pytest.fixture
def explorer(tmp_path: Path) -> RankExplorer:
    return RankExplorer(adapter(tmp_path / "adapter")).look()


def test_nothing_heavy_is_needed_to_open_it_and_no_widget_is_made() -> None:
    code = ("import sys, ipywidgets; from widgets import RankExplorer\n"
            "made = []; old = ipywidgets.Widget.__init__\n"
            "def noted(self, *a, **k): made.append(self); old(self, *a, **k)\n"
            "ipywidgets.Widget.__init__ = noted\n"
            "p = RankExplorer(); p.figure('narrow'); p.summary(); p.code(); p.state_json(); p.static_html()\n"
            "print(len(made), *(m in sys.modules for m in ('torch', 'transformers', 'peft', 'datasets')))")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.split() == ["0", "False", "False", "False", "False"]


def test_what_is_drawn_is_the_svd_of_the_whole_update(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    folder = adapter(tmp_path / "adapter", {"model.layers.0.self_attn.q_proj": FALLING, "model.layers.1.self_attn.q_proj": (3.0, 2.0, 1.0, 0.5)})
    panel = RankExplorer(folder, state=State(picked="model.layers.1.self_attn.q_proj", rank=2))
    tensors = load_file(folder / "adapter_model.safetensors")
    b, a = (tensors[f"base_model.model.model.layers.1.self_attn.q_proj.lora_{part}.weight"].astype(float) for part in "BA")
    full = np.linalg.svd(2 * b @ a, compute_uv=False)  # alpha / r = 8 / 4
    figure = panel.figure()
    assert list(trace(figure, "picked")["y"]) == pytest.approx(full[:4], rel=1e-5)
    energy = np.cumsum(full ** 2) / np.sum(full ** 2)
    assert list(trace(figure, "energy")["y"]) == pytest.approx(100 * energy[:4])
    assert trace(figure, "kept")["y"] == pytest.approx([100 * energy[1]])
    assert trace(figure, "map")["z"] == [[2.0, float(np.argmax(energy >= .9) + 1)]]
    panel.state.map = "kept"
    assert trace(panel.figure(), "map")["z"][0] == pytest.approx([100 * 80 / 85, 100 * energy[1]])
    panel.state.map = "norm"
    assert trace(panel.figure(), "map")["z"][0] == pytest.approx([85 ** .5, np.sqrt((full ** 2).sum())], rel=1e-5)
    panel.state.map = "r99"
    assert trace(panel.figure(), "map")["z"][0][0] == 4
    picture = panel.static_html()
    assert picture.count("<rect") > 2 and ">4</text>" in picture and panel.summary().text in picture, "the map is there without a kernel"


@pytest.mark.parametrize("settings", [dict(), dict(targets=("q_proj", "down_proj"), rank=3), dict(variant="dora", rank=2), dict(variant="pissa"),
                                      dict(variant="rslora", alpha=4.0, rank=16), dict(spread="suggested", rank=2)])
def test_parameters_shown_are_those_of_the_model(tmp_path: Path, settings: dict) -> None:
    import workbench as wb

    panel = RankExplorer(adapter(tmp_path / "adapter"), state=State(**{"rank": 5} | settings)).look()
    trained, total = wb.count_parameters("town-small", panel.method)
    assert panel._view().trainable == words.amount(trained)
    base_alone = wb.count_parameters("town-small", wb.Full())[1]
    assert panel.planning.total == base_alone < total
    assert panel.planning.memory_of(panel.state) == wb.plan_memory("town-small", panel.method, sequence_length=512, batch_size=8).total


def test_the_code_gives_the_same(tmp_path: Path) -> None:
    source, other = adapter(tmp_path / "adapter"), adapter(tmp_path / "other", seed=1)
    for settings in (dict(), dict(rank=3, alpha=5.0, targets=("q_proj",), variant="dora"), dict(rank=2, spread="suggested"),
                     dict(rank=2, spread="suggested", targets=("q_proj", "up_proj"))):
        panel = RankExplorer(source, other=other, state=State(**settings)).look()
        names: dict = {}
        exec(panel.code(), names)
        pd.testing.assert_frame_equal(names["spectrum"], panel.opened.frame)
        assert names["method"] == panel.method and names["trainable"] > 0
        picked = panel.picked
        assert names["phi"] == pytest.approx(panel.phis[picked.layer, picked.module])
        needs = {(row.layer, row.module): (row.r90, row.r99) for row in names["ranks"].itertuples()}
        assert needs == {(m.layer, m.module): (m.needs(.9), m.needs(.99)) for m in panel.opened.spectra.matrices}


def test_state_survives_json(tmp_path: Path) -> None:
    state = State(rank=2, alpha=3.0, targets=("q_proj",), map="norm", cuts={"2": 0.5, "4": 0.25}, ranks=(1, 2), spread="suggested")
    panel = RankExplorer(adapter(tmp_path / "adapter"), state=state, other=adapter(tmp_path / "b", seed=2)).look()
    again = RankExplorer.from_json(panel.state_json()).look()
    assert again.state == panel.state and again.summary() == panel.summary() and again.static_html() == panel.static_html()


def test_a_suggestion_takes_no_more_and_keeps_more(tmp_path: Path) -> None:
    from workbench.adapters.pattern import energy_kept, pattern_parameters

    spectra = {f"model.layers.{layer}.self_attn.{m}_proj": (9.0, 8.0, 7.0, 6.0) if m == "q" else (5.0, .1, .1, .1) for layer in (0, 1) for m in "qk"}
    panel = RankExplorer(adapter(tmp_path / "adapter", spectra), state=State(rank=2)).look()
    pattern, frame = panel.pattern, panel.opened.frame
    # 4 matrices of 80 x 80 with 2 directions each are 8 directions of 160 parameters; the eight best are all of q, and the one that k must have
    assert pattern == {"layers.0.self_attn.q_proj": 3, "layers.0.self_attn.k_proj": 1, "layers.1.self_attn.q_proj": 3, "layers.1.self_attn.k_proj": 1}
    assert pattern_parameters(pattern, frame) == pattern_parameters(2, frame) == panel.planning.budget(panel.opened, panel.state)
    assert energy_kept(frame, pattern) > energy_kept(frame, 2)
    assert words.pattern_rows(pattern, panel.opened.spectra) == [("q", "3"), ("k", "1")]
    assert panel.method.rank_pattern == {}
    panel.state.spread = "suggested"
    assert panel.method.rank_pattern == pattern and "rank_pattern=pattern" in panel.code()


def test_what_is_not_read_yet_is_not_called_missing(tmp_path: Path) -> None:
    """A page shows the spectrum as soon as it is read, which is before the base is known."""
    panel = RankExplorer(adapter(tmp_path / "adapter"), state=State(rank=2))
    panel.opened = reading.read(panel.state.source)
    assert panel.planning.pattern_words(panel.state) == "The base is read in the background."
    panel.look()  # matrices of one spectrum of four directions, so none deserves more than another
    for panel.state.rank, words_of_it in ((2, "The suggestion is the same rank everywhere."), (4, "Every known direction fits; at a lower rank it")):
        panel.planning.plan(panel.opened, panel.state)
        assert panel.planning.pattern_words(panel.state).startswith(words_of_it)


# ---- the sentence

def look_of(*spectra: tuple[float, ...], rank: int = 4, kind: str = "adapter", **more) -> Look:
    matrices = [Matrix(f"model.layers.0.{k}", 0, f"{name}_proj", np.array(values)) for k, (name, values) in enumerate(zip("qkvo", spectra, strict=False))]
    found = Spectra(matrices, kind)
    return Look(found, found.hungriest(), rank=rank, **more)


def said(look: Look, **more) -> tuple[str, str]:
    sentence = words.summary(look, State(), **more)
    return sentence.kind, sentence.text


def test_it_says_how_many_directions_are_used() -> None:
    assert said(look_of(FALLING, FALLING)) == ("ok", "90 % of every update lies in 2 of 4 directions: rank 2 would hold it.")
    kind, text = said(look_of((4.0, .1, .1, .1), FALLING))
    assert (kind, text) == ("ok", "90 % of every update lies in at most 2 of 4 directions: rank 2 would hold it.")
    # 1 of (1 + .03): 97 %; 64 of 85: 75 %
    assert said(look_of((4.0, .1, .1, .1), FALLING, rank=1))[1] == "Rank 1 keeps 75 % of layer 0 k; it needs 2 for 90 %, while q needs about 1."


def test_it_warns_where_the_rank_cut_the_update_short() -> None:
    kind, text = said(look_of((2.0, 1.9, 1.8, 1.7), (2.0, 1.9, 1.8, 1.7), FALLING))
    assert kind == "warn" and text.startswith("Rank 4 is too small to tell: in 2 of 3 matrices the last direction is used nearly as much")
    kind, text = said(look_of((3.0,), rank=1))
    assert kind == "warn" and text.startswith("Rank 1 holds one direction, so this spectrum cannot say whether more were wanted")
    assert said(look_of((0.0, 0.0))) == ("warn", "Nothing was changed: ΔW of all 1 matrices is zero.")
    kind, text = said(look_of((1.0, 1.0), (5.0, .1), kind="difference"))
    assert kind == "ok" and "90 % of every update lies in at most 2 of the 2 largest directions" in text


def test_it_says_what_training_and_cutting_found() -> None:
    points = [Point(1, .50, .47, .53, 3, apart=(.095, .08, .11)), Point(2, .41, .40, .42, 3, apart=(.005, -.005, .015)), Point(4, .405, .39, .42, 3)]
    assert said(look_of(FALLING, points=points))[1].endswith(
        "Trained, rank 2 is within error of 4 (0.410 and 0.405; seed by seed \N{MINUS SIGN}0.005 to +0.015).")
    assert said(look_of(FALLING, points=points[:2]))[1].endswith("Trained, rank 2 is the best (0.410).")
    going = [*points[:2], Point(4, None, now=.6, status="running"), Point(8, None, status="queued")]
    assert said(look_of(FALLING, points=going))[1].endswith("Trained, rank 2 is the best so far (0.410).")
    kind, text = said(look_of(FALLING, points=[*points[:2], Point(4, None, status="failed")]))
    assert kind == "warn" and "No run of rank 4 ended well" in text
    for apart, told in (((.03, .02, .04), "worse than"), ((-.01, -.02, .0), "not told from"), ((-.02, -.03, -.01), "better than")):
        suggested = Point(2, .41 + apart[0], .3, .5, 3, suggested=True, apart=apart)
        assert f"Trained, the suggested ranks are {told} rank 2 everywhere" in said(look_of(FALLING, points=[*points, suggested]))[1]
    alone = [Point(2, .50, seeds=1), Point(4, .40, seeds=1), Point(8, .401, seeds=1)]  # one seed has no interval
    assert said(look_of(FALLING, points=alone))[1].endswith("Trained, rank 4 is the best (0.400).")
    assert said(look_of(FALLING, rank=2, cuts=[(1, .7), (2, .45)], whole=.4))[1].endswith("Cut to rank 2, its held-out loss is 0.450 against 0.400 as trained.")


def test_it_warns_of_dora_of_missing_rows_and_of_a_missing_base(tmp_path: Path) -> None:
    panel = RankExplorer(adapter(tmp_path / "dora", use_dora=True, base_model_name_or_path="no/such-base"))
    kind, text = panel.summary().kind, panel.summary().text
    assert panel.state.variant == "dora" and kind == "warn"
    assert "There are no held-out rows, so no cut can be scored." in text and "no/such-base" in text
    assert "90 % of every update lies in 2 of 4 directions" in text, "what is there is shown all the same"
    assert panel._view().trainable != "–" and panel._view().memory == ("–", "")


# ---- what cannot be

def test_folders_that_hold_no_adapter_are_said_in_one_sentence(tmp_path: Path) -> None:
    empty, pickled = tmp_path / "empty", tmp_path / "pickled"
    empty.mkdir()
    pickled.mkdir()
    (pickled / "adapter_config.json").write_text("{}")
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x04.")
    for folder, expected in ((empty, "adapter_model.safetensors"), (pickled, "could run code when it is opened"), (tmp_path / "nowhere", "There is no")):
        panel = RankExplorer(folder)
        assert panel.summary().kind == "warn" and expected in panel.summary().text
        assert panel.figure()["data"] == [] and "wb-static" in panel.static_html()
        with pytest.raises(WorkbenchError, match="safetensors|There is no"):
            RankExplorer(folder).look()


def test_another_adapter_must_have_matrices_in_common(tmp_path: Path) -> None:
    alone = adapter(tmp_path / "alone", {"model.layers.0.self_attn.o_proj": FALLING})
    panel = RankExplorer(adapter(tmp_path / "adapter"), other=alone)
    assert "update no matrix in common" in panel.summary().text and panel.summary().kind == "warn" and not panel.phis


def test_two_adapters_share_what_their_subspaces_share(tmp_path: Path) -> None:
    one = RankExplorer(adapter(tmp_path / "a"), other=adapter(tmp_path / "same")).look()
    figure = one.figure()
    assert np.array(trace(figure, "phi-map")["z"]) == pytest.approx(1.0), "the same factors span the same"
    assert np.diag(trace(figure, "phi")["z"]) == pytest.approx(1.0)
    different = RankExplorer(adapter(tmp_path / "b"), other=adapter(tmp_path / "c", seed=9)).look()
    shared = np.array(trace(different.figure("medium"), "phi-map")["z"])
    assert shared.mean() == pytest.approx(.5 * (4 / 80 + 4 / 80 + 4 / 80 + 4 / 192) / 2, abs=.04), "by chance max(i, j) / d"


def test_a_tuned_model_is_compared_with_its_base(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tuned = tmp_path / "tuned"
    shutil.copytree(SMALL, tuned)
    weights = {name: tensor.float() for name, tensor in load_file(SMALL / "model.safetensors").items()}
    left, right = (np.linalg.qr(np.random.default_rng(k).normal(size=(80, 2)))[0] for k in (1, 2))
    name = "model.layers.1.self_attn.q_proj.weight"
    weights[name] += weights[name].new_tensor(left @ np.diag([3.0, 1.0]) @ right.T)
    save_file(weights, tuned / "model.safetensors", {"format": "pt"})
    panel = RankExplorer(tuned=tuned, base="town-small").look()
    assert panel.opened.spectra.kind == "difference" and panel.picked.name == name.removesuffix(".weight")
    assert panel.picked.values[:3] == pytest.approx([3, 1, 0], abs=1e-4) and panel.picked.needs(.9) == 1
    assert not panel._view().can_truncate and "held-out rows" not in panel.summary().text
    names: dict = {}
    exec(panel.code(), names)
    pd.testing.assert_frame_equal(names["spectrum"], panel.opened.frame)
    assert "whole model" in RankExplorer(tuned=tuned).summary().text


def test_names_stay_text(tmp_path: Path) -> None:
    panel = RankExplorer(adapter(tmp_path / "<img src=x> $x$", {f"model.layers.0.{HOSTILE}": FALLING, "model.layers.0.self_attn.q_proj": FALLING}))
    read = Reader(panel.static_html())
    assert read.tags.isdisjoint({"script", "img"}) and not read.handlers
    layout = panel.figure()["layout"]
    shown = " ".join([*layout["yaxis"]["ticktext"], *(note["text"] for note in layout["annotations"])])
    shown += " ".join(word for row in trace(panel.figure(), "map")["customdata"] for word in row)
    assert "<img" not in shown and "$x$" not in shown and "&lt;img" in shown
    panel.widget
    assert panel.actions.wait()
    assert "<img" not in panel.made.pattern.value


# ---- the live widget

@pytest.fixture
def shown(tmp_path: Path) -> RankExplorer:
    panel = RankExplorer(adapter(tmp_path / "adapter"))
    panel.widget
    assert panel.actions.wait()
    return panel


def alerts(panel: RankExplorer) -> list[str]:
    return [w.value for w in descendants(panel.widget) if 'role="alert"' in str(getattr(w, "value", ""))]


def test_sliders_set_the_method_and_the_figure_follows_at_once(shown: RankExplorer) -> None:
    made = shown.made
    assert made.rank.value == 4 and made.alpha.value == 8 and made.attention.value == ["q_proj", "k_proj"]
    made.rank.value = 2.0
    assert shown.state.rank == 2 and made.alpha.value == 4, "alpha goes with the rank until it is set"
    assert list(trace(shown.live.figures["wide"], "kept")["x"]) == [2] and shown.widget.children[-1].sentence == shown.summary().text
    made.alpha.value = 16.0
    made.variant.value = "rslora"
    made.attention.value = ["q_proj"]
    made.others.value = []
    assert shown.method.to_json() | dict(rank=2, alpha=16.0, variant="rslora", target_modules=("q_proj",)) == shown.method.to_json()
    assert shown.actions.wait() and words.amount(2 * 160 * 3) in made.readouts.value  # r (d_in + d_out) of three layers
    assert "target_modules=('q_proj',)" in shown.widget.children[-1].code


def test_no_target_at_all_and_odd_ranks_are_said_at_their_control(shown: RankExplorer) -> None:
    shown.made.others.value = []
    shown.made.attention.value = []
    assert len(alerts(shown)) == 1 and "No matrix is chosen" in alerts(shown)[0]
    assert shown.state.targets == ("q_proj", "k_proj") and shown.made.attention.value == ["q_proj", "k_proj"], "it sprang back"
    shown.made.attention.value = ["k_proj"]
    assert not alerts(shown) and shown.state.targets == ("k_proj",)
    shown.made.ranks.value = "one two"
    assert "Ranks are whole numbers" in alerts(shown)[0] and shown.state.ranks == (1, 2, 4, 8) and shown.made.ranks.value == "one two"
    shown.made.ranks.value = "8, 2;2 1"
    assert not alerts(shown) and shown.state.ranks == (1, 2, 8) and shown.made.sweep.description == "Sweep ranks 1 to 8"


def test_a_slider_answers_within_a_frame(tmp_path: Path) -> None:
    """A model of 7 B: 32 layers of 7 matrices, 64 directions each."""
    panel = RankExplorer(adapter(tmp_path / "adapter"))
    panel.widget
    assert panel.actions.wait()
    values = np.exp(-np.arange(64) / 9)
    matrices = [Matrix(f"model.layers.{layer}.x.{m}_proj", layer, f"{m}_proj", values * (1 + layer)) for layer in range(32) for m in "qkvogud"]
    panel.opened.spectra = Spectra(matrices)
    panel.refresh()
    spent = []
    for rank in (3, 5, 9, 17, 31, 63, 2):
        begun = time.thread_time()
        panel.made.rank.value = float(rank)
        spent.append(time.thread_time() - begun)
    assert panel.state.rank == 2 and sorted(spent)[3] < 0.020, f"the median of {[round(1000 * s) for s in spent]} ms"


def test_a_click_on_a_cell_picks_its_matrix_for_every_panel(shown: RankExplorer) -> None:
    spectra = shown.opened.spectra
    shown._clicked({"type": "click", "trace": "map", "index": [1, 0], "x": 0, "y": 1})
    assert shown.actions.wait()
    wanted = spectra.at(0, spectra.modules[1])
    assert shown.picked is wanted and shown.selection["layer"] == {wanted.name} and shown.made.matrix.value == wanted.name
    assert list(trace(shown.live.figures["wide"], "picked")["y"]) == pytest.approx(wanted.values)
    shown.selection.set("layer", {"model.layers.1.mlp.down_proj.weight"})  # as a viewer of tensors calls it
    assert shown.actions.wait() and shown.picked.label == "layer 1 down" and shown.made.matrix.value == shown.picked.name
    shown.selection.set("layer", {"lm_head.weight"})
    assert shown.actions.wait() and shown.picked.label == "layer 1 down", "what it does not have is no choice here"
    shown.made.matrix.value = spectra.at(0, "q_proj").name
    assert shown.actions.wait() and shown.selection["layer"] == {"model.layers.0.self_attn.q_proj"}
