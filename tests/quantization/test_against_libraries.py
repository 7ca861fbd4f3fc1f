"""Each scheme against the library that is trusted for it: bitsandbytes for NF4, FP4, double quantization and int8, torch's own fake
quantization for the rest."""

import pytest
import torch

from workbench.quantization import books, quantize

functional = pytest.importorskip("bitsandbytes.functional")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def weight(dtype=torch.float32, shape=(96, 333), seed=0):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.02).to(dtype)


def unpacked(packed, count):
    return torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1).flatten()[:count]


@pytest.mark.parametrize("book", ["nf4", "fp4"])
def test_code_books(book):
    assert torch.equal(books.values(book), functional.get_4bit_type(book, device="cpu"))
    assert torch.equal(books.dynamic(), functional.create_dynamic_map())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("book", ["nf4", "fp4"])
@pytest.mark.parametrize("block", [32, 64, 4096])
def test_four_bits_to_the_last_bit(book, block, dtype):
    w = weight(dtype)
    packed, state = functional.quantize_4bit(w, blocksize=block, quant_type=book)
    found = quantize(w, book, block=block)
    assert torch.equal(found.codes.flatten(), unpacked(packed, w.numel()))
    assert torch.equal(found.scales, state.absmax) and torch.equal(found.absmax, state.absmax)
    assert torch.equal(found.dequantize(), functional.dequantize_4bit(packed, state))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("book", ["nf4", "fp4"])
@pytest.mark.parametrize("shape", [(128, 512), (96, 333), (3, 5)], ids=str)
def test_double_quantization_to_the_last_bit(book, shape, dtype):
    w = weight(dtype, shape)
    packed, state = functional.quantize_4bit(w, blocksize=64, quant_type=book, compress_statistics=True)
    found = quantize(w, f"{book} double")
    assert torch.equal(found.codes.flatten(), unpacked(packed, w.numel()))
    assert torch.equal(found.nested.codes, state.absmax) and torch.equal(found.nested.scales, state.state2.absmax)
    assert torch.equal(found.nested.offset, state.offset)
    assert torch.equal(found.dequantize(), functional.dequantize_4bit(packed, state))


@pytest.mark.parametrize("book", ["nf4", "fp4"])
def test_values_on_and_beside_every_boundary(book):
    midpoints = books.bounds(book)[0]
    shares = torch.cat([torch.tensor([1.0]), midpoints, torch.nextafter(midpoints, torch.ones(15)),
                        torch.nextafter(midpoints, -torch.ones(15)), torch.tensor([0.0, -0.0, -1.0])])
    x = torch.nn.functional.pad(shares, (0, 64 - len(shares)))
    packed, _ = functional.quantize_4bit(x, blocksize=64, quant_type=book)
    assert torch.equal(quantize(x, book).codes, unpacked(packed, 64))


@pytest.mark.parametrize("book", ["nf4", "fp4"])
def test_the_quick_search_is_the_binary_one(book):
    shares = torch.linspace(-1, 1, 400_001)
    edges = books.bounds(book)[0]
    shares = torch.cat([shares, edges, torch.nextafter(edges, torch.ones(15)), torch.tensor([1 + 1e-7, -1 - 1e-7])])
    expected = torch.bucketize(shares, edges)
    assert torch.equal(books.places(shares, book).long(), expected)
    assert torch.equal(books.nearest(shares, book), books.ascending(book)[expected])
    assert torch.equal(books.nearest(shares.double(), book), books.ascending(book).double()[torch.bucketize(shares.double(), edges.double())])


@pytest.mark.parametrize("rows", [1, 96])
def test_vector_wise_to_the_last_bit(rows):
    w = weight(torch.float16, (rows, 333))
    codes, absmax, _ = functional.int8_vectorwise_quant(w.clone())
    found = quantize(w, "vector-wise")
    assert torch.equal(found.codes, codes) and torch.equal(found.absmax, absmax)
    expected = functional.int8_vectorwise_dequant(codes, absmax)
    assert torch.allclose(found.dequantize(torch.float32), expected.float(), rtol=1e-5), "theirs multiplies by a rounded 1/127"


def test_llm_int8_product():
    generator = torch.Generator().manual_seed(1)
    w, x = torch.randn(48, 64, generator=generator), torch.randn(20, 64, generator=generator).clamp(-5, 5)
    x[:, 9] = x[:, 9].sign() * 20  # whole column: theirs lets its small values into a token's scale, the paper takes the column out
    x_codes, x_absmax, columns = functional.int8_vectorwise_quant(x.half(), threshold=6.0)
    found = quantize(w.half(), "LLM.int8()", activations=x.half())
    assert found.outliers.tolist() == columns.tolist() == [9]
    w_codes, w_absmax, _ = functional.int8_vectorwise_quant(w.half())
    inner = functional.int8_mm_dequant(functional.int8_linear_matmul(x_codes, w_codes), x_absmax, w_absmax).float()
    theirs = inner + x.half().float()[:, columns] @ w.half().float()[:, columns].T
    exact = x.half().float() @ w.half().float().T
    error = float((theirs - exact).norm() / exact.norm())
    assert found.matmul_error == pytest.approx(error, rel=0.05), "theirs rounds the product to fp16"


@pytest.mark.parametrize("block", [64, 256])
def test_block_wise_int8_is_theirs_with_a_linear_code(block):
    w = weight(shape=(64, 320))
    code = torch.cat([torch.tensor([-1.0]), torch.arange(-127, 128) / 127])
    theirs, state = functional.quantize_blockwise(w, code=code, blocksize=block)
    found = quantize(w, "block-wise", block=block)
    assert torch.equal(found.absmax, state.absmax)
    # Theirs rounds to 65,536 steps first, so a value within one of them of a boundary may go to either side.
    shifts = (theirs.int() - 128 - found.codes.int()).abs()
    assert int(shifts.max()) <= 1 and float((shifts > 0).float().mean()) < 0.01


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_absmax_and_zero_point_are_torchs_fake_quantization(bits):
    w = weight(shape=(50, 70)) + 0.005
    top = 2 ** (bits - 1) - 1
    symmetric, affine = quantize(w, "absmax", bits=bits), quantize(w, "zero-point", bits=bits)
    assert torch.allclose(torch.fake_quantize_per_tensor_affine(w, 1 / float(symmetric.scales), 0, -top, top), symmetric.dequantize(),
                          rtol=1e-5)
    theirs = torch.fake_quantize_per_tensor_affine(w, 1 / float(affine.scales), int(affine.zero_points), -top - 1, top)
    assert torch.allclose(theirs, affine.dequantize(), rtol=1e-5)


def test_zero_point_is_torchs_observer():
    observers = pytest.importorskip("torch.ao.quantization.observer")
    for shift in (0.0, 0.1, -0.3):
        w = weight() + shift
        observer = observers.MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_affine, quant_min=-128, quant_max=127)
        observer(w)
        step, zero = observer.calculate_qparams()
        found = quantize(w, "zero-point")
        assert float(found.scales) == pytest.approx(1 / float(step), rel=1e-6) and int(found.zero_points) == int(zero)


@pytest.mark.parametrize("shape", [(50, 70), (6, 4, 3, 3)], ids=str)
@pytest.mark.parametrize("bits", [4, 8])
def test_vector_wise_is_torchs_fake_quantization_by_channel(shape, bits):
    w = weight(shape=shape)
    top = 2 ** (bits - 1) - 1
    found = quantize(w, "vector-wise", bits=bits)
    theirs = torch.fake_quantize_per_channel_affine(w, 1 / found.scales, torch.zeros(shape[0], dtype=torch.int32), 0, -top, top)
    assert torch.allclose(theirs, found.dequantize(), rtol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_block_wise_is_torchs_fake_quantization_by_block(bits):
    w = weight(shape=(32, 96))
    top = 2 ** (bits - 1) - 1
    found = quantize(w, "block-wise", bits=bits, block=32)
    theirs = torch.fake_quantize_per_channel_affine(w.view(-1, 32), 1 / found.scales, torch.zeros(96, dtype=torch.int32), 0, -top, top)
    assert torch.allclose(theirs.view(32, 96), found.dequantize(), rtol=1e-5)
