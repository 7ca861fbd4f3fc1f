"""What of a model its memory hangs on: the maps, norms and sizes of each layer, and which of them a method trains.

Plain values, so that everything in `memory.py` and `activations.py` is arithmetic. Not here: how they are read from a model
(`anatomy.py`), and bytes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Map:
    """A linear map d_in → d_out. `rank` is that of the low-rank adapter on it (0: none), `bits` 4 or 8 where its weight is quantized."""

    d_in: int
    d_out: int
    trained: bool
    """Its weight."""
    biased: bool = False
    """Whether it has a bias that is trained."""
    rank: int = 0
    dropout: float = 0.0
    """Of what goes into the adapter."""
    decomposed: bool = False
    """Whether the adapter is DoRA's, which scales whole columns."""
    bits: int = 0
    rounded: bool = False
    """Whether its weight is rounded anew in each pass."""

    @property
    def learns(self) -> bool:
        """Whether its gradients ask for what went in. A bias's do not."""
        return self.trained or self.rank > 0

    @property
    def asks(self) -> bool:
        """Whether gradients must come back to it."""
        return self.learns or self.biased


@dataclass(frozen=True, slots=True)
class Norm:
    width: int
    trained: bool
    """Its weight."""
    asks: bool
    """Whether gradients must come back to it: its weight or bias is trained."""
    fused: bool
    """LayerNorm is one operation that keeps its input; an RMSNorm is written out, and keeps its normalised input too where its weight is
    trained."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One block. Sizes are numbers a token: `hidden`, `inner` (of the multilayer perceptron), heads * head_dim."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    gated: bool
    activation: str
    dropout: float
    capped: bool
    """Whether scores go through a tanh."""
    rotary: bool
    attention_in: tuple[Map, ...]
    attention_out: tuple[Map, ...]
    mlp_in: tuple[Map, ...]
    mlp_out: tuple[Map, ...]
    added: tuple[Map, ...]
    """Maps that a method put between the others (bottleneck adapters)."""
    norms: tuple[Norm, ...]
    head_norms: tuple[Norm, ...]
    """Over each head of the queries and keys."""
    trained: int
    parameters: int

    @property
    def maps(self) -> tuple[Map, ...]:
        return (*self.attention_in, *self.attention_out, *self.mlp_in, *self.mlp_out, *self.added)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model as a method would train it. Counts are of parameters, tied ones once."""

    kind: str
    """Its class."""
    stacks: tuple[tuple[Layer, int], ...]
    """Neighbouring layers that are alike, with their number, from the first to the last."""
    hidden: int
    trained: int
    frozen: int
    """Neither trained nor quantized."""
    quantized: int
    bits: int
    constants: float
    """Bytes of scales a quantized weight has beside its own bits."""
    largest_trained: int
    """Parameters of the largest tensor that is trained, of the largest quantized one, and of the largest layer."""
    largest_quantized: int
    largest_layer: int
    embedding: int
    """Parameters of the input embedding."""
    embedding_trained: bool
    tied: bool
    """Whether the head shares the input embedding's weight."""
    head: Map | None
    """To the logits; None where there is no head."""
    every_token: bool
    """Whether the head is asked at every token (language models) or once a row (classifiers)."""
    norm: Norm | None
    """The one before the head."""
    input_learns: bool
    """Whether what goes into the first layer is trained: the embedding, or prompt tokens."""
    rotary: int
    """Width of the table of rotary positions; 0 where positions are learned."""
    capped: bool
    """Whether logits go through a tanh."""
    notes: tuple[str, ...]
    """What a person should know of how far this holds."""
    buffers: int
    """Bytes."""
    prompt_tokens: int
    positions: int | None

    @property
    def parameters(self) -> int:
        return self.trained + self.frozen + self.quantized
