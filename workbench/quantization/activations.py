"""What flows into the linear layers of a model, and how well it survives quantization: scales calibrated beforehand (static) against scales
of the moment (dynamic).

Shapes: X (tokens × d_in), W (d_out × d_in). Static: one scale for a layer, from the range seen on a calibration sample; what goes beyond it
later is clipped. Dynamic: the range of the batch at hand, one scale for the tensor or one for each token, as the scheme has it. Weights
stay as they are where only activations are looked at. Formulas: `coders`; which schemes quantize activations: `schemes`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.errors import DataError
from workbench.quantization.coders import Coder
from workbench.quantization.layers import linear_layers, matrix
from workbench.quantization.passes import ratio_db, square_sum
from workbench.quantization.products import outlier_columns, quantize_inputs
from workbench.quantization.quantized import quantize
from workbench.quantization.schemes import SCHEMES, Scheme
from workbench.quantization.texts import token_windows

SAMPLE = 512
"""Tokens kept of each layer's inputs."""


@dataclass(slots=True, eq=False)
class Inputs:
    """What one layer was given: exact ranges of its columns, and a bounded sample of tokens."""

    name: str
    sample: Tensor
    """(at most `SAMPLE` tokens × d_in) on the CPU, every token seen being equally likely to be in it."""
    low: Tensor
    """(d_in,) float32, the smallest value of each column over all tokens."""
    high: Tensor
    tokens: int

    @property
    def column_maxima(self) -> Tensor:
        """(d_in,) the largest magnitude of each column, over all tokens."""
        return torch.maximum(-self.low, self.high)


class _Collector:
    """A forward hook's memory. Sampling without replacement from a stream: each token draws a random key, and those with the largest keys
    are kept."""

    def __init__(self, name: str, size: int, generator: torch.Generator):
        self.name, self.size, self.generator = name, size, generator
        self.rows = self.keys = self.low = self.high = None
        self.tokens = 0

    def __call__(self, module: Any, given: tuple) -> None:
        rows = given[0].detach().reshape(-1, given[0].shape[-1])
        low, high = (bound.float().cpu() for bound in rows.aminmax(dim=0))
        keys = torch.rand(len(rows), generator=self.generator)
        if self.tokens:
            low, high = torch.minimum(low, self.low), torch.maximum(high, self.high)
            rows, keys = torch.cat([self.rows, rows.cpu()]), torch.cat([self.keys, keys])
        self.low, self.high = low, high
        self.tokens += given[0].numel() // given[0].shape[-1]
        best = keys.topk(min(self.size, len(keys))).indices
        self.rows, self.keys = rows.cpu()[best], keys[best]


def collect(model: Any, tokenizer: Any, texts: Iterable[Any], layers: list[str] | None = None, sample: int = SAMPLE, max_length: int = 512,
            seed: int = 0, progress: Callable[[int, int], None] | None = None) -> dict[str, Inputs]:
    """Run `texts` through `model` and keep what each linear layer was given. The model is left as it was, in its own mode.

    `texts` as `texts.token_windows` takes them. `progress(texts done, texts)`; what it raises ends the work. Raises `DataError` where there
    is no text.
    """
    modules = linear_layers(model, layers)
    generator = torch.Generator().manual_seed(seed)
    collectors = {name: _Collector(name, sample, generator) for name in modules}
    hooks = [module.register_forward_pre_hook(collectors[name]) for name, module in modules.items()]
    training = model.training
    model.eval()
    windows = token_windows(model, tokenizer, texts, max_length)
    try:
        with torch.no_grad():
            for done, ids in enumerate(windows, 1):
                model(input_ids=torch.tensor([ids], device=next(model.parameters()).device), use_cache=False)
                if progress:
                    progress(done, len(windows))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return {name: Inputs(name, found.rows, found.low, found.high, found.tokens) for name, found in collectors.items() if found.tokens}


@dataclass(frozen=True, slots=True, eq=False)
class StaticScale:
    """Quantizes a layer's inputs with ranges fixed beforehand: outlier columns, if the scheme keeps any, are those of the calibration
    too."""

    coder: Coder
    scales: Tensor
    zero: Tensor | None
    outliers: Tensor | None

    @classmethod
    def of(cls, seen: Inputs, coder: Coder, threshold: float = 6.0) -> "StaticScale":
        """From the ranges of a calibration. A scheme with a scale for each token has one for all of them here: which token will come is not
        known."""
        low, high, outliers = seen.low, seen.high, None
        if coder.scheme.splits:
            outliers = (seen.column_maxima > threshold).nonzero().flatten()
            inner = torch.ones(len(low), dtype=torch.bool)
            inner[outliers] = False
            low, high = low[inner], high[inner]
        lowest, highest = (float(low.min()), float(high.max())) if len(low) else (0.0, 0.0)
        if coder.scheme.kind == "affine":
            scales, zero = coder.affine(lowest, highest)
        else:
            scales, zero = coder.scales(torch.tensor([max(-lowest, highest)])), None
        return cls(coder, scales, zero, outliers)

    @property
    def _ends(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        return -self.coder.largest - (self.zero is not None), self.coder.largest

    def __call__(self, inputs: Tensor) -> Tensor:
        """X (tokens × d_in) quantized and back, values beyond the range clipped to its ends."""
        x = inputs.float()
        scales, zero = self.scales.to(x.device), None if self.zero is None else self.zero.to(x.device)
        codes = self.coder.encode(x.reshape(1, -1), scales, zero).clamp_(*self._ends)
        back = self.coder.decode(codes, scales, zero).view_as(x)
        if self.outliers is not None and len(self.outliers):
            back[:, self.outliers] = x[:, self.outliers]
        return back

    def clipped(self, inputs: Tensor) -> float:
        """The share of values that lie beyond the calibrated range."""
        low, high = self.coder.decode(torch.tensor([self._ends]), self.scales, self.zero)[0]
        beyond = (inputs < low) | (inputs > high)
        if self.outliers is not None and len(self.outliers):
            beyond[:, self.outliers] = False
        return float(beyond.float().mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerComparison:
    """One scheme on one layer, on texts that the calibration did not see. SQNR in dB of the layer's output X·Wᵀ."""

    layer: str
    scheme: str
    dynamic_db: float
    """Activations quantized with scales of the moment, weights as they are."""
    static_db: float
    """Activations quantized with calibrated scales."""
    output_db: float
    """Activations (dynamic) and weights quantized."""
    clipped: float
    """Share of values beyond the calibrated range."""
    outliers: int
    """Columns that stay 16-bit, by the unseen texts themselves."""


def compare(weight: Tensor, calibration: Inputs, unseen: Tensor, schemes: Iterable[str | Scheme] | None = None, bits: int = 8,
            threshold: float = 6.0) -> list[LayerComparison]:
    """Static against dynamic on one layer, for each scheme that quantizes activations. `weight` (d_out × d_in), `unseen` (tokens ×
    d_in)."""
    found = []
    weight, unseen = weight.cpu(), unseen.cpu()
    exact = unseen.float() @ weight.float().T
    signal = square_sum(exact)
    for scheme in schemes if schemes is not None else [s for s in SCHEMES.values() if s.activations]:
        coder = Coder.of(scheme, bits)
        if not coder.scheme.activations:
            raise DataError(f"{coder.scheme.name} leaves activations in 16 bits, so there is nothing static or dynamic about it.",
                            f"Choose from {', '.join(s.name for s in SCHEMES.values() if s.activations)}.")
        outliers = outlier_columns(unseen, threshold) if coder.scheme.splits else None
        static = StaticScale.of(calibration, coder, threshold)
        given = quantize_inputs(unseen, coder, outliers), static(unseen)
        dynamic_noise, static_noise = (square_sum(x.float() @ weight.float().T - exact) for x in given)
        found.append(LayerComparison(
            layer=calibration.name, scheme=coder.scheme.name, dynamic_db=ratio_db(signal, dynamic_noise),
            static_db=ratio_db(signal, static_noise),
            output_db=quantize(weight, coder.scheme, bits, None, unseen, threshold).matmul_sqnr_db, clipped=static.clipped(unseen),
            outliers=0 if outliers is None else len(outliers)))
    return found


def static_against_dynamic(model: Any, calibration: Mapping[str, Inputs], unseen: Mapping[str, Inputs],
                           schemes: Iterable[str | Scheme] | None = None, bits: int = 8,
                           threshold: float = 6.0) -> list[LayerComparison]:
    """`compare` for every layer of both collections, in the model's order: calibrate on some texts, `collect` again on others."""
    schemes = None if schemes is None else list(schemes)
    modules = linear_layers(model, [name for name in calibration if name in unseen])
    rows = (compare(matrix(module), calibration[name], unseen[name].sample, schemes, bits, threshold) for name, module in modules.items())
    return [row for of_layer in rows for row in of_layer]
