"""The three failures have known causes: who collapses and who survives is asserted by wide margins, over several seeds."""

import pytest
import torch

from workbench.errors import WorkbenchError
from workbench.quantization import failures

SEEDS = range(3)


def rest(failure):
    return {effect.scheme: effect.rest_sqnr_db for effect in failures.effects(failure)}


@pytest.mark.parametrize("seed", SEEDS)
def test_an_outlier_weight_row_ruins_the_others_under_one_scale(seed):
    failure = failures.weight_row(seed=seed)
    assert int(failure.magnitudes.argmax()) == failure.outlier
    found = rest(failure)
    assert found["absmax"] < 6 and found["zero-point"] < 8, "the other rows are lost"
    assert found["vector-wise"] > 35 and found["block-wise"] > 35


@pytest.mark.parametrize("seed", SEEDS)
def test_an_outlier_token_ruins_the_others_under_one_scale(seed):
    failure = failures.token(seed=seed)
    assert int(failure.magnitudes.argmax()) == failure.outlier
    found = rest(failure)
    assert found["absmax"] < 6 and found["zero-point"] < 8
    assert found["vector-wise"] > 35


@pytest.mark.parametrize("seed", SEEDS)
def test_an_outlier_feature_ruins_every_other_column_but_for_llm_int8(seed):
    failure = failures.feature(seed=seed)
    assert int(failure.magnitudes.argmax()) == failure.outlier
    found = rest(failure)
    assert found["vector-wise"] < 18 and found["absmax"] < 8
    assert found["LLM.int8()"] > 35
    split, plain = failures.measure(failure, "LLM.int8()"), failures.measure(failure, "vector-wise")
    others = torch.arange(len(plain.errors)) != failure.outlier
    assert float((plain.errors / split.errors)[others].median()) > 10, "nearly every other column suffers"
    assert float(split.errors[failure.outlier]) < 1e-3, "and the outlier itself is as it was"


@pytest.mark.parametrize("kind", failures.KINDS)
def test_the_worse_scheme_and_its_cure_are_named(kind):
    failure = failures.make(kind, seed=5)
    found = rest(failure)
    assert found[failure.cure] > found[failure.fails] + 20
    assert failure.fails in failure.schemes and failure.cure in failure.schemes and failure.sentence


def test_without_an_outlier_nobody_fails():
    for kind in failures.KINDS:
        assert all(value > 35 for value in rest(failures.make(kind, ratio=1.0)).values())


@pytest.mark.parametrize("kind", failures.KINDS)
def test_errors_of_the_parts_are_what_they_say(kind):
    failure = failures.make(kind, tokens=20, d_in=24, d_out=16)
    found = failures.measure(failure, "vector-wise")
    x, w = failure.inputs.double(), failure.weight.double()
    step_x, step_w = x.abs().amax(1, keepdim=True) / 127, w.abs().amax(1, keepdim=True) / 127
    x_back, w_back = torch.round(x / step_x) * step_x, torch.round(w / step_w) * step_w
    exact, back = x @ w.T, x_back @ w_back.T
    assert found.matmul_error == pytest.approx(float((back - exact).norm() / exact.norm()), rel=1e-3)
    if kind == "feature":
        products = [(torch.outer(x_back[:, j], w_back[:, j]), torch.outer(x[:, j], w[:, j])) for j in range(24)]
        expected = torch.stack([(quantized - true).norm() / true.norm() for quantized, true in products])
    else:
        along = 0 if kind == "weight row" else 1
        expected = (back - exact).norm(dim=along) / exact.norm(dim=along)
    assert found.errors.tolist() == pytest.approx(expected.tolist(), rel=1e-2)


def test_an_unknown_failure():
    with pytest.raises(WorkbenchError, match="There is no failure 'bias'"):
        failures.make("bias")
