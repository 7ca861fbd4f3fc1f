"""Quantization-aware training: rounded as quantization after training rounds, to the same logits, with the gradient straight through."""

import pytest
import torch

import workbench as wb
from tests.models import tools
from workbench.models.methods import QAT
from workbench.models.rounding import RoundedLinear, rounded
from workbench.quantization import quantize

IDS = tools.tokens()
SETTINGS = [("absmax", 8), ("absmax", 4), ("zero-point", 8), ("zero-point", 3), ("vector-wise", 8), ("vector-wise", 2), ("block-wise", 4)]


@pytest.mark.parametrize(("scheme", "bits"), SETTINGS)
def test_weights_are_rounded_as_quantization_rounds_them(scheme, bits):
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    weight[3] = 0  # a row of zeros has a scale too
    wanted = quantize(weight, scheme, bits=bits, block=32 if scheme == "block-wise" else None).dequantize()
    torch.testing.assert_close(rounded(weight, bits, scheme, 32), wanted, atol=1e-6, rtol=1e-6)
    assert torch.equal(rounded(torch.zeros(4, 32), bits, scheme, 32), torch.zeros(4, 32))


@pytest.mark.parametrize(("scheme", "bits"), SETTINGS)
def test_what_was_trained_and_quantized_afterwards_has_the_trained_logits(scheme, bits, tmp_path):
    method = QAT(bits=bits, scheme=scheme, block=20)
    model = tools.step(method.apply(wb.load("town-small")[0]), IDS, rate=1e-3)
    trained = tools.logits(model, IDS)
    model.save_pretrained(tmp_path)
    plain, _ = wb.load("town-small")
    plain = wb.load(str(tmp_path))[0]
    unrounded = tools.logits(plain, IDS)
    with torch.no_grad():
        for name, module in plain.named_modules():
            if type(module) is torch.nn.Linear and name != "lm_head":
                module.weight.copy_(quantize(module.weight, scheme, bits=bits, block=20 if scheme == "block-wise" else None).dequantize())
    assert (trained - unrounded).abs().max() > 0.01
    torch.testing.assert_close(tools.logits(plain, IDS), trained, atol=2e-4, rtol=1e-4)


def test_the_gradient_goes_straight_through():
    layer = torch.nn.Linear(32, 8, bias=False)
    layer.__class__, layer.rounding = RoundedLinear, (4, "vector-wise", 64, False)
    inputs = torch.randn(5, 32)
    layer(inputs).square().sum().backward()
    seen = rounded(layer.weight.detach(), 4, "vector-wise")
    # d/dW |x Wᵀ|² = 2 (x Wᵀ)ᵀ x, taken at the rounded weights
    torch.testing.assert_close(layer.weight.grad, 2 * (inputs @ seen.T).T @ inputs)


def test_inputs_are_rounded_by_token_where_asked():
    layer = torch.nn.Linear(32, 8)
    inputs = torch.randn(2, 5, 32)
    inputs[0, 0] *= 50  # an outlier token: the others keep their steps
    layer.__class__, layer.rounding = RoundedLinear, (8, "vector-wise", 64, True)
    by_hand = torch.stack([quantize(token[None], "absmax", bits=8).dequantize()[0] for token in inputs.reshape(-1, 32)]).view_as(inputs)
    torch.testing.assert_close(layer(inputs), torch.nn.functional.linear(by_hand, rounded(layer.weight, 8, "vector-wise"), layer.bias))


def test_settings_are_kept_with_the_weights_and_the_head_is_left_alone(tmp_path):
    method = QAT(bits=4)
    model = method.apply(wb.load("town-small")[0])
    kinds = {name: type(module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    assert kinds.pop("lm_head") is torch.nn.Linear and set(kinds.values()) == {RoundedLinear}
    model.save_pretrained(tmp_path)
    assert wb.load(str(tmp_path))[0].config.quantization_aware == method.to_json()
