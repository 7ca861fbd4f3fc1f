"""What a person does in the quantization viewer, and what it says: without a browser."""

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
from tests.widgets.test_quantization_viewer import DOWN, UP, folder_of, panel, run_of, tensors, trace
from widgets import QuantizationViewer
from widgets.quantization_viewer.state import Choice, State, compared
from widgets.quantization_viewer.tensor_tree import rows_of, shown
from widgets.quantization_viewer.words import row_outlier


def test_two_runs_stand_on_one_chart_and_the_loss_after_is_measured_as_the_journal_does(tmp_path: Path) -> None:
    import workbench as wb
    from workbench.evaluation.row_losses import row_losses
    from workbench.quantization.models import quantize_model

    model, tokenizer = wb.load("town-small")
    plain = run_of(tmp_path / "plain", wb.Full(), [2.0, 1.5, 1.2], model, tokenizer)
    aware = run_of(tmp_path / "aware", wb.Full(), [2.1, 1.6, 1.3])
    panel = QuantizationViewer(tensors(), runs=(plain, aware), state=State(view="training"))
    assert panel.summary().text.startswith("Held-out loss 1.200 in 16 bits, 1.300 trained in 8 bits; press")
    assert list(trace(panel.figure(), "blue")["y"]) == [2.1, 1.6, 1.3] and list(trace(panel.figure("narrow"), "grey")["x"]) == [10, 20, 30]
    panel.measure_after()
    rows = [{"text": f"Mira has {count} loaves. Tomas has a dog."} for count in range(4)]
    found = row_losses((quantize_model(model, "vector-wise", bits=8)[0], tokenizer), rows, completions_only=False)
    after = (found["loss"] * found["tokens"]).sum() / found["tokens"].sum()
    assert panel.look().after == pytest.approx(after, abs=1e-6) and trace(panel.figure(), "after")["y"] == [panel.look().after]
    assert "quantized after training" in panel.summary().text
    names: dict = {"print": lambda *_: None}
    exec(panel.code(), names)
    assert names["after"] == pytest.approx(panel.look().after, abs=1e-6)


@pytest.mark.parametrize("objective", ["sft", "pretraining"])
def test_code_of_two_runs_gives_the_panels_loss_of_an_adapter_and_of_either_objective(tmp_path: Path, objective: str) -> None:
    import workbench as wb

    base, tokenizer = wb.load("town-small")
    tuned = wb.LoRA(rank=2).apply(base)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:  # zero as it starts, so that merged and not would be the same
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    rows = [{"messages": [{"role": "user", "content": f"Who has {count} loaves?"}, {"role": "assistant", "content": "Mira has a dog."}]}
            for count in range(3)]
    plain = run_of(tmp_path / "plain", wb.LoRA(rank=2), [2.0], tuned, tokenizer, rows, objective)
    aware = run_of(tmp_path / "aware", wb.QAT(bits=4), [2.1])
    panel = QuantizationViewer(tensors(), runs=(plain, aware), state=State(view="training")).measure_after()
    names: dict = {"print": lambda *_: None}
    exec(panel.code(), names)
    assert names["after"] == pytest.approx(panel.look().after, abs=1e-6)


def test_a_run_that_goes_on_is_followed_and_two_picked_elsewhere_are_compared(tmp_path: Path) -> None:
    import workbench as wb
    from workbench.journal import events as ev
    from workbench.journal.events import encode

    plain, aware = run_of(tmp_path / "b", wb.Full(), [2.0, 1.5]), run_of(tmp_path / "a", wb.QAT(bits=3), [2.1])
    panel = QuantizationViewer(tensors(), state=State(view="training"))
    _ = panel.widget
    panel.selection.set("run", {plain, aware})
    assert (panel.state.plain, panel.state.aware) == (plain, aware) and panel.look().bits == 3
    assert panel.runs.settings(aware) == dict(scheme="vector-wise", bits=3, block=64, activations="16-bit")
    panel._follow()
    with open(Path(aware) / "journal.jsonl", "ab") as journal:
        journal.write(encode(ev.Evaluated(step=20, loss=1.4)))
    panel._follow()
    assert list(trace(panel.live.figures["wide"], "blue")["y"]) == [2.1, 1.4]
    quiet(panel)


def test_an_adapter_is_looked_at_merged(tmp_path: Path) -> None:
    import workbench as wb

    base = wb.load("town-small")[0]
    names = sorted(name for name, _ in base.named_parameters())
    wb.LoRA(rank=2).apply(base).save_pretrained(tmp_path / "adapter")
    panel = QuantizationViewer(tmp_path / "adapter").open()
    assert sorted(panel.known.weights.names) == names and panel.summary().kind == "ok"


def test_folders_that_are_no_runs_are_refused_where_they_are_typed(tmp_path: Path) -> None:
    panel = QuantizationViewer(tensors(), state=State(view="training"))
    assert panel.summary().kind == "idle" and "wb.QAT" in panel.code()
    _ = panel.widget
    quiet(panel)
    panel.made.plain.value = str(tmp_path / "none")
    assert panel.made.plain in panel._errors and panel.made.model.layout.display == "none"
    panel.made.plain.value = ""
    assert panel._errors == {}
    quiet(panel)


# ---- the tree

def test_the_tree_goes_by_layers_and_shortens_names() -> None:
    names = ["lm_head.weight", "model.layers.10.mlp.up_proj.weight", "model.layers.2.self_attn.q_proj.bias",
             "model.layers.2.self_attn.q_proj.weight",
             "model.embed_tokens.weight", "model.norm.weight"]
    rows = rows_of(names, {name: (4, 4) if "weight" in name else (4,) for name in names})
    assert [(row["group"], row["shown"]) for row in rows] == [
        ("", "embed_tokens"), ("layers.2", "q_proj"), ("layers.2", "q_proj.bias"), ("layers.10", "up_proj"), ("", "lm_head"), ("", "norm")]
    assert rows[1]["title"] == "model.layers.2.self_attn.q_proj.weight, 4 × 4"
    assert shown(60.0) == ["60.0", 0.0, ""] and shown(0.0)[1:] == [1.0,
                                                                   "poor"] and shown(math.nan)[0] == "NaN" and shown(math.inf)[0] == "exact"


# ---- what is wrong is said where it was asked

def test_weights_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    torch.save(tensors(), pickled / "pytorch_model.bin")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"\x20\0\0\0\0\0\0\0" + b"{" * 40)
    for source, words in ((tmp_path / "none", "There is no"), (pickled, "which could run code when it is opened"),
                          (broken, "not a readable safetensors file")):
        panel = QuantizationViewer(source)
        said = panel.summary()
        assert said.kind == "warn" and words in said.text, said
        assert panel.figure("narrow")["data"] == [] and "No weights" in json.dumps(panel.figure()["layout"]["annotations"]) and panel.code()


def test_a_tensor_that_is_not_finite_is_named_and_the_others_are_looked_at() -> None:
    held = tensors()
    held[UP][3, 5] = math.nan
    panel = QuantizationViewer(held, state=State(layer=DOWN.removesuffix(".weight"))).measure()
    before = trace(panel.figure(), "sqnr-good")["x"]
    errors = panel.known.weights.errors[panel.state.choice.key]
    assert math.isnan(errors[UP]) and len(errors) == 4 and errors[DOWN] > 15
    panel.state.layer = UP.removesuffix(".weight")
    assert panel.summary().kind == "warn" and UP in panel.summary().text and "1 value that is NaN or infinite" in panel.summary().text
    assert trace(panel.figure(), "sqnr-good")["x"] == before, "the last good picture stays"
    assert "NaN" in Reader(panel.static_html()).text


# ---- the live widget

@pytest.fixture
def live(tmp_path: Path) -> Iterator[QuantizationViewer]:
    panel = QuantizationViewer(folder_of(tmp_path / "model", tensors()))
    _ = panel.widget
    quiet(panel)
    yield panel
    quiet(panel)


def quiet(panel: QuantizationViewer) -> None:
    """Until every thread of the panel has nothing left to do."""
    assert panel.work.wait(30) and panel.later.wait(30) and panel.work.wait(30) and panel.later.wait(30)


def test_a_page_gets_the_tree_with_bars_and_exact_numbers(live: QuantizationViewer) -> None:
    tree = live.made.tree
    assert [row["name"] for row in tree.rows] == ["model.embed_tokens.weight", UP, DOWN, "model.norm.weight"]
    errors = live.known.weights.errors[live.state.choice.key]
    assert tree.live[UP] == shown(errors[UP]) and tree.live["\0layers.1"] == shown(errors[DOWN]) and tree.picked == UP
    alone = QuantizationViewer(tensors())
    assert live.look().sqnr_db == alone.look().sqnr_db and live.summary() == alone.summary()


def test_controls_set_the_state_and_the_figure_follows_at_once(live: QuantizationViewer) -> None:
    made = live.made
    assert made.bits.disabled and not made.block.disabled and not made.double.disabled and made.threshold.disabled
    made.scheme.value = "absmax"
    assert not made.bits.disabled and made.block.disabled and made.double.disabled
    made.bits.value = 4
    figures = live.live.figures["wide"]
    assert "<b>int4 absmax</b>" in figures["layout"]["yaxis3"]["ticktext"] and "bits=4" in live.widget.children[-1].code
    made.scheme.value, made.double.value = "NF4", True
    assert live.state.choice == Choice("NF4 double", 4, 64)
    made.block.value = "128"
    quiet(live)
    assert live.known.weights.missing(live.state.choice) == 0, "the overview follows the scheme"
    assert live.widget.children[-1].sentence == live.summary().text == live.live.summary


def test_a_slider_is_answered_within_a_frame(live: QuantizationViewer) -> None:
    live.made.scheme.value = "block-wise"
    quiet(live)
    took = []
    for bits in (7, 6, 5, 4, 3, 2, 3, 4, 5, 6, 7):
        begun = time.thread_time()
        live.made.bits.value = bits
        took.append(time.thread_time() - begun)
        quiet(live)
    assert sorted(took)[len(took) // 2] < 0.02, took


def test_a_script_that_looks_while_a_thread_refreshes_sees_its_own_setting(live: QuantizationViewer) -> None:
    begun, go_on = threading.Event(), threading.Event()
    summary = live.summary

    def slow():
        begun.set()
        assert go_on.wait(20)
        return summary()

    live.summary = slow
    refreshing = threading.Thread(target=live.refresh)
    refreshing.start()
    assert begun.wait(20)
    live.state.scheme = "absmax"
    assert live.look().choice.scheme == "absmax"
    go_on.set()
    refreshing.join(20)


def test_a_picked_tensor_is_the_layer_everywhere(live: QuantizationViewer) -> None:
    tree = live.made.tree
    tree._heard(tree, {"kind": "pick", "name": DOWN}, [])
    assert live.selection["layer"] == {DOWN.removesuffix(".weight")} and tree.picked == DOWN
    assert "layers.1.mlp.down_proj" in live.summary().text
    live.selection.set("layer", {UP.removesuffix(".weight")})
    assert tree.picked == UP and "layers.0" in tree.unfolded
    live.selection.set("layer", {"model.layers.7.of_another_model"})
    assert tree.picked == UP
    tree._heard(tree, {"kind": "pick", "name": "no such"}, [])
    assert tree.picked == UP


def test_another_model_is_named_and_a_wrong_name_keeps_the_page(live: QuantizationViewer, tmp_path: Path) -> None:
    good = [list(each["x"]) for each in live.live.figures["wide"]["data"]]
    live.made.model.value = str(tmp_path / "nowhere")
    quiet(live)
    assert "There is no" in live._errors[live.made.model][1].children[0].value and live.summary().kind == "warn"
    live.made.model.value = folder_of(tmp_path / "other", {"h.0.c.weight": torch.randn(32, 64)})
    quiet(live)
    assert live._errors == {} and [row["name"] for row in live.made.tree.rows] == ["h.0.c.weight"] and "h.0.c" in live.summary().text
    assert good != [list(each["x"]) for each in live.live.figures["wide"]["data"]]


def test_cancel_keeps_what_was_looked_at_and_the_rest_can_be_asked_for(tmp_path: Path) -> None:
    panel = QuantizationViewer(folder_of(tmp_path, {f"model.layers.{k}.a.weight": torch.randn(8, 64) for k in range(40)}))
    told = panel.known.weights.overview

    def some(choice, progress, show):
        def stopping() -> None:
            show()
            if len(panel.known.weights.errors[choice.key]) == 5:
                panel.work.stop()
        told(choice, progress, stopping)

    panel.known.weights.overview = some
    _ = panel.widget
    quiet(panel)
    seen = 40 - panel.known.weights.missing(panel.state.choice)
    assert 5 <= seen <= 7 and panel.made.rest.layout.display == ""
    panel.known.weights.overview = told
    panel.made.rest.click()
    quiet(panel)
    assert panel.known.weights.missing(panel.state.choice) == 0 and panel.made.rest.layout.display == "none"


def test_perplexity_is_measured_in_a_thread_that_can_be_cancelled_and_asked_again() -> None:
    import workbench as wb

    panel = QuantizationViewer(wb.load("town-small"), texts=["Mira is a baker.", "Tomas has a dog."])
    _ = panel.widget
    quiet(panel)
    told = panel.known.perplexities

    def some(choices, first, activations, threshold, progress, show):
        def stopping() -> None:
            show()
            if len(panel.known.measured) == 2:
                assert panel.made.primary.disabled
                panel.work.stop()
        told(choices, first, activations, threshold, progress, stopping)

    panel.known.perplexities = some
    panel.made.primary.click()
    quiet(panel)
    assert len(panel.known.measured) == 2 and not panel.made.primary.disabled and "the whole model" in panel.summary().text
    panel.known.perplexities = told
    panel.made.primary.click()
    quiet(panel)
    assert len(panel.known.measured) == len(compared(panel.state.choice)) and not panel.made.primary.disabled


def test_a_click_on_a_schemes_line_chooses_it(live: QuantizationViewer) -> None:
    lines = compared(live.state.choice)
    place = len(lines) - 1 - [line.scheme for line in lines].index("zero-point")
    live._clicked({"type": "click", "trace": "sqnr", "index": 0, "x": 30.0, "y": place})
    assert live.state.scheme == "zero-point" and live.made.scheme.value == "zero-point"
    live._clicked({"type": "click", "trace": "weights", "index": 0, "x": 0.0, "y": 1})
    assert live.state.scheme == "zero-point"
