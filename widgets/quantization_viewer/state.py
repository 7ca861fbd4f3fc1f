"""What a person has set in the quantization viewer, as plain values; which schemes stand beside each other, and what they are called.

Knows the names of the engine's schemes and nothing else of it; reads no weights.
"""

from dataclasses import dataclass

SCHEMES = ("fp16", "bf16", "absmax", "zero-point", "vector-wise", "block-wise", "LLM.int8()", "NF4", "FP4")
"""What the dropdown offers; double quantization is a mark on the last two."""
INTEGER = ("absmax", "zero-point", "vector-wise", "block-wise", "LLM.int8()")
"""Schemes whose levels are whole numbers times a scale."""
BLOCKS = (32, 64, 128, 256)
VIEWS = {"tensor": "one tensor", "activations": "a layer's activations", "model": "the whole model", "training": "after or in training"}
FAILURES = {"": "none", "weight row": "an outlier in one weight row", "token": "an outlier token", "feature": "an outlier feature"}
ACTIVATIONS = ("16-bit", "dynamic", "static")
THRESHOLD = 6.0
"""LLM.int8(), Dettmers et al. 2022, section 3.2."""


@dataclass(slots=True)
class State:
    """Everything set by hand; JSON both ways. Tensors given in memory are not part of it: give them again."""

    model: str = ""
    """A name as in a recipe, a folder, a weight file, a run folder or a hub id; "" where tensors were given."""
    view: str = "tensor"
    failure: str = ""
    """Which made failure stands in the figure instead of the model; "" for none."""
    scheme: str = "NF4"
    double: bool = False
    """NF4 and FP4: their scales quantized too."""
    bits: int = 8
    """Of the integer schemes, 2 to 8."""
    block: int = 64
    """Values that share a scale, in block-wise, NF4 and FP4."""
    threshold: float = THRESHOLD
    """LLM.int8(): activation columns that reach it stay in 16 bits."""
    activations: str = "16-bit"
    """How perplexity is measured: inputs of layers left in 16 bits, or quantized as the scheme has it by "dynamic" or "static" scales."""
    layer: str = ""
    """The picked module or tensor; "" for the first."""
    query: str = ""
    """What a tensor's name must hold to be listed."""
    open: tuple = ()
    """Groups of the tree that are unfolded."""
    plain: str = ""
    """Folder of a run that is quantized after training."""
    aware: str = ""
    """Folder of the run that was trained quantized."""

    @property
    def choice(self) -> "Choice":
        return Choice(engine_name(self.scheme, self.double), self.bits, self.block)


@dataclass(frozen=True, slots=True)
class Choice:
    """One scheme with its settings, as the engine takes them."""

    scheme: str
    bits: int = 8
    block: int = 64

    @property
    def width(self) -> int:
        """Bits of a code."""
        return 16 if self.scheme in ("fp16", "bf16") else 4 if self.scheme.startswith(("NF4",
                                                                                       "FP4")) else 8 if self.scheme == "LLM.int8()" \
            else self.bits

    @property
    def blocks(self) -> bool:
        """Whether the block size matters."""
        return self.scheme.startswith(("NF4", "FP4")) or self.scheme == "block-wise"

    @property
    def label(self) -> str:
        """`int8 block 64`, `NF4 double 64`, `LLM.int8()`"""
        if self.scheme in ("fp16", "bf16", "LLM.int8()"):
            return self.scheme
        if self.scheme.endswith(" double"):
            return f"{self.scheme[:3]} double {self.block}"
        if self.scheme in ("NF4", "FP4"):
            return f"{self.scheme} block {self.block}"
        return f"int{self.bits} block {self.block}" if self.scheme == "block-wise" else f"int{self.bits} {self.scheme}"

    @property
    def arguments(self) -> dict:
        """`bits` and `block` for `quantize`, each where the scheme looks at it."""
        given = {}
        if self.scheme in INTEGER and self.scheme != "LLM.int8()":
            given["bits"] = self.bits
        if self.blocks:
            given["block"] = self.block
        return given

    @property
    def key(self) -> "Choice":
        """The same, what does not matter set to what it is anyway: equal keys quantize alike."""
        return Choice(self.scheme, self.arguments.get("bits", 8), self.arguments.get("block", 64))


def engine_name(scheme: str, double: bool) -> str:
    return f"{scheme} double" if double and scheme in ("NF4", "FP4") else scheme


def compared(choice: Choice) -> list[Choice]:
    """The schemes that stand beside each other, from above, the chosen one among them; integer ones in its number of bits."""
    bits, block = choice.bits, choice.block
    lines = [Choice("block-wise", bits, block), Choice("LLM.int8()", 8, block), Choice("vector-wise", bits, block),
             Choice("zero-point", bits, block), Choice("absmax", bits, block)]
    if bits != 4:
        lines.append(Choice("block-wise", 4, block))
    lines += [Choice("NF4", bits, block), Choice("NF4 double", bits, block), Choice("FP4", bits, block)]
    if choice.key not in [line.key for line in lines]:
        lines.insert(0 if choice.width == 16 else len(lines), choice)
    return lines


def rival(choice: Choice) -> Choice:
    """The scheme whose error is drawn behind that of `choice`: another one of the same width."""
    return {"NF4": Choice("FP4", 4, choice.block), "NF4 double": Choice("NF4", 4, choice.block), "FP4": Choice("NF4", 4, choice.block),
            "FP4 double": Choice("FP4", 4, choice.block), "fp16": Choice("bf16"), "bf16": Choice("fp16"),
            "absmax": Choice("vector-wise", choice.bits), "LLM.int8()": Choice("absmax", 8)}.get(choice.scheme,
                                                                                                 Choice("absmax", choice.bits))
