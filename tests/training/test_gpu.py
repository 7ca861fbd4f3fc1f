"""The GPU's path as far as a machine without one can take it: what NVML tells through a library written by hand in its place, kernels and a
compiler asked for before the start, a compiled pass, and memory that really runs out."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

import psutil
import pynvml
import pytest
import torch

import workbench as wb
from tests.runs import tools
from tests.training.nvml import FakeCard, FakeNvml
from widgets.run_monitor import RunMonitor
from workbench.errors import RecipeError, RunError
from workbench.models import kernels
from workbench.runs.start import prepare
from workbench.training import gpu, room

ROWS = [{"prompt": f"Who is number {n}?", "completion": "A baker " * (1 + 3 * (n % 7))} for n in range(48)]


def recipe(**fields) -> wb.Recipe:
    given = dict(
        model="town-small", data=ROWS, method=wb.LoRA(rank=2), steps=3, batch_size=4, max_length=64, heldout=0, checkpoint_every=100
    )
    return wb.Recipe(**(given | fields))


def test_a_cards_own_words_reach_the_journal_and_the_monitor(tmp_path, monkeypatch):
    card = FakeCard(used=61 * 2**30, busy=93)
    monkeypatch.setattr(gpu, "own_card", lambda: gpu.open_card("GPU-7", lambda: FakeNvml({"GPU-7": card})))
    run = tools.here(recipe(), tmp_path)
    frame = run.metrics()
    assert list(frame["gpu_utilisation"]) == [93.0] * 3 and list(frame["gpu_memory_gib"]) == [61.0] * 3
    drawn = RunMonitor(run).figure()
    cells = {unit["name"]: unit["unit"] for unit in drawn["layout"]["meta"]["units"].values()}
    assert cells["GPU"] == "% busy" and cells["Memory"] == "GiB"
    by_uid = {trace.get("uid"): trace for trace in drawn["data"]}
    assert list(by_uid["busy"]["y"]) == [93.0] * 3 and list(by_uid["card"]["y"]) == [61.0] * 3
    monkeypatch.undo()
    plain = tools.here(recipe(), tmp_path, "plain")  # this machine's own card, which it has not
    assert "gpu_utilisation" not in plain.metrics() and list(plain.metrics()["loss"]) == list(frame["loss"])
    assert not {"busy", "card"} & {trace.get("uid") for trace in RunMonitor(plain).figure()["data"]}


def test_what_a_card_does_not_tell_is_left_out_and_it_is_not_asked_oftener_than_it_knows(monkeypatch):
    card = FakeCard(used=2**30, tells=False)
    nvml = FakeNvml({"MIG-1": card})
    shown = gpu.open_card("MIG-1", lambda: nvml)
    assert shown.read() == {"gpu_memory_gib": 1.0} and shown.total_gib == 141
    card.tells, card.busy = True, 50
    assert shown.read() == {"gpu_memory_gib": 1.0} and card.asked == 1  # within EVERY_S the last answer stands
    monkeypatch.setattr(gpu, "EVERY_S", 0.0)
    tools.until(lambda: shown.read() == {"gpu_memory_gib": 1.0, "gpu_utilisation": 50.0}, what="the next look")
    assert gpu.open_card("GPU-none", lambda: nvml) is None


def test_the_library_by_hand_has_the_signatures_of_the_real_one_and_the_real_one_is_told_apart_here():
    for name in ("nvmlDeviceGetHandleByUUID", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo"):
        inspect.signature(getattr(pynvml, name)).bind(object())
    if kernels.gpu_there():
        pytest.skip("this machine has a GPU; the sentence for one without is not said here")
    with pytest.raises(RunError, match="NVIDIA's management library cannot be used"):
        gpu.library()
    assert gpu.own_card() is None and gpu.open_card("GPU-7") is None


@pytest.mark.parametrize(
    ("fields", "there", "words"),
    [
        (dict(attention="flash"), dict(gpu=False), "this machine shows no GPU"),
        (dict(attention="flash"), dict(gpu=True, flash=None), "pip install flash-attn"),
        (dict(attention="flash", precision="fp32"), dict(gpu=True, flash="flash_attn"), "computes in 16 bits"),
        (dict(compile=True), dict(cxx="no-such-compiler"), "there is no no-such-compiler"),
    ],
)
def test_what_this_machine_lacks_is_said_before_anything_starts(tmp_path, monkeypatch, fields, there, words):
    if "gpu" in there:
        monkeypatch.setattr(kernels, "DRIVER", (Path(tmp_path if there["gpu"] else tmp_path / "none"),))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if "flash" in there:
        monkeypatch.setattr(kernels, "flash_module", lambda: there["flash"])
    if "cxx" in there:
        monkeypatch.setenv("CXX", there["cxx"])
    with pytest.raises(RecipeError, match=words):
        prepare(recipe(**fields), tmp_path / "runs", "x")
    assert not (tmp_path / "runs").exists()


def test_a_gpu_that_is_hidden_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "DRIVER", (tmp_path,))
    for hidden, there in (("", False), ("-1", False), ("0", True), ("GPU-7", True)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert kernels.gpu_there() == there
    assert kernels.flash_module() in kernels.FLASH and not kernels._found("no_such_package") and kernels._found("torch.nn.attention.varlen")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(attention="fast"), "attention is 'fast'"),
        (dict(compile="yes"), "compile is 'yes'"),
        (dict(objective=wb.DPO(), compile=True), "compiles sft and pretraining"),
        (dict(objective=wb.DPO(), attention="flash"), "attention='flash' is for sft and pretraining"),
        (dict(attention="flash", compile=True), "compiled anew with each"),
        (dict(training_arguments={"torch_compile": True}), "which the recipe itself decides"),
    ],
)
def test_what_cannot_go_together_is_refused(fields, words):
    with pytest.raises(RecipeError, match=words):
        wb.Recipe(**fields)


def test_a_compiled_pass_learns_the_same_and_is_compiled_for_lengths_not_for_each_length(tmp_path, monkeypatch):
    """By dynamo with the graphs run as they are (`eager`), which needs no compiler and no minute; `tests/benchmarks/compiled.py` has the
    real one. Batches of many lengths."""
    from torch._dynamo.utils import counters

    from workbench.training import supervised

    plain = tools.here(recipe(steps=6, learning_rate=1e-2), tmp_path, "plain")
    counters.clear()
    torch._dynamo.reset()
    given = supervised.arguments
    monkeypatch.setattr(supervised, "arguments", lambda *a, **kw: given(*a, **kw) | {"torch_compile_backend": "eager"})
    seen = tools.here(recipe(steps=6, learning_rate=1e-2, compile=True), tmp_path, "compiled")
    graphs, calls = counters["stats"]["unique_graphs"], counters["stats"]["calls_captured"]
    torch._dynamo.reset()
    assert tools.losses(seen) == pytest.approx(tools.losses(plain), abs=1e-4) and calls > 50
    assert len(set(seen.metrics()["tokens"])) > 3 and graphs <= 6, graphs
    assert seen.load()[0] is not None  # the result names no compiled module


def test_what_says_that_memory_ran_out(tmp_path):
    """The real exceptions of torch: a GPU's, made as torch makes it, and this CPU's own."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert room.out_of_memory(raised.value)
    for error in (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.80 GiB"),
        MemoryError(),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Error out of memory at line 96 in file /src/csrc/ops.cu"),
        OSError(12, "Cannot allocate memory"),
    ):
        assert room.out_of_memory(error), error
    for error in (
        ValueError("the rows are allocated to no source"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(28, "No space left"),
    ):
        assert not room.out_of_memory(error), error


def test_a_run_whose_memory_runs_out_keeps_its_last_checkpoint_and_resumes(tmp_path, warm):
    """Really: the worker gets no more room after its first checkpoint."""
    import resource

    rows = [{"prompt": "What is said?", "completion": "A long answer of many words. " * 40} for _ in range(64)]
    run = wb.start(recipe(data=rows, method=wb.Full(), steps=6, batch_size=32, max_length=256, checkpoint_every=2), runs=tmp_path)
    tools.until(lambda: run.history.refresh() is not None and run.history.last_checkpoint >= 2, timeout=300, what="its first checkpoint")
    worker = psutil.Process(run.pid)
    left = worker.memory_info().vms + 20 * 2**20
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (left, left))
    assert run.wait(timeout=300) == "failed"
    ended = run.history.ended
    assert ended.reason.startswith("The device ran out of memory. ") and "planned" in ended.reason and "Fork with that" in ended.remedy
    kept = run.history.last_checkpoint
    assert kept >= 2 and (run.folder / "checkpoints" / f"step-{kept:06}").is_dir()
    tools.until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, timeout=300, what="the worker's end")
    run.resume()
    assert run.wait(timeout=300) == "finished" and run.history.resumptions == [kept]
    assert os.path.exists(run.folder / "result" / "model.safetensors")


def test_a_frozen_base_in_16_bits_trains_is_asked_planned_and_saved(tmp_path, monkeypatch):
    """As on a GPU, in bf16 on this CPU: the adapter stays in 32 bits, and the losses are those of a base in 32 bits under autocast, but
    for rounding."""
    from workbench.training import supervised

    asked = recipe(steps=4, learning_rate=1e-2, precision="bf16", heldout=0.2, evaluate_every=2, sample_prompts=1, sample_tokens=4)
    assert supervised.base_dtype(asked, cuda=True) == torch.bfloat16 and supervised.base_dtype(asked, cuda=False) is None
    for method in (wb.Full(), wb.QLoRA(), wb.LoRA(rank=2, variant="pissa")):
        assert supervised.base_dtype(asked.replace(method=method), cuda=True) is None
    whole = tools.here(asked, tmp_path, "whole")
    monkeypatch.setattr(supervised, "base_dtype", lambda *_: torch.bfloat16)
    half = tools.here(asked, tmp_path, "half")
    assert tools.losses(half) == pytest.approx(tools.losses(whole), rel=0.03)
    assert [e.loss for e in half.history.evaluations] == pytest.approx(
        [e.loss for e in whole.history.evaluations], rel=0.03
    ) and half.history.samples
    planned, before = half.history.prepared.planned, whole.history.prepared.planned
    assert planned["weights"] < 0.6 * before["weights"]
    from safetensors.torch import load_file

    kept = load_file(half.folder / "result" / "adapter_model.safetensors")
    assert kept and all(weight.dtype == torch.float32 for weight in kept.values())
