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
from widgets.rank_explorer import words
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


def test_modules_stand_in_the_models_order(shown: RankExplorer) -> None:
    assert shown.opened.spectra.modules == ["q_proj", "k_proj", "up_proj", "down_proj"]
    assert [label for label, _ in shown.made.matrix.options][:2] == ["layer 0 q", "layer 0 k"]


def test_another_folder_is_read_and_what_is_wrong_with_it_stands_beside_it(shown: RankExplorer, tmp_path: Path) -> None:
    before = shown.made.source.value
    shown.made.rank.value = 3.0
    shown.made.source.value = str(tmp_path / "nowhere")
    assert shown.actions.wait() and "There is no" in alerts(shown)[0] and "wb-bad" in shown.made.source._dom_classes
    assert "There is no" in shown.widget.children[-1].sentence
    assert shown.made.rank.value == 3 and len(trace(shown.live.figures["wide"], "map")["z"]) == 4, "the last good figure stays"
    shown.made.source.value = before
    assert shown.actions.wait() and not alerts(shown) and shown.made.rank.value == 3
    shown.made.source.value = str(adapter(tmp_path / "second", {"model.layers.2.self_attn.q_proj": (1.0, .5)}))
    assert shown.actions.wait() and not alerts(shown) and shown.opened.spectra.layers == [2] and shown.made.rank.value == 2
    shown.made.other.value = str(tmp_path / "nowhere")
    assert shown.actions.wait() and len(alerts(shown)) == 1 and "wb-bad" in shown.made.other._dom_classes
    shown.made.other.value = ""
    shown.made.base.value = "no/such-model"
    assert shown.actions.wait() and len(alerts(shown)) == 1 and "wb-bad" in shown.made.base._dom_classes
    assert shown.opened.spectra.layers == [2]


def test_the_suggestion_is_taken_by_a_button(shown: RankExplorer) -> None:
    shown.made.rank.value = 2.0
    assert shown.actions.wait()
    shown.made.spread.value = "suggested"
    assert shown.actions.wait() and shown.method.rank_pattern == shown.pattern and "suggest_rank_pattern" in shown.widget.children[-1].code
    assert "Suggested ranks" in shown.made.pattern.value


# ---- cuts scored on held-out rows

WEAK = {f"model.layers.{layer}.{module}": (.6, .4, .2, .1) for layer in (0, 1, 2) for module in SHAPES}


def facts(count: int) -> list[dict]:
    from workbench.data import sources

    return sources.load_rows("town:facts").slice(0, count).to_pylist()


def loss_of_weights(folder: Path, rank: int, rows: list[dict]) -> float:
    """Nats per trained token of the small town model with the best approximation of each ΔW in its weights; by a full SVD."""
    import torch
    from safetensors.numpy import load_file

    import workbench as wb
    from workbench.data import sources
    from workbench.evaluation.row_losses import row_losses

    model, tokenizer = wb.load("town-small")
    tensors = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            key = f"base_model.model.{name.removesuffix('.weight')}.lora_"
            if f"{key}A.weight" in tensors:
                left, values, right = np.linalg.svd(2 * tensors[f"{key}B.weight"].astype(float) @ tensors[f"{key}A.weight"], full_matrices=False)
                parameter += torch.tensor((left[:, :rank] * values[:rank]) @ right[:rank], dtype=torch.float32)
    losses = row_losses((model, tokenizer), sources.load_rows(rows))
    return float((losses["loss"] * losses["tokens"]).sum() / losses["tokens"].sum())


def test_a_cut_adapter_is_scored_at_once(tmp_path: Path) -> None:
    rows, folder = facts(24), adapter(tmp_path / "adapter", WEAK)
    panel = RankExplorer(folder, rows=rows, state=State(rank=2))
    panel.widget
    assert panel.actions.wait() and not panel.made.truncate.disabled and "Scored on 24 rows given" in panel.made.scoring.value
    panel.made.truncate.click()
    assert panel.actions.wait(60) and not alerts(panel)
    assert {int(rank): loss for rank, loss in panel.state.cuts.items()} == pytest.approx(
        {rank: loss_of_weights(folder, rank, rows) for rank in (0, 2, 4)}, rel=1e-4)
    figure = panel.live.figures["wide"]
    assert list(trace(figure, "cuts")["x"]) == [2] and list(trace(figure, "cuts")["y"]) == [panel.state.cuts["2"]]
    assert "Cut to rank 2, its held-out loss is" in panel.widget.children[-1].sentence
    names: dict = {"rows": rows}
    exec(panel.code(), names)
    assert {str(rank): loss for rank, loss in zip(names["cut"]["rank"], names["cut"]["loss"], strict=True)} == pytest.approx(panel.state.cuts)


def test_rows_for_an_adapter_from_elsewhere_are_named(shown: RankExplorer) -> None:
    assert shown.made.rows.layout.display == "" and shown.made.truncate.disabled
    shown.made.rows.value = "no/such-file.jsonl"
    assert not shown.made.truncate.disabled and "held-out rows, so" not in shown.widget.children[-1].sentence
    shown.made.truncate.click()
    assert shown.actions.wait() and "no/such-file.jsonl" in alerts(shown)[0] and shown.state.cuts == {}


def test_what_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    panel = RankExplorer(tmp_path / "later")
    panel.widget
    assert panel.actions.wait() and "There is no" in alerts(panel)[0]
    adapter(tmp_path / "later")
    box = next(w for w in descendants(panel.widget) if "wb-error-box" in getattr(w, "_dom_classes", ()))
    box.children[1].click()
    assert panel.actions.wait() and not alerts(panel) and panel.opened.spectra.rank == 4


def test_a_sweep_that_is_gone_is_said_once(tmp_path: Path) -> None:
    panel = RankExplorer(adapter(tmp_path / "adapter"), state=State(sweep=str(tmp_path / "gone")))
    panel.widget
    assert panel.actions.wait()
    panel._watch()
    assert "is no sweep" in alerts(panel)[0] and panel.state.sweep == ""


def test_scoring_can_be_cancelled_and_begun_again(tmp_path: Path) -> None:
    panel = RankExplorer(adapter(tmp_path / "adapter", WEAK), rows=facts(40), state=State(rank=1))
    panel.widget
    assert panel.actions.wait()
    said = []

    def busy(words: str | None, *_, cancel=None) -> None:
        said.append(words)
        if words and words.startswith("Scoring"):
            cancel()

    panel.busy = busy
    panel.made.truncate.click()
    assert panel.actions.wait(60) and "Scoring was cancelled" in alerts(panel)[0] and panel.state.cuts == {}
    assert said[0] == "Loading the model" and said[-1] is None
    del panel.busy
    panel.made.truncate.click()
    assert panel.actions.wait(60) and set(panel.state.cuts) == {"0", "1", "4"} and not alerts(panel)


# ---- sweeps

def test_a_sweep_varies_ranks_at_one_scale() -> None:
    base, values = values_of(State(rank=4, ranks=(1, 2)), {})
    assert values == {"method.rank": [1, 2]} and base.alpha is None
    _, values = values_of(State(rank=4, alpha=16.0, ranks=(1, 2)), {})
    assert [(method.rank, method.alpha) for method in values["method"]] == [(1, 4), (2, 8)], "alpha / r stays 16 / 4"
    pattern = {"layers.0.self_attn.q_proj": 3}
    _, values = values_of(State(rank=4, ranks=(1, 2), spread="suggested"), pattern)
    assert [(method.rank, method.rank_pattern) for method in values["method"]] == [(1, {}), (2, {}), (4, {}), (4, pattern)]


def test_the_code_sweeps_what_the_button_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import workbench as wb
    import workbench.runs.sweep as engine
    from workbench.runs.start import prepare
    from workbench.runs.sweep_points import points_of as combinations

    asked = []

    def noted(recipe: wb.Recipe, values: dict, seeds: int = 3, runs: str = "runs", name: str | None = None) -> SimpleNamespace:
        asked.append(([recipe.replace(**point).to_json() for point in combinations(recipe, values)[1]], seeds, runs, name))
        return SimpleNamespace(folder=tmp_path / "sweep")

    monkeypatch.setattr(wb, "sweep", noted)
    monkeypatch.setattr(engine, "sweep", noted)
    recipe = wb.Recipe(model="town-small", data="town:facts", method=wb.LoRA(rank=4, dropout=0.1))
    folder = prepare(recipe, tmp_path / "runs", "adapted")
    adapter(folder / "result")
    for settings in (dict(), dict(alpha=5.0, ranks=(1, 3), seeds=2), dict(alpha=8.0, variant="rslora"), dict(spread="suggested"),
                     dict(spread="suggested", alpha=6.0, targets=("q_proj", "up_proj"), variant="dora")):
        panel = RankExplorer(folder, state=State(rank=2, **settings)).look()
        lines = panel.code().splitlines()
        exec("\n".join(line.removeprefix("# ") if line.startswith(("# recipe", "# sweep")) else line for line in lines), {})
        panel.sweeping.start(panel.opened, panel.recipe, panel.state, panel.pattern)
        by_code, by_button = asked[-2:]
        assert by_code == by_button, settings
        assert len(by_code[0]) == len(panel.state.ranks) + ("spread" in settings)


def test_what_a_run_had_is_kept_in_the_next_one(tmp_path: Path) -> None:
    import workbench as wb
    from workbench.runs.start import prepare

    recipe = wb.Recipe(model="town-small", data="town:facts", method=wb.QLoRA(rank=4, bits=8, dropout=0.1, target_modules=("q_proj", "k_proj")))
    folder = prepare(recipe, tmp_path / "runs", "quantized")
    adapter(folder / "result", {f"model.layers.{layer}.self_attn.{m}_proj": FALLING for layer in (0, 1, 2) for m in "qk"})
    panel = RankExplorer(folder).look()
    assert panel.state.targets == ("q_proj", "k_proj") and panel.method == recipe.method
    base, values = values_of(panel.state, {}, panel.opened)
    assert base == wb.QLoRA(rank=1, bits=8, dropout=0.1, target_modules=("q_proj", "k_proj")) and values == {"method.rank": [1, 2, 4, 8]}
    names: dict = {}
    exec(panel.code(), names)
    assert names["method"] == recipe.method
    panel.widget
    assert panel.actions.wait()
    panel.made.variant.value = "pissa"
    assert "are rounded as they are read" in alerts(panel)[0] and panel.made.variant.value == "lora" and panel.method == recipe.method


class SweepSoFar:
    """Two ranks with two seeds: one has ended, of the other a run trains."""

    status = "running"

    def __init__(self) -> None:
        self.kept = [[self.run(2, "finished", .4), self.run(2, "finished", .5)], [self.run(1, "running", .9), self.run(1, "new", None)]]
        self.runs = [run for runs in self.kept for run in runs]

    @staticmethod
    def run(rank: int, status: str, loss: float | None) -> SimpleNamespace:
        evaluations = [] if loss is None else [SimpleNamespace(step=1, loss=loss)]
        return SimpleNamespace(status=status, history=SimpleNamespace(evaluations=evaluations), recipe=SimpleNamespace(method=SimpleNamespace(rank=rank)))

    def runs_of(self, place: int) -> list:
        return self.kept[place]

    def table(self) -> pd.DataFrame:
        nan = float("nan")
        return pd.DataFrame([{"method.rank": 2, "loss": .45, "low": .3, "high": .6, "finished": 2}, {"method.rank": 1, "loss": nan, "low": nan, "high": nan, "finished": 0}])


class Ended:
    """A sweep that has ended: held-out losses by seed, of one rank everywhere and of suggested ranks."""

    LOSSES = (((2, False), (.30, .40, .50)), ((2, True), (.33, .43, .52)), ((4, False), (.32, .44, .51)), ((8, False), (.29, .41, .48)))

    def runs_of(self, place: int) -> list:
        (rank, suggested), losses = self.LOSSES[place]
        method = SimpleNamespace(rank=rank, rank_pattern={"q_proj": 3} if suggested else {})
        return [SimpleNamespace(status="finished", history=None, recipe=SimpleNamespace(method=method)) for _ in losses]

    def table(self) -> pd.DataFrame:
        means = [interval(losses) for _, losses in self.LOSSES]
        return pd.DataFrame([dict(zip(("loss", "low", "high"), mean, strict=True), finished=3) for mean in means])

    def compare(self, first: int, second: int) -> tuple[float, float, float]:
        return interval(np.subtract(self.LOSSES[second][1], self.LOSSES[first][1]))


def test_ranks_are_compared_seed_by_seed_where_their_own_intervals_overlap() -> None:
    points = points_of(Ended())
    uniform, suggested, four, best = points
    assert suggested.suggested and suggested.low < uniform.high, "seeds differ by far more than the points do"
    # differences from rank 2 are .03, .03 and .02: mean .0267, standard error .00333, Student's t of 2 degrees 4.303
    assert suggested.apart == pytest.approx((.08 / 3, .08 / 3 - 4.3027 * .01 / 3, .08 / 3 + 4.3027 * .01 / 3), abs=1e-5) and best.apart is None
    assert said(look_of(FALLING, points=points))[1].endswith(
        "Trained, the suggested ranks are worse than rank 2 everywhere (0.427 and 0.400; seed by seed +0.012 to +0.041).")
    assert four.apart[1] > 0 > uniform.apart[1]
    without = said(look_of(FALLING, points=[uniform, four, best]))[1]
    assert without.endswith("Trained, rank 2 is within error of 8 (0.400 and 0.393; seed by seed \N{MINUS SIGN}0.031 to +0.045).")


def test_points_of_a_sweep_that_goes_on() -> None:
    first, second = points_of(SweepSoFar())
    assert first == Point(1, None, None, None, 0, .9, "running") and second == Point(2, .45, .3, .6, 2, None, "finished")


def test_the_figure_shows_ended_running_and_waiting_ranks(tmp_path: Path) -> None:
    look = look_of(FALLING, points=[*points_of(SweepSoFar()), Point(8, None, status="queued")], cuts=[(1, .7)], whole=.4)
    for width in ("wide", "medium", "narrow"):
        figure = drawing.figure(look, width)
        assert trace(figure, "trained")["x"] == [2] and trace(figure, "trained")["y"] == [.45] and trace(figure, "running")["y"] == [.9]
        assert trace(figure, "intervals")["y"] == [.3, .6, None] and trace(figure, "cuts")["x"] == [1]
        assert any("1 running, 1 queued" in note["text"] for note in figure["layout"]["annotations"])
        assert {unit["name"] for unit in figure["layout"]["meta"]["units"].values()} >= {"Singular values of ΔW", "Energy kept", "Held-out loss"}


def test_losses_of_several_sizes_stand_on_a_log_axis() -> None:
    near, far = ([Point(1, loss, .9 * loss, 1.1 * loss, 3), Point(2, .1, .09, .11, 3)] for loss in (.7, .9))
    assert "type" not in drawing.figure(look_of(FALLING, points=near))["layout"]["yaxis4"]
    layout = drawing.figure(look_of(FALLING, points=far, whole=.05))["layout"]
    assert layout["yaxis4"]["type"] == "log" and layout["yaxis4"]["range"][0] < np.log10(.05)
    note = next(note for note in layout["annotations"] if note["text"] == "as trained 0.05")
    assert note["y"] == pytest.approx(np.log10(.05))


def test_an_adapter_from_elsewhere_cannot_be_swept_without_a_recipe(shown: RankExplorer) -> None:
    assert shown.made.sweep.disabled and shown.made.truncate.disabled
    shown.actions.sweep()
    assert shown.actions.wait() and "it is not known what to train" in alerts(shown)[0]
