"""Singular values from the factors against the full SVD of the formed ΔW; energy ranks and subspaces against their definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.adapters import tools
from workbench.adapters import energy_ranks, open_adapter, similarity, spectrum
from workbench.adapters.spectra import frame
from workbench.errors import WorkbenchError


def of_matrix(table: pd.DataFrame, layer: int, module: str) -> np.ndarray:
    return table[(table["layer"] == layer) & (table["module"] == module)]["singular_value"].to_numpy()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("rank", [1, 4, 20])  # 20 is more than the matrices have
def test_singular_values_agree_with_a_full_svd_of_the_formed_update(tmp_path, kind, rank):
    model = tools.adapted(tools.tiny(kind), r=rank, lora_alpha=3)
    table = spectrum(tools.saved(model, tmp_path))
    updates = tools.deltas(model)
    assert len(table.attrs["names"]) == len(updates)
    for (layer, module), name in table.attrs["names"].items():
        full = torch.linalg.svdvals(updates[name]).numpy()
        found = of_matrix(table, layer, module)
        assert len(found) == min(rank, *updates[name].shape)
        assert np.abs(found - full[:len(found)]).max() <= 1e-5 * full[0]
        assert table.attrs["norms"][layer, module] == pytest.approx(np.linalg.norm(full), rel=1e-5)
        assert table.attrs["shapes"][layer, module] in (tuple(updates[name].shape), tuple(updates[name].shape)[::-1])


def test_values_that_differ_by_ten_orders_of_magnitude_agree_too(tmp_path):
    """One direction 1e10 times the other: squaring the factors would lose the small one in rounding."""
    a = torch.zeros(2, 6)
    a[0, 0], a[1, 1] = 1e5, 1e-5
    save_file({"layers.0.q.lora_A.weight": a, "layers.0.q.lora_B.weight": torch.eye(4)[:, :2].contiguous()}, tmp_path / "own.safetensors")
    assert of_matrix(spectrum(tmp_path / "own.safetensors"), 0, "q") == pytest.approx([1e5, 1e-5], rel=1e-6)


def test_the_table_is_one_line_a_direction_with_the_largest_first(tmp_path):
    table = spectrum(tools.saved(tools.adapted(tools.tiny()), tmp_path))
    assert list(table.columns) == ["layer", "module", "index", "singular_value"]
    for _, lines in table.groupby(["layer", "module"]):
        assert lines["index"].tolist() == [1, 2, 3, 4] and lines["singular_value"].is_monotonic_decreasing
    assert sorted(table["module"].unique()) == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


def test_an_untrained_adapter_has_no_update_and_a_diverged_one_is_refused(tmp_path):
    model = tools.adapted(tools.tiny(), target_modules=["q_proj"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    folder = tools.saved(model, tmp_path)
    ranks = energy_ranks(spectrum(folder))
    assert (ranks[["rank", "r90", "r99", "norm"]] == 0).all(axis=None)
    with pytest.raises(WorkbenchError, match="is zero"):
        similarity(folder, folder, 0, "q_proj", of="output")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors[next(iter(tensors))][0, 0] = float("nan")
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(WorkbenchError, match="not finite"):
        spectrum(folder)


def test_energy_ranks_by_hand():
    """Squares 9, 0.9, 0.09, 0.01 of 10 in all: 90 % after one, 99 % after two, 99.9 % after three, all after four."""
    table = frame({(0, "q"): [3.0, 0.9**0.5, 0.3, 0.1], (1, "q"): [0.0, 0.0]}, shapes={(0, "q"): (4, 4), (1, "q"): (4, 4)})
    ranks = energy_ranks(table, (0.9, 0.99, 0.999, 1.0))
    assert ranks[["r90", "r99", "r99.9", "r100"]].to_numpy().tolist() == [[1, 2, 3, 4], [0, 0, 0, 0]]
    assert ranks["rank"].tolist() == [4, 0] and ranks["norm"].tolist() == pytest.approx([10**0.5, 0])
    with pytest.raises(WorkbenchError, match="share"):
        energy_ranks(table, (90,))


def test_a_share_beyond_the_values_listed_is_not_known():
    table = frame({(0, "q"): [3.0, 1.0]}, norms={(0, "q"): 5.0})  # 10 of 25
    ranks = energy_ranks(table, (0.36, 0.4, 0.5))
    assert ranks["r36"].tolist() == [1] and ranks["r40"].tolist() == [2] and ranks["r50"].isna().all()


@pytest.mark.parametrize("of", ["A", "B", "input", "output"])
def test_an_adapter_shares_everything_with_itself(tmp_path, of):
    folder = tools.saved(tools.adapted(tools.tiny()), tmp_path)
    phi = similarity(folder, open_adapter(folder), 1, "up_proj", of=of)
    assert phi.shape == (4, 4) and phi == pytest.approx(np.ones((4, 4)))  # spans of one order are nested, so every entry is 1
    assert similarity(folder, folder, 1, "up_proj", most=2).shape == (2, 2)


def written(path, a):
    save_file({"layers.0.q.lora_A.weight": a, "layers.0.q.lora_B.weight": torch.eye(a.shape[0])}, path)
    return path


def test_orthogonal_adapters_share_nothing_and_known_angles_come_out(tmp_path):
    unit = torch.eye(6)
    first = written(tmp_path / "first.safetensors", unit[:2] * torch.tensor([[2.0], [1.0]]))
    other = written(tmp_path / "other.safetensors", unit[2:4].contiguous())
    assert similarity(first, other, 0, "q") == pytest.approx(np.zeros((2, 2)), abs=1e-12)
    # the first of three directions turned by 60° out of the span: cos² 60° = 1/4; the second one is shared; the third is not
    turned = torch.stack([3 * (0.5 * unit[0] + 0.75**0.5 * unit[3]), 2 * unit[1], unit[4]])
    by_hand = np.array([[1 / 4, 1 / 4, 1 / 4], [1 / 4, 5 / 4 / 2, 5 / 4 / 2]])
    assert similarity(first, written(tmp_path / "turned.safetensors", turned), 0, "q") == pytest.approx(by_hand, abs=1e-6)


def test_random_spans_share_as_much_as_chance_has_it(tmp_path):
    """E φ(i, j) = i · j / d / min(i, j) = max(i, j) / d for independent spans in d dimensions; 40 pairs, so the mean lies within 5 standard
    errors."""
    generator, d = torch.Generator().manual_seed(3), 64
    found = []
    for number in range(40):
        pair = [written(tmp_path / f"{number}-{side}.safetensors", torch.randn(rank, d, generator=generator)) for side, rank in (("a", 4), ("b", 8))]
        found.append(similarity(*pair, 0, "q"))
    found = np.array(found)
    expected = np.maximum.outer(np.arange(1, 5), np.arange(1, 9)) / d
    error = found.std(axis=0, ddof=1) / 40**0.5
    assert (np.abs(found.mean(axis=0) - expected) < 5 * error).all()
    assert found.min() >= 0 and found.max() <= 1


def test_similarity_refuses_what_cannot_be_compared(tmp_path):
    first, second = written(tmp_path / "a.safetensors", torch.eye(4)[:2].contiguous()), written(tmp_path / "b.safetensors", torch.eye(6)[:2].contiguous())
    with pytest.raises(WorkbenchError, match="4 dimensions in one and 6"):
        similarity(first, second, 0, "q")
    with pytest.raises(WorkbenchError, match="no directions of 'C'"):
        similarity(first, first, 0, "q", of="C")
    with pytest.raises(WorkbenchError, match="At most 0"):
        similarity(first, first, 0, "q", most=0)
