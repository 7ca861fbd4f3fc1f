"""The quantization viewer's engine on a sharded checkpoint with the tensors of a 7 B model: memory to open it, a picked tensor, and the
overview of all of them.

The checkpoint is made here of random bf16 tensors, with as many of the 32 layers as a tenth of the free disk and a fifth of the free memory
hold (what is measured is work, so its pages are in the cache for us and for torch.histc alike), and is removed afterwards. Two threads.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from workbench.quantization import SCHEMES, inspect, open_weights, overview

HIDDEN, MIDDLE, VOCABULARY, LAYERS = 4096, 11008, 32000, 32
ROUNDS = 3
PICKED = "model.layers.0.mlp.down_proj.weight"

LAYER = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN, HIDDEN), "self_attn.v_proj": (HIDDEN, HIDDEN),
         "self_attn.o_proj": (HIDDEN, HIDDEN),
         "mlp.gate_proj": (MIDDLE, HIDDEN), "mlp.up_proj": (MIDDLE, HIDDEN), "mlp.down_proj": (HIDDEN, MIDDLE),
         "input_layernorm": (HIDDEN,)}
ENDS = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "lm_head.weight": (VOCABULARY, HIDDEN)}


def size(shapes) -> int:
    return sum(2 * torch.Size(shape).numel() for shape in shapes)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    room = min(shutil.disk_usage(folder).free // 10, psutil.virtual_memory().available // 5)
    layers = min(LAYERS, (room - size(ENDS.values())) // size(LAYER.values()))
    if layers < 1:
        pytest.skip(f"one layer and the embeddings need {size(ENDS.values()) + size(LAYER.values()):,} bytes, and {room:,} may be used")
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(VOCABULARY * HIDDEN, generator=generator).mul_(0.02).bfloat16()

    def drawn(shape):
        start = int(torch.randint(len(pool), (), generator=generator))
        return pool.roll(start)[:torch.Size(shape).numel()].view(shape).clone()

    shards = [ENDS, *({f"model.layers.{i}.{name}.weight": shape for name, shape in LAYER.items()} for i in range(layers))]
    where = {}
    for i, shapes in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        save_file({name: drawn(shape) for name, shape in shapes.items()}, folder / file)
        where |= dict.fromkeys(shapes, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


PEAK = """
import json, sys, threading, time

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

begun, peaks, ended = anonymous(), {}, threading.Event()
now = "imports"

def watch():
    while not ended.wait(0.001):
        peaks[now] = max(peaks.get(now, 0), anonymous() - begun)

watcher = threading.Thread(target=watch)
watcher.start()
import torch
from workbench.quantization import inspect, open_weights, overview
torch.set_num_threads(2)
time.sleep(0.01)
now, clock = "open", time.perf_counter()
weights = open_weights(sys.argv[1])
seconds = time.perf_counter() - clock
time.sleep(0.01)
now = "preview"
inspect(weights, sys.argv[2], "NF4", sample=1 << 20)
now = "overview"
rows = sum(1 for _ in overview(weights, "vector-wise"))
ended.set()
watcher.join()
print(json.dumps({"peaks": peaks, "seconds": seconds, "rows": rows, "largest": max(weights.sizes.values()), "bytes": weights.bytes}))
"""


def test_memory_to_open(checkpoint, report):
    done = subprocess.run([sys.executable, "-c", PEAK, str(checkpoint), PICKED], capture_output=True, text=True,
                          cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    largest, peaks = found["largest"], found["peaks"]
    report(checkpoint_gb=found["bytes"] / 1e9, tensors=found["rows"], largest_mb=largest / 1e6, imports_mb=peaks["imports"] / 1e6,
           open_mb=peaks["open"] / 1e6,
           preview_mb=peaks["preview"] / 1e6, overview_mb=peaks["overview"] / 1e6, open_s=found["seconds"],
           peak_over_largest=max(peaks.values()) / largest)
    assert max(peaks.values()) <= 1.5 * largest, "above the process's start, imports and the whole overview included"


def seconds(work) -> float:
    """The median of `ROUNDS`, after one that is not counted."""
    work()
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def test_a_picked_tensor(checkpoint, report):
    weights = open_weights(checkpoint)
    assert weights.shapes[PICKED] == (HIDDEN, MIDDLE)
    preview = {name: seconds(lambda: inspect(weights, PICKED, name, sample=1 << 20)) for name in SCHEMES}
    exact = {name: seconds(lambda: inspect(weights, PICKED, name)) for name in SCHEMES}
    report(preview_s=max(preview.values()), **{f"exact {name}": value for name, value in exact.items()})
    assert max(preview.values()) <= 0.2
    for name, scheme in SCHEMES.items():
        assert exact[name] <= (1.0 if scheme.integer else 2.5), name


@pytest.mark.timeout(900)
def test_the_overview_against_histc(checkpoint, report):
    weights = open_weights(checkpoint)

    def histc():
        for name in weights.quantizable:
            torch.histc(weights.read(name).float(), 201)

    told = []
    ways = {"histc": histc, **{name: lambda name=name: list(overview(weights, name, progress=lambda done, of: told.append(done)))
                               for name in ("absmax", "vector-wise", "block-wise", "NF4")}}
    taken = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            begun = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - begun)
    rates = {name: weights.bytes / statistics.median(values) / 1e9 for name, values in taken.items()}
    ratios = {name: rates[name] / rates["histc"] for name in ways if name != "histc"}
    report(histc_gb_per_s=rates["histc"], **{f"{name} over histc": ratio for name, ratio in ratios.items()}, progress_calls=len(told))
    assert told[-1] == weights.bytes
    assert min(ratios.values()) >= 0.6
