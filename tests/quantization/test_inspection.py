"""A tensor looked at: every weight counted, the same numbers as the pure function gives, samples that say they are, and an overview that
streams."""

import numpy as np
import pytest
import torch

from workbench.errors import DataError
from workbench.quantization import SCHEMES, inspect, open_weights, overview, passes, quantize
from workbench.quantization.coders import Coder
from workbench.quantization.counting import count


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(120, 200, generator=generator) * 0.02
    return {"w32": w, "w16": w.bfloat16(), "half": w.half(), "narrow": w.to(torch.float8_e4m3fn),
            "ragged": torch.randn(77, generator=generator),
            "none": torch.empty(0, 4), "zeros": torch.zeros(4, 4), "steps": torch.arange(5)}


@pytest.fixture
def small_pieces(monkeypatch):
    """Many pieces, and a rest, in a small tensor."""
    monkeypatch.setattr(passes, "PIECE", 1000)


@pytest.mark.parametrize("name", ["w32", "w16", "half", "ragged"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_exact_numbers_are_those_of_quantize(weights, small_pieces, scheme, name):
    x = weights[name].float()
    found, expected = inspect(weights, name, scheme), quantize(weights[name], scheme)
    assert found.exact and found.elements == x.numel() and found.rows is None
    assert (found.sqnr_db, found.mse) == pytest.approx((expected.sqnr_db, expected.mse), rel=1e-5)
    assert found.max_error == pytest.approx(expected.max_error, rel=1e-6) and found.bits_per_weight == expected.bits_per_weight
    assert found.absmax == float(x.abs().max()) == found.edges[-1]
    assert found.counts.sum() == found.error_counts.sum() == x.numel()
    assert found.error_edges[-1] >= found.max_error, "no error lies outside"
    rows = x.abs().view(len(x) if x.dim() > 1 else 1, -1).amax(1)
    assert found.row_absmax.tolist() == rows.tolist()
    if expected.absmax is not None:
        assert found.scaled_counts.sum() == x.numel() and len(found.levels) == len(expected.levels())
    else:
        assert found.scaled_counts is None


@pytest.mark.parametrize("scheme", ["zero-point", "vector-wise", "NF4", "bf16"])
@pytest.mark.parametrize("name", ["w32", "w16", "half"])
def test_histograms_are_numpys(weights, small_pieces, scheme, name):
    x = weights[name].float()
    found, error = inspect(weights, name, scheme), quantize(weights[name], scheme).dequantize(torch.float32) - x
    theirs = np.histogram(x.double().numpy(), found.edges)[0]
    if name == "w32":
        assert np.abs(np.cumsum(theirs - found.counts)).max() <= 2, "a weight on an edge may lie on either side"
    else:
        assert theirs.tolist() == found.counts.tolist(), "65,536 values are counted exactly"
    shifted = np.cumsum(np.histogram(error.double().numpy(), found.error_edges)[0] - found.error_counts)
    # A 16-bit error often lies on an edge to the last bit of a float.
    assert np.abs(shifted).max() <= 0.002 * x.numel()


def test_the_scaled_histogram_has_each_blocks_largest_at_its_ends(weights):
    found = inspect(weights, "w32", "NF4", block=200)
    assert found.scaled_edges[0] == -1 and found.scaled_edges[-1] == 1
    assert found.scaled_counts[0] + found.scaled_counts[-1] >= 120
    assert found.levels.tolist() == quantize(torch.ones(1), "NF4").levels().tolist()


def test_eight_bit_floats_empty_tensors_and_zeros(weights):
    narrow = inspect(weights, "narrow", "vector-wise")
    assert narrow.dtype == "float8_e4m3fn"
    assert narrow.sqnr_db == pytest.approx(quantize(weights["narrow"].float(), "vector-wise").sqnr_db, abs=1e-4)
    for scheme in SCHEMES:
        assert inspect(weights, "none", scheme).counts.sum() == 0
        assert inspect(weights, "zeros", scheme).max_error == 0


def test_a_sample_says_that_it_is_one(weights):
    found = inspect(weights, "w32", "vector-wise", sample=30 * 200, seed=1)
    assert not found.exact and found.elements == 6000 and found.shape == (120, 200)
    assert found.sqnr_db == pytest.approx(quantize(weights["w32"][found.rows], "vector-wise").sqnr_db, abs=1e-4)
    assert found.row_absmax.tolist() == weights["w32"][found.rows].abs().amax(1).tolist()
    assert inspect(weights, "w32", "vector-wise", sample=10**6).exact, "no larger than the sample"


def test_outlier_columns_are_told(weights):
    x = torch.randn(20, 200, generator=torch.Generator().manual_seed(3))
    x[:, 11] *= 30
    found, expected = inspect(weights, "w32", "LLM.int8()", activations=x), quantize(weights["w32"], "LLM.int8()", activations=x)
    assert found.outliers.tolist() == expected.outliers.tolist() == [11]
    assert (found.matmul_error, found.sqnr_db) == pytest.approx((expected.matmul_error, expected.sqnr_db), rel=1e-5)
    assert inspect(weights, "w32", "vector-wise", activations=x).outliers is None


def test_progress_counts_to_the_end_and_can_stop_the_work(weights, small_pieces):
    seen = []
    for name, scheme in (("w32", "block-wise"), ("w16", "NF4 double"), ("half", "absmax")):
        seen.clear()
        inspect(weights, name, scheme, progress=lambda done, of: seen.append((done, of)))
        assert seen[-1] == (24_000, 24_000) and len(seen) > 20 and seen == sorted(seen)

    class Enough(Exception):
        pass

    def stop(done, of):
        if done > 5000:
            raise Enough

    for name, scheme in (("w32", "NF4"), ("w16", "absmax")):
        with pytest.raises(Enough):
            inspect(weights, name, scheme, progress=stop)


def test_the_overview_streams_and_adds_up(weights):
    seen = []
    names = ["w32", "w16", "ragged"]
    rows = overview(weights, "NF4", names=names, progress=lambda done, of: seen.append((done, of)))
    first = next(rows)
    assert first.name == "w32" and seen[-1][0] == 24_000 * 4, "the second tensor has not been looked at"
    rest = list(rows)
    assert [row.name for row in rest] == names[1:] and seen[-1] == (24_000 * 6 + 77 * 4,) * 2
    for row in (first, *rest):
        expected = quantize(weights[row.name], "NF4")
        assert row.sqnr_db == pytest.approx(expected.sqnr_db, abs=1e-4) and row.histogram.sum() == weights[row.name].numel()
    assert (first.bytes_before, first.bytes_after) == (96_000, 24_000 * 4.5 / 8)
    assert [row.name for row in overview(weights, "absmax")] == open_weights(weights).quantizable


def test_what_cannot_be_looked_at(weights):
    with pytest.raises(DataError, match="steps holds int64, and only floating point"):
        inspect(weights, "steps", "absmax")
    weights["w16"][3, 4] = torch.nan
    for scheme in SCHEMES:
        with pytest.raises(DataError, match=r"w16 has 1 value that is NaN or infinite, the first at \[3, 4\]"):
            inspect(weights, "w16", scheme)
    with pytest.raises(DataError, match="has no tensor 'w33'"):
        list(overview(weights, "absmax", names=["w33"]))


def test_one_walk_is_enough_for_16_bits(weights, monkeypatch):
    """Per-tensor schemes code each different value once, however large the tensor is."""
    seen = []
    kept = passes.coded
    monkeypatch.setattr(passes, "coded", lambda tensor, *rest: seen.append(tensor.numel()) or kept(tensor, *rest))
    found = count(weights["w16"], Coder.of("absmax"), "w16", 51)
    assert seen == [len(weights["w16"].unique())] and found.measures.count == 24_000
