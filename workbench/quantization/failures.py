"""Three ways in which quantization fails, each made small with a known cause, and what each scheme makes of it.

An outlier in one weight row ruins every other row under one scale for the tensor; an outlier token ruins every other token under one scale
for the activations; an outlier feature ruins every other column even with a scale for each token, and is what LLM.int8() was made for
(arXiv 2208.07339, section 3).

Shapes: X (tokens × d_in), W (d_out × d_in), Y = X·Wᵀ (tokens × d_out).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.errors import WorkbenchError
from workbench.quantization.passes import ratio_db
from workbench.quantization.products import outlier_columns, quantize_inputs
from workbench.quantization.quantized import quantize
from workbench.quantization.schemes import Scheme

KINDS = ("weight row", "token", "feature")

_FAILS = {"weight row": "absmax", "token": "absmax", "feature": "vector-wise"}
_CURE = {"weight row": "vector-wise", "token": "vector-wise", "feature": "LLM.int8()"}
_RELEVANT = {"weight row": ("absmax", "zero-point", "vector-wise", "block-wise"), "token": ("absmax", "zero-point", "vector-wise"),
             "feature": ("absmax", "zero-point", "vector-wise", "LLM.int8()")}
_SENTENCE = {
    "weight row": "One row of the weight is far larger than the rest. With one scale for the tensor the others fall into a few codes; "
                  "a scale for each row keeps them apart.",
    "token": "One token's activations are far larger than the rest. With one scale for all the other tokens fall into a few codes; "
             "a scale for each token keeps them apart.",
    "feature": "One feature is far larger than the rest in every token. A scale for each token must hold it, and every other column pays; "
               "LLM.int8() takes it out in 16 bits.",
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Failure:
    """A weight and its inputs with one outlier."""

    kind: str
    """One of `KINDS`."""
    weight: Tensor
    inputs: Tensor
    outlier: int
    """Which row, token or feature it is."""
    ratio: float
    """How many times larger it is than its neighbours."""

    @property
    def sentence(self) -> str:
        return _SENTENCE[self.kind]

    @property
    def fails(self) -> str:
        """The scheme that collapses."""
        return _FAILS[self.kind]

    @property
    def cure(self) -> str:
        """The scheme that does not."""
        return _CURE[self.kind]

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes worth setting beside each other."""
        return _RELEVANT[self.kind]

    @property
    def magnitudes(self) -> Tensor:
        """(n,) the largest magnitude of each row, token or feature."""
        if self.kind == "weight row":
            return self.weight.abs().amax(1)
        return self.inputs.abs().amax(1 if self.kind == "token" else 0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Effect:
    """What one scheme makes of a failure."""

    scheme: str
    matmul_error: float
    """‖Y - quantized‖ / ‖Y‖. An outlier is much of ‖Y‖ itself, so this can look harmless while the rest is lost."""
    matmul_sqnr_db: float
    rest_error: float
    """The same over all but the outlier: other output rows, other tokens, or the sum over other features."""
    rest_sqnr_db: float
    errors: Tensor
    """(n,) the error of each part as a share of its own signal: of each output row, each token, or each feature's own product with its
    weights."""


def make(kind: str, ratio: float = 100.0, tokens: int = 128, d_in: int = 256, d_out: int = 128, seed: int = 0) -> Failure:
    """A failure of normally distributed numbers with one part `ratio` times larger, drawn by `seed`. `WorkbenchError` for an unknown
    kind."""
    if kind not in KINDS:
        raise WorkbenchError(f"There is no failure {kind!r}.", f"Choose one of {', '.join(KINDS)}.")
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(d_out, d_in, generator=generator) / math.sqrt(d_in)
    inputs = torch.randn(tokens, d_in, generator=generator)
    part, count = {"weight row": (weight, d_out), "token": (inputs, tokens), "feature": (inputs.T, d_in)}[kind]
    outlier = int(torch.randint(count, (), generator=generator))
    part[outlier] *= ratio
    return Failure(kind=kind, weight=weight, inputs=inputs, outlier=outlier, ratio=ratio)


def weight_row(ratio: float = 100.0, **sizes: int) -> Failure:
    return make("weight row", ratio, **sizes)


def token(ratio: float = 100.0, **sizes: int) -> Failure:
    return make("token", ratio, **sizes)


def feature(ratio: float = 100.0, **sizes: int) -> Failure:
    return make("feature", ratio, **sizes)


def measure(failure: Failure, scheme: str | Scheme, bits: int = 8, block: int | None = None, threshold: float = 6.0) -> Effect:
    """The product under `scheme`, weights and activations quantized as it has it; errors as `quantize` raises them."""
    quantized = quantize(failure.weight, scheme, bits, block, failure.inputs, threshold)
    x, w = failure.inputs.double(), failure.weight.double()
    outliers = outlier_columns(failure.inputs, threshold) if quantized.scheme.splits else None
    x_back, w_back = quantize_inputs(failure.inputs, quantized.coder, outliers).double(), quantized.dequantize(torch.float64)
    rest = torch.ones(len(failure.magnitudes), dtype=torch.bool)
    rest[failure.outlier] = False
    if failure.kind == "feature":
        signals, noises = x.square().sum(0) * w.square().sum(0), _product_gap(x, w, x_back, w_back)
        exact = x[:, rest] @ w[:, rest].T
        gap = x_back[:, rest] @ w_back[:, rest].T - exact
        signal, noise = float(exact.square().sum()), float(gap.square().sum())
    else:
        exact = x @ w.T
        gap = x_back @ w_back.T - exact
        along = 0 if failure.kind == "weight row" else 1
        signals, noises = exact.square().sum(along), gap.square().sum(along)
        signal, noise = float(signals[rest].sum()), float(noises[rest].sum())
    return Effect(scheme=quantized.scheme.name, matmul_error=quantized.matmul_error, matmul_sqnr_db=quantized.matmul_sqnr_db,
                  rest_error=math.sqrt(noise / signal),
                  rest_sqnr_db=ratio_db(signal, noise), errors=(noises / signals).clamp(min=0).sqrt().float())


def effects(failure: Failure, schemes: Iterable[str | Scheme] | None = None, bits: int = 8) -> list[Effect]:
    """`measure` for the schemes worth setting beside each other, or for those given."""
    return [measure(failure, scheme, bits) for scheme in (failure.schemes if schemes is None else schemes)]


def _product_gap(x: Tensor, w: Tensor, x_back: Tensor, w_back: Tensor) -> Tensor:
    """(d_in,) ‖x_j w_jᵀ - x̂_j ŵ_jᵀ‖² for each column j, without forming the products: with Δ = x̂ - x and δ = ŵ - w it is ‖Δŵᵀ + xδᵀ‖²."""
    dx, dw = x_back - x, w_back - w
    return dx.square().sum(0) * w_back.square().sum(0) + x.square().sum(0) * dw.square().sum(0) + 2 * (dx * x).sum(0) * (w_back * dw).sum(0)
