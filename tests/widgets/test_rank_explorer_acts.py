"""What a person does in the rank explorer, and what it says: without a browser."""

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
from tests.widgets.test_rank_explorer import FALLING, SHAPES, adapter, alerts, look_of, said, shown, trace
from widgets import RankExplorer
from widgets.rank_explorer import figure as drawing
from widgets.rank_explorer import words
from widgets.rank_explorer.figure import Look, Point
from widgets.rank_explorer.spectra import Matrix, Spectra
from widgets.rank_explorer.state import State
from widgets.rank_explorer.sweeping import points_of, values_of
from workbench.errors import WorkbenchError
from workbench.runs.sweep import interval


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
