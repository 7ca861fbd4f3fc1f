"""The three made failures as the viewer draws them: which part is the outlier, what each scheme makes of the rest, where its error is.

Made and measured by `workbench.quantization.failures`; pure.
"""

import numpy as np

from widgets.quantization_viewer.looks import FailureLook

SCHEMES = ("absmax", "zero-point", "vector-wise", "LLM.int8()", "block-wise", "NF4")
"""Beside each other in every failure, from above."""
PARTS = {"weight row": "output row", "token": "token", "feature": "input feature"}


def look(kind: str, bits: int, threshold: float) -> FailureLook:
    """The failure `kind` ("weight row", "token" or "feature") under each scheme; integers of `bits` bits (LLM.int8() always 8)."""
    from workbench.quantization import failures

    made = failures.make(kind)
    found = {scheme: failures.measure(made, scheme, 8 if scheme == "LLM.int8()" else bits, threshold=threshold) for scheme in SCHEMES}
    magnitudes = made.magnitudes.numpy()
    errors = {scheme: -20 * np.log10(np.maximum(found[scheme].errors.numpy(), 1e-9)) for scheme in (made.fails, made.cure)}
    return FailureLook(kind=kind, across=PARTS[kind], magnitudes=magnitudes, outlier=made.outlier,
                       ratio=float(magnitudes[made.outlier] / np.median(magnitudes)),
                       schemes=[(scheme, effect.rest_sqnr_db) for scheme, effect in found.items()], fails=made.fails, cure=made.cure,
                       errors=errors, bits=bits)
