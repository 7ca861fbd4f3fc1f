"""The schemes a tensor can be quantized by: their names, one sentence each, and what panel and engine must know of them.

Only the list. How a scheme codes a tensor is in `coders`, the pure function over it in `quantized`. Imports no torch.
"""

from dataclasses import dataclass

from workbench.errors import WorkbenchError


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to write weights in fewer bits."""

    name: str
    """As the field writes it: "absmax", "NF4"."""
    sentence: str
    """What it does, for a tooltip."""
    kind: str
    """"half" (a 16-bit float), "absmax" (symmetric integers), "affine" (integers with a zero point), or "book" (an index into a code
    book)."""
    group: str
    """What shares one scale: "" (no scale), "tensor", "row" (an output row), "block" (so many neighbours in memory)."""
    activations: str = ""
    """How the inputs of a matrix product travel with it: "" (as they are, 16-bit), "tensor" (one scale), "token" (one scale per row of X),
    "token, outliers kept" (LLM.int8()). With the zero-point scheme the tensor's scale comes with a zero point."""
    book: str = ""
    """Which code book: "nf4" or "fp4"."""
    double: bool = False
    """Whether the block scales are quantized to 8 bits themselves (QLoRA, section 3)."""

    @property
    def integer(self) -> bool:
        """Whether codes are integers of as many bits as asked for (2 to 8). The others have their own number of bits."""
        return self.kind in ("absmax", "affine")

    @property
    def has_blocks(self) -> bool:
        return self.group == "block"

    @property
    def splits(self) -> bool:
        """Whether columns with outliers among the activations stay 16-bit."""
        return self.activations == "token, outliers kept"


_ALL = (
    Scheme("fp16", "16-bit float: 5 bits of exponent, 10 of fraction; values over 65,504 overflow.", "half", ""),
    Scheme("bf16", "16-bit float: 8 bits of exponent, 7 of fraction; never overflows, coarser steps.", "half", ""),
    Scheme("absmax", "One scale for the whole tensor: its largest magnitude becomes the largest integer.", "absmax", "tensor", "tensor"),
    Scheme("zero-point",
           "One scale and one zero point for the whole tensor: its smallest and largest value become the ends of the integers.", "affine",
           "tensor", "tensor"),
    Scheme("vector-wise", "Absmax with one scale for each output row; activations get one for each token.", "absmax", "row", "token"),
    Scheme("block-wise", "Absmax with one scale for each block of neighbouring weights; activations stay 16-bit.", "absmax", "block"),
    Scheme("LLM.int8()", "Vector-wise, but columns where the activations have outliers over the threshold stay 16-bit.", "absmax", "row",
           "token, outliers kept"),
    Scheme("NF4", "16 levels at the quantiles of a normal distribution, scaled to each block's absmax.", "book", "block", book="nf4"),
    Scheme("FP4", "4-bit float (1 sign, 2 exponent, 1 fraction), scaled to each block's absmax.", "book", "block", book="fp4"),
    Scheme("NF4 double", "NF4 whose block scales are themselves quantized to 8 bits.", "book", "block", book="nf4", double=True),
    Scheme("FP4 double", "FP4 whose block scales are themselves quantized to 8 bits.", "book", "block", book="fp4", double=True),
)

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in _ALL}
"""Name → scheme, in the order a list shows them."""

DEFAULT_BLOCK = 64
"""Weights that share a scale where none is given, as in QLoRA and bitsandbytes."""


def _key(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


_BY_KEY = {_key(name): scheme for name, scheme in SCHEMES.items()}


def find_scheme(name: str | Scheme) -> Scheme:
    """The scheme of that name, case and punctuation ignored ("llm_int8", "zeropoint", "nf4_double"). Raises `WorkbenchError` for an unknown
    one."""
    if isinstance(name, Scheme):
        return name
    if found := _BY_KEY.get(_key(str(name))):
        return found
    raise WorkbenchError(f"There is no quantization scheme {name!r}.", f"Choose one of {', '.join(SCHEMES)}.")


def check_settings(scheme: Scheme, bits: int, block: int | None) -> tuple[int, int | None]:
    """`(bits, block)` as the scheme uses them: a scheme with bits of its own ignores `bits`, one without blocks ignores `block`.

    Raises `WorkbenchError` for a number of bits or a block size that cannot be.
    """
    if scheme.integer:
        if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
            raise WorkbenchError(f"{scheme.name} cannot use {bits!r} bits.", "Give bits as a whole number from 2 to 8.")
    else:
        bits = 16 if scheme.kind == "half" else 4
    if not scheme.has_blocks:
        return bits, None
    block = DEFAULT_BLOCK if block is None else block
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise WorkbenchError(f"{scheme.name} cannot use blocks of {block!r} weights.",
                             "Give block as a whole number of at least 1; 64 is usual.")
    return bits, block
