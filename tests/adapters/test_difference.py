"""Tuned minus base: the randomised decomposition against the exact one, its bounds, sharded files, memory, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.adapters import tools
from workbench.adapters import difference, energy_ranks
from workbench.errors import WorkbenchError


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def spread(seed: int, rows: int, columns: int, power: float) -> torch.Tensor:
    """A matrix whose singular values fall as index ** -power."""
    left, right = (torch.linalg.qr(random(seed + number, size, min(rows, columns)))[0] for number, size in enumerate((rows, columns)))
    return left * torch.arange(1, min(rows, columns) + 1) ** -power @ right.T


def pair(folder, changes: dict[str, torch.Tensor], dtype=torch.float32):
    for name in ("base", "tuned"):
        (folder / name).mkdir(parents=True)
    base = {name: random(99, *change.shape) for name, change in changes.items()}
    save_file({name: weight.to(dtype) for name, weight in base.items()}, folder / "base" / "model.safetensors")
    save_file({name: weight.to(dtype) + changes[name].to(dtype) for name, weight in base.items()}, folder / "tuned" / "model.safetensors")
    return folder / "tuned", folder / "base"


def exact(folder, name):
    from safetensors.torch import load_file

    tuned, base = (load_file(folder / part / "model.safetensors")[name].double() for part in ("tuned", "base"))
    return torch.linalg.svdvals((tuned - base).flatten(1)).numpy()


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])  # from no structure at all to an update of a few directions
def test_true_values_lie_between_the_two_bounds(tmp_path, power):
    shapes = {"model.layers.0.up.weight": (700, 600), "model.layers.0.down.weight": (600, 700), "model.layers.1.up.weight": (120, 90)}
    pair(tmp_path, {name: spread(number, *shape, power) for number, (name, shape) in enumerate(shapes.items())})
    table = difference(tmp_path / "tuned", tmp_path / "base", rank=20)
    assert table.attrs["shapes"] == {(0, "up"): (700, 600), (0, "down"): (600, 700), (1, "up"): (120, 90)}
    for place, name in table.attrs["names"].items():
        lines = table[(table["layer"] == place[0]) & (table["module"] == place[1])]
        true = exact(tmp_path, f"{name}.weight")
        slack = 1e-13 * true[0]  # of the decomposition in float64 that this is held against
        assert len(lines) == 20 and (lines["singular_value"] <= true[:20] + slack).all() and (true[:20] <= lines["upper"] + slack).all()
        assert table.attrs["norms"][place] == pytest.approx(np.linalg.norm(true), rel=1e-5)
        # the bound is one of ‖D − D̂‖, which is at least the first value that no 30 directions can hold, and it says something: it is below the whole
        assert true[30] - slack <= table.attrs["error_bound"][place] + (place == (1, "up")) * true[30]
        assert table.attrs["error_bound"][place] < np.linalg.norm(true)
    if power == 2.0:
        large = table[table["module"] == "down"]["singular_value"].to_numpy()
        assert np.abs(large - exact(tmp_path, "model.layers.0.down.weight")[:20]).max() <= 1e-5 * large[0]
        assert float(table.attrs["sentence"].split("at most ")[1].split(" %")[0]) < 5


@pytest.mark.parametrize(("large", "small"), [(14, 1e-4), (14, 1e-6), (12, 1e-9), (30, 1e-3)])
def test_beyond_a_cliff_the_bound_still_is_one(tmp_path, large, small):
    """Values of 1, then six far below: subtracting the found ones from ‖D‖² leaves their squares to rounding."""
    left, right = (torch.linalg.qr(random(seed, 600, large + 6).double())[0] for seed in (1, 2))
    change = (left * torch.tensor([1.0] * large + [small] * 6, dtype=torch.float64)) @ right.T
    for name, weight in (("base", torch.zeros(600, 600, dtype=torch.float64)), ("tuned", change)):
        (tmp_path / name).mkdir()
        save_file({"layers.0.up.weight": weight}, tmp_path / name / "model.safetensors")
    true = exact(tmp_path, "layers.0.up.weight")
    table = difference(tmp_path / "tuned", tmp_path / "base", rank=4)
    assert table.attrs["error_bound"][0, "up"] >= true[14], "no 14 directions hold more"
    # the directions were looked for in float32, so it cannot be below that
    least = max(np.linalg.norm(true[14:]), 2**-23 * np.linalg.norm(true))
    assert table.attrs["error_bound"][0, "up"] <= 100 * least, "and it says something"
    assert (table["singular_value"] <= true[:4]).all() and (true[:4] <= table["upper"]).all()
    assert table["singular_value"].to_numpy() == pytest.approx(true[:4], rel=1e-6)


def test_a_wide_matrix_of_few_rows_lies_between_the_two_bounds(tmp_path):
    pair(tmp_path, {"layers.0.up.weight": spread(3, 40, 8000, 0.3)})
    true, table = exact(tmp_path, "layers.0.up.weight"), difference(tmp_path / "tuned", tmp_path / "base")
    assert len(table) == 40 and (table["singular_value"] <= true).all() and (true <= table["upper"]).all()


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_random_state(tmp_path):
    pair(tmp_path, {"layers.0.up.weight": random(1, 600, 600)})
    before = torch.get_rng_state()
    first, again = (difference(tmp_path / "tuned", tmp_path / "base", rank=8, seed=5) for _ in range(2))
    assert first.equals(again) and torch.equal(before, torch.get_rng_state())


def test_sharded_and_half_precision_models_and_unchanged_matrices(tmp_path):
    change = spread(1, 40, 30, 1.0)
    changes = {"layers.0.q.weight": change, "layers.0.k.weight": torch.zeros(40, 30), "layers.0.norm.weight": torch.ones(40)}
    tuned, base = pair(tmp_path, changes, torch.bfloat16)
    true = exact(tmp_path, "layers.0.q.weight")
    from safetensors.torch import load_file

    tensors = load_file(tuned / "model.safetensors")
    (tuned / "model.safetensors").unlink()
    shards = {name: f"model-{number}-of-3.safetensors" for number, name in enumerate(tensors, start=1)}
    for name, shard in shards.items():
        save_file({name: tensors[name]}, tuned / shard)
    (tuned / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    table = difference(tuned, base)
    assert table[table["module"] == "q"]["singular_value"].to_numpy() == pytest.approx(true, abs=1e-5 * true[0])
    assert (table[table["module"] == "k"]["singular_value"] == 0).all() and len(table) == 60  # the vector is no matrix
    assert energy_ranks(table).set_index("module").loc["k", "r90"] == 0


def test_a_merged_adapter_has_the_adapters_own_spectrum(tmp_path):
    from workbench.adapters import spectrum

    base = tools.tiny()
    base.save_pretrained(tmp_path / "base")
    model = tools.adapted(base)
    of_factors = spectrum(tools.saved(model, tmp_path / "adapter"))
    model.merge_and_unload().save_pretrained(tmp_path / "tuned")
    table = difference(tmp_path / "tuned", tmp_path / "base")
    for place, name in of_factors.attrs["names"].items():
        found, expected = (t[(t["layer"] == place[0]) & (t["module"] == place[1])]["singular_value"].to_numpy() for t in (table, of_factors))
        assert table.attrs["names"][place] == name
        assert np.abs(found[:4] - expected).max() <= 1e-5 * expected[0]
        assert (found[4:] <= 1e-5 * expected[0]).all()
    assert (table[table["module"] == "embed_tokens"]["singular_value"] == 0).all()


def test_progress_is_told_and_what_it_raises_stops_the_work(tmp_path):
    tuned, base = pair(tmp_path, {f"layers.{n}.q.weight": torch.ones(4, 4) for n in range(3)})
    told: list[tuple[int, int]] = []
    difference(tuned, base, progress=lambda *now: told.append(now))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def cancel(done: int, of: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        difference(tuned, base, progress=cancel)


WATCHED = """
import sys, threading
import torch
from workbench.adapters import difference

def own():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) * 1024

def watch():
    while not ended.wait(0.001):
        most.append(own())

torch.svd_lowrank(torch.randn(64, 64), q=8)  # what libraries set up once
before, most, ended = own(), [], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
difference(*sys.argv[1:], rank=2)
ended.set()
watcher.join()
print(max(most) - before)
"""
"""Prints the most memory the difference took that no file stands behind: mapped pages of the models are not counted."""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own memory from mapped files")
def test_memory_is_that_of_about_one_matrix_however_many_there_are(tmp_path):
    shape = (2048, 4096)
    tuned, base = pair(tmp_path, {f"layers.{n}.up.weight": random(n, *shape) for n in range(6)}, torch.bfloat16)
    done = subprocess.run([sys.executable, "-c", WATCHED, str(tuned), str(base)], check=False, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))})
    assert done.returncode == 0, done.stderr
    matrix = 4 * shape[0] * shape[1]
    assert matrix < int(done.stdout) < 2 * matrix


def test_refusals(tmp_path):
    tuned, base = pair(tmp_path, {"layers.0.q.weight": torch.ones(4, 4)})
    other, _ = pair(tmp_path / "other", {"layers.0.q.weight": torch.ones(4, 5), "layers.0.r.weight": torch.ones(2, 2)})
    with pytest.raises(WorkbenchError, match="no matrix in common"):
        difference(other, base)
    wider, narrow = pair(tmp_path / "wider", {"layers.0.q.weight": torch.ones(4, 4), "embed.weight": torch.ones(9, 4)})
    save_file({"layers.0.q.weight": torch.ones(4, 4), "embed.weight": torch.ones(8, 4)}, narrow / "model.safetensors")
    assert "embed.weight is 9 × 4 in the tuned model and 8 × 4" in difference(wider, narrow).attrs["notes"][0]
    adapter = tools.saved(tools.adapted(tools.tiny()), tmp_path / "adapter")
    with pytest.raises(WorkbenchError, match="holds an adapter"):
        difference(adapter, base)
    with pytest.raises(WorkbenchError, match="no model.safetensors"):
        difference(tmp_path, base)
    with pytest.raises(WorkbenchError, match="There is no"):
        difference(tuned, "town")
    with pytest.raises(WorkbenchError, match="rank of 0"):
        difference(tuned, base, rank=0)
    save_file({"layers.0.q.weight": torch.full((4, 4), float("inf"))}, tuned / "model.safetensors")
    with pytest.raises(WorkbenchError, match="not finite"):
        difference(tuned, base)
