"""Every scheme as a formula: the numbers of REFERENCE.md, other settings worked out beside them, and tensors that are awkward."""

import math

import numpy as np
import pytest
import torch

from workbench.errors import DataError, WorkbenchError
from workbench.quantization import SCHEMES, find_scheme, quantize

VECTOR = [1.2, -0.5, -4.3, 1.2, -3.1, 0.8, 2.4, 5.4]
INTEGER = [name for name, scheme in SCHEMES.items() if scheme.integer]


def test_absmax_of_the_reference_vector():
    found = quantize(torch.tensor(VECTOR), "absmax")
    assert float(found.scales) == pytest.approx(23.5185, abs=1e-4)
    assert found.codes.tolist() == [28, -12, -101, 28, -73, 19, 56, 127] and found.codes.dtype == torch.int8
    assert found.zero_points is None


def test_zero_point_of_the_reference_vector():
    found = quantize(torch.tensor(VECTOR), "zero-point")
    assert float(found.scales) == pytest.approx(26.2887, abs=1e-4) and int(found.zero_points) == -15
    assert found.codes.tolist() == [17, -28, -128, 17, -96, 6, 48, 127]


@pytest.mark.parametrize("bits", range(2, 9))
def test_absmax_in_other_numbers_of_bits(bits):
    x = np.array(VECTOR, dtype=np.float32)
    scale = (2 ** (bits - 1) - 1) / 5.4
    found = quantize(torch.from_numpy(x), "absmax", bits=bits)
    assert found.codes.tolist() == np.rint(x * np.float32(scale)).tolist()
    assert found.dequantize().numpy() == pytest.approx(np.rint(x * scale) / scale, rel=1e-6)
    assert found.bits_per_weight == bits + 32 / 8


@pytest.mark.parametrize("bits", range(2, 9))
def test_zero_point_in_other_numbers_of_bits(bits):
    x = np.array(VECTOR, dtype=np.float32)
    scale, least = (2**bits - 1) / (5.4 + 4.3), -(2 ** (bits - 1))
    zero = -np.rint(scale * -4.3) + least
    found = quantize(torch.from_numpy(x), "zero-point", bits=bits)
    assert int(found.zero_points) == zero
    assert found.codes.tolist() == np.clip(np.rint(x * np.float32(scale)) + zero, least, -least - 1).tolist()


def test_zero_point_has_a_code_for_zero_even_where_all_values_are_positive():
    found = quantize(torch.tensor([3.0, 4.0, 5.0]), "zero-point")
    assert int(found.zero_points) == -128 and float(found.scales) == pytest.approx(255 / 5)
    assert found.codes.tolist() == [25, 76, 127], "round(51·x) - 128"


def test_vector_wise_has_a_scale_for_each_row_and_block_wise_for_each_block():
    x = torch.tensor([[1.0, -2.0, 0.5, 0.25], [100.0, 50.0, -25.0, 10.0]])
    rows = quantize(x, "vector-wise")
    assert rows.scales.tolist() == pytest.approx([127 / 2, 127 / 100])
    assert rows.codes.tolist() == [[64, -127, 32, 16], [127, 64, -32, 13]]
    blocks = quantize(x, "block-wise", bits=4, block=2)
    assert blocks.scales.tolist() == pytest.approx([7 / 2, 7 / 0.5, 7 / 100, 7 / 25])
    assert blocks.codes.tolist() == [[4, -7, 7, 4], [7, 4, -7, 3]], "3.5 is rounded to even"


def test_a_block_may_be_left_over():
    x = torch.arange(1.0, 8.0)
    found = quantize(x, "block-wise", block=3)
    assert found.absmax.tolist() == [3, 6, 7] and found.codes.tolist() == [42, 85, 127, 85, 106, 127, 127]
    assert found.bits_per_weight == pytest.approx(8 + 3 * 32 / 7)


@pytest.mark.parametrize(("scheme", "block", "bits"), [
    ("NF4", 64, 4.5), ("NF4", 128, 4.25), ("FP4", 32, 5.0), ("NF4 double", 64, 4 + 8 / 64 + 32 / (64 * 256)),
    ("FP4 double", 128, 4 + 8 / 128 + 32 / (128 * 256)), ("fp16", None, 16), ("bf16", None, 16)])
def test_bits_per_weight(scheme, block, bits):
    assert quantize(torch.ones(256, 256), scheme, block=block).bits_per_weight == pytest.approx(bits)
    if scheme == "NF4 double":
        assert 0.5 + 4 - bits == pytest.approx(0.373, abs=5e-4), "QLoRA, section 3"


def test_measures_are_what_they_say():
    x = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    for name in SCHEMES:
        found = quantize(x, name)
        error = found.dequantize().double() - x.double()
        assert found.mse == pytest.approx(float(error.square().mean()), rel=1e-5)
        assert found.max_error == pytest.approx(float(error.abs().max()), rel=1e-6)
        assert found.sqnr_db == pytest.approx(10 * math.log10(float(x.double().square().sum() / error.square().sum())), abs=1e-4)


@pytest.mark.parametrize("name", INTEGER)
@pytest.mark.parametrize("bits", [4, 8])
def test_no_integer_scheme_errs_by_more_than_half_a_step(name, bits):
    x = torch.randn(40, 70, generator=torch.Generator().manual_seed(1))
    found = quantize(x, name, bits=bits)
    assert found.max_error <= 0.5 / float(found.scales.min()) * (1 + 1e-5)


def test_levels_hold_every_value_a_code_can_stand_for():
    x = torch.randn(6, 64, generator=torch.Generator().manual_seed(2))
    for name in SCHEMES:
        found = quantize(x, name, bits=4)
        back = found.dequantize()
        row = 3 if found.scheme.group in ("row", "block") else None
        levels = found.levels(row)
        gaps = (back[3].flatten()[:, None] - levels).abs().amin(1)
        assert float(gaps.max()) <= 1e-6, name
        assert bool((levels.diff() > 0).all())
    assert len(quantize(x, "absmax", bits=4).levels()) == 15 and len(quantize(x, "zero-point", bits=4).levels()) == 16
    assert len(quantize(x, "NF4").levels()) == 16 and len(quantize(x, "FP4").levels()) == 15, "FP4 has zero twice"
    with pytest.raises(WorkbenchError, match="There is no row 6"):
        quantize(x, "vector-wise").levels(6)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (0, 4), (4, 0), (3, 7), (2, 3, 5), (2, 3, 4, 5)], ids=str)
def test_shapes(name, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    found = quantize(x, name)
    assert found.dequantize().shape == x.shape == found.codes.shape
    if x.numel():
        assert found.sqnr_db > 12
    else:
        assert found.mse == found.max_error == 0 and found.sqnr_db == math.inf


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("value", [0.0, 2.5, -3.0, 1e-30, 1e-42])
def test_a_constant_tensor(name, value):
    x = torch.full((4, 70), value)
    found = quantize(x, name)
    back = found.dequantize()
    assert bool(torch.isfinite(back).all())
    if value == 0 or abs(value) > 1:
        assert back.numpy() == pytest.approx(x.numpy(), rel=1e-6)
    assert found.max_error <= float(x.abs().max())


def test_views_and_16_bit_tensors_and_gradients():
    x = torch.randn(30, 20, generator=torch.Generator().manual_seed(4))
    turned = x.T
    assert torch.equal(quantize(turned, "vector-wise").codes, quantize(turned.contiguous(), "vector-wise").codes)
    assert torch.equal(quantize(x[:, ::2], "NF4").codes, quantize(x[:, ::2].clone(), "NF4").codes)
    half = x.bfloat16()
    found = quantize(half.requires_grad_(), "block-wise")
    assert found.dequantize().dtype == torch.bfloat16 and not found.dequantize().requires_grad
    assert torch.equal(found.codes, quantize(half.detach().float(), "block-wise").codes)
    assert found.dequantize(torch.float32).dtype == torch.float32
    assert quantize(x.double(), "absmax").scales.dtype == torch.float64
    narrow = x.to(torch.float8_e4m3fn)
    assert torch.equal(quantize(narrow, "absmax").dequantize(), quantize(narrow.float(), "absmax").dequantize())


def test_fp16_overflows_and_bf16_does_not():
    x = torch.tensor([1.0, 70000.0])
    assert quantize(x, "fp16").dequantize().tolist() == [1, math.inf] and quantize(x, "fp16").sqnr_db == -math.inf
    assert quantize(x, "bf16").dequantize().tolist() == [1, 70144.0]


def test_a_tensor_is_not_changed():
    for name in SCHEMES:
        x = torch.randn(8, 64, generator=torch.Generator().manual_seed(5))
        before = x.clone()
        quantize(x, name, activations=torch.randn(4, 64) * 5)
        assert torch.equal(x, before)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_counted_and_placed(name, value):
    x = torch.randn(4, 8)
    x[2, 3] = x[3, 1] = value
    with pytest.raises(DataError, match=r"2 values that are NaN or infinite, the first at \[2, 3\]\. Mend"):
        quantize(x, name)


@pytest.mark.parametrize("tensor", [torch.arange(4), torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.int8)])
def test_integers_are_refused(tensor):
    with pytest.raises(DataError, match="only floating point can be quantized"):
        quantize(tensor, "absmax")
    with pytest.raises(DataError, match="is list, not a torch tensor"):
        quantize([1.0], "absmax")


@pytest.mark.parametrize(("given", "name"), [
    ("llm_int8", "LLM.int8()"), ("zeropoint", "zero-point"), ("Zero Point", "zero-point"), ("nf4_double", "NF4 double"), ("ABSMAX", "absmax"),
    ("vector wise", "vector-wise"), ("FP16", "fp16")])
def test_names_are_forgiving(given, name):
    assert find_scheme(given).name == name


@pytest.mark.parametrize(("arguments", "sentence"), [
    (("int9",), "There is no quantization scheme 'int9'. Choose one of fp16"), (("absmax", 9), "absmax cannot use 9 bits"),
    (("absmax", 1), "cannot use 1 bits"),
    (("block-wise", 8, 0), "cannot use blocks of 0 weights"), (("NF4", 4, 2.5), "cannot use blocks of 2.5 weights")])
def test_settings_that_cannot_be(arguments, sentence):
    with pytest.raises(WorkbenchError, match=sentence):
        quantize(torch.ones(4), *arguments)


def test_activations_that_do_not_fit():
    with pytest.raises(DataError, match=r"activations of shape \(4, 7\) cannot be multiplied"):
        quantize(torch.randn(3, 8), "LLM.int8()", activations=torch.randn(4, 7))
    with pytest.raises(WorkbenchError, match="threshold cannot be 0"):
        quantize(torch.randn(3, 8), "LLM.int8()", activations=torch.randn(4, 8), threshold=0)
    with pytest.raises(DataError, match="activations has 1 value that is NaN"):
        quantize(torch.randn(3, 2), "absmax", activations=torch.tensor([[1.0, math.nan]]))


def test_the_outlier_split():
    generator = torch.Generator().manual_seed(6)
    w, x = torch.randn(16, 32, generator=generator), torch.randn(5, 3, 32, generator=generator).clamp(-5, 5)
    x[0, 1, 7], x[2, 2, 20], x[1, 1, 4] = 6.5, -40.0, 6.0
    found = quantize(w, "LLM.int8()", activations=x)
    assert found.outliers.tolist() == [7, 20], "over the threshold, not at it"
    assert torch.equal(found.dequantize()[:, [7, 20]], w[:, [7, 20]].half().float()) and not found.codes[:, [7, 20]].any()
    plain = quantize(w, "vector-wise", activations=x)
    inner = [i for i in range(32) if i not in (7, 20)]
    assert torch.equal(found.codes[:, inner], plain.codes[:, inner])
    assert found.matmul_error < plain.matmul_error / 2
    assert found.bits_per_weight == pytest.approx(8 * 30 / 32 + 16 * 2 / 32 + 32 / 32)
    assert quantize(w, "LLM.int8()", activations=x, threshold=50.0).outliers.tolist() == []
    assert torch.equal(quantize(w, "LLM.int8()").codes, plain.codes), "without activations it is vector-wise"


@pytest.mark.parametrize(("largest", "dtype"), [(65_504.0, torch.float16), (7e4, torch.bfloat16), (3e38, torch.bfloat16)])
def test_an_outlier_column_that_float16_cannot_hold_is_kept_in_bfloat16(largest, dtype):
    w, x = torch.ones(4, 8), torch.ones(2, 8)
    w[1, 3], x[0, 3] = largest, 9.0
    found = quantize(w, "LLM.int8()", activations=x)
    assert found.outliers.tolist() == [3] and found.kept.dtype == dtype
    assert float(found.dequantize()[1, 3]) == pytest.approx(largest, rel=2**-8)


def test_the_error_of_a_product_is_that_of_integers():
    generator = torch.Generator().manual_seed(7)
    w, x = torch.randn(12, 40, generator=generator), torch.randn(9, 40, generator=generator)
    found = quantize(w, "vector-wise", activations=x)
    codes, scales = torch.round(x * (127 / x.abs().amax(1, keepdim=True))).long(), 127 / x.abs().amax(1, keepdim=True)
    product = (codes @ found.codes.long().T).double() / scales.double() / found.scales.double()
    exact = x.double() @ w.double().T
    assert found.matmul_error == pytest.approx(float((product - exact).norm() / exact.norm()), rel=1e-4)
    assert found.matmul_sqnr_db == pytest.approx(-20 * math.log10(found.matmul_error), abs=1e-6)
