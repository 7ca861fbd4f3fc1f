"""Bytes that a training step keeps for its backward pass, and those that it needs for a moment, from the architecture.

The reckoning is that of Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models", section 4): what each
operation of a layer keeps is added up, eq. 1 of the paper being the sum for a GPT layer in 16 bits, s b h (34 + 5 a s / h). Here the
operations are those of the modules as transformers writes them (gated perceptrons, RMSNorm in single operations, fused attention), and an
operation keeps only what the gradients of a method ask for: a frozen matrix keeps no input. Sizes: b rows, s positions, a heads, h hidden,
T = b s. Not here: weights and optimizer, and when what is alive.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from workbench.models.architecture import Architecture, Layer, Map, Norm

ATTENTION = ("sdpa", "flash", "eager")
KEPT_BY_ACTIVATION = {"relu": 0, "silu": 1, "gelu": 1, "gelu_pytorch_tanh": 1, "gelu_new": 4, "gelu_fast": 4, "quick_gelu": 2, "swish": 1}
"""Tensors of the inner width that an activation keeps: those written as one operation keep what goes in, relu what comes out (counted as
the next map's input)."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """How wide numbers are, in bytes: in the `residual` stream, and where matrices are multiplied."""

    residual: int
    compute: int
    cast: bool
    """Whether torch.autocast casts what goes into each matrix, one copy for each."""
    adapter: int
    """Of low-rank adapters: 4 where peft keeps them in fp32 beside 16-bit weights."""


FP32 = Numbers(4, 4, False, 4)
HALF = Numbers(2, 2, False, 2)
"""All in 16 bits, as DeepSpeed trains (its fp32 copy is the optimizer's)."""
HALF_PEFT = Numbers(2, 2, False, 4)
"""Weights in 16 bits, adapters in 32, no autocast."""
AUTOCAST = Numbers(4, 2, True, 2)
"""Weights in 32 bits, cast as they are used: what transformers' Trainer does for bf16=True."""


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """Of one layer: what it keeps, and the most that is alive of it while its backward pass goes, kept and fleeting together."""

    kept: int
    worst: int


def layer_bytes(layer: Layer, numbers: Numbers, batch: int, length: int, attention: str, reached: bool) -> LayerBytes:
    """`reached`: whether gradients go on through the layer to what is before it, so that its input needs one."""
    tokens = batch * length
    first, second = _halves(layer.norms)
    asked = reached or any(norm.asks for norm in first) or any(of.asks for of in layer.attention_in)
    middle = asked or any(of.asks for of in layer.attention_out)
    opened = middle or any(norm.asks for norm in second) or any(of.asks for of in layer.mlp_in)
    scores = batch * layer.heads * length * length if attention == "eager" else 0

    before = sum(_norm(norm, numbers, tokens, reached) for norm in first) + _inputs(layer.attention_in, numbers, tokens)
    before += _attended(layer, numbers, batch, length, scores, asked) + _rounded(layer.attention_in + layer.attention_out)
    before += _last_input(layer.attention_out, numbers, tokens, layer.heads * layer.head_dim, there=asked and not scores)
    after = sum(_norm(norm, numbers, tokens, middle) for norm in second) + _inputs(layer.mlp_in, numbers, tokens)
    after += _opened(layer, numbers, tokens) if opened else 0
    after += _last_input(layer.mlp_out, numbers, tokens, layer.inner, there=False) + _rounded(layer.mlp_in + layer.mlp_out)
    # a bottleneck keeps what goes into it, and what is between its maps before and after the activation
    after += sum(tokens * numbers.compute * (of.d_in + min(of.d_out, of.d_in) * (of.d_out < of.d_in)) for of in layer.added if of.learns)
    after += 2 * tokens * layer.hidden if layer.dropout else 0  # a mask of a byte after each branch

    passing = 2 * tokens * numbers.residual * layer.hidden  # the gradient that comes in, and the one made of it
    product = any(of.learns for of in layer.mlp_out)
    fleeting_after = tokens * numbers.compute * layer.inner * ((2 if product else 3) if layer.gated else 1) if opened else 0
    widths = 2 * layer.heads * layer.head_dim + 2 * layer.kv_heads * layer.head_dim
    fleeting_before = numbers.compute * (tokens * widths + 2 * scores) if asked else 0
    return LayerBytes(before + after, max(before + after + passing + fleeting_after, before + passing + fleeting_before))


def _attended(layer: Layer, numbers: Numbers, batch: int, length: int, scores: int, asked: bool) -> int:
    """What attention keeps: queries, keys and values, and its result with the log-sum-exp of each row of scores, or the scores themselves."""
    tokens, compute = batch * length, numbers.compute
    queries, keys = layer.heads * layer.head_dim, layer.kv_heads * layer.head_dim
    kept = 0
    for norm, width in zip(layer.head_norms, (queries, keys), strict=False):
        kept += tokens * width * (4 * asked + compute * norm.trained)
    if not asked:
        return kept
    kept += tokens * compute * (queries + 2 * keys)
    if scores:
        # softmax in fp32 (but in GPT-2 and its like), then as wide as the values; keys and values repeated for each group of heads
        softmax = 4 + compute if compute < 4 and (layer.rotary or numbers.cast) else compute
        return kept + tokens * compute * 2 * (queries - keys) + scores * (softmax + compute * layer.capped)
    kept += tokens * compute * queries + batch * layer.heads * length * 4
    # where one map makes all three, the values hold on to the whole of it, and rotated queries and keys are new
    return kept + (tokens * compute * (queries + keys) if len(layer.attention_in) == 1 and layer.rotary else 0)


def _opened(layer: Layer, numbers: Numbers, tokens: int) -> int:
    """What the inside of the multilayer perceptron keeps: the activation's, and of a gated one the two factors."""
    through = KEPT_BY_ACTIVATION.get(layer.activation, 1)
    if not through and not any(of.learns for of in layer.mlp_out):
        through = 1  # relu's result, which no map keeps
    return tokens * numbers.compute * layer.inner * (through + 2 * layer.gated)


def _rounded(maps: tuple[Map, ...]) -> int:
    """Of weights that are rounded in each pass: the rounded copy in fp32 and a mask."""
    return sum(5 * of.d_in * of.d_out for of in maps if of.rounded)


def _halves(norms: tuple[Norm, ...]) -> tuple[tuple[Norm, ...], tuple[Norm, ...]]:
    middle = (len(norms) + 1) // 2
    return norms[:middle], norms[middle:]


def _norm(norm: Norm, numbers: Numbers, tokens: int, reached: bool) -> int:
    if norm.fused:
        return tokens * (norm.width * numbers.residual + 8) if reached or norm.trained else 0
    kept = tokens * (4 * norm.width + 8) if reached else 0  # in fp32 whatever comes in
    return kept + (tokens * norm.width * numbers.residual if norm.trained else 0)


def _inputs(maps: tuple[Map, ...], numbers: Numbers, tokens: int) -> int:
    """What maps with one input keep of it. It is of the residual stream's type, so autocast casts it for each."""
    width = maps[0].d_in if maps else 0
    if numbers.cast:
        kept = sum(tokens * numbers.compute * width for of in maps if of.learns)
    elif numbers.adapter != numbers.compute and not numbers.cast:
        kept = tokens * numbers.compute * width if any(of.trained for of in maps) else 0
    else:
        kept = tokens * numbers.compute * width if any(of.learns for of in maps) else 0
    return kept + _adapters(maps, numbers, tokens)


def _last_input(maps: tuple[Map, ...], numbers: Numbers, tokens: int, width: int, there: bool) -> int:
    """What the map at the end of a branch keeps of its input; `there`: whether what made the input keeps it already."""
    kept = _adapters(maps, numbers, tokens)
    if any(of.trained for of in maps) or any(of.rank for of in maps) and numbers.adapter == numbers.compute and not numbers.cast:
        return kept + (0 if there else tokens * numbers.compute * width)
    # peft casts to the adapter's fp32 and autocast back: a copy
    return kept + (tokens * numbers.compute * width if numbers.cast and any(of.rank for of in maps) else 0)


def _adapters(maps: tuple[Map, ...], numbers: Numbers, tokens: int) -> int:
    """What low-rank adapters keep beyond their input: what lies between A and B, casts and dropout masks, and DoRA's two outputs."""
    kept = 0
    for of in maps:
        if of.rank:
            kept += tokens * numbers.adapter * of.rank
            if numbers.adapter != numbers.compute:
                kept += tokens * numbers.adapter * of.d_in
            if of.dropout:
                kept += tokens * of.d_in * (1 + (numbers.adapter if numbers.adapter == numbers.compute and not numbers.cast else 0))
            if of.decomposed:
                kept += 2 * tokens * of.d_out * numbers.compute
    return kept


# ---- a whole step


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a step: parameters that have a gradient by then, bytes of activations that are alive, and parameters of which a copy that
    autocast made is."""

    name: str
    made: float
    active: float
    cast: float


def moments(of: Architecture, numbers: Numbers, batch: int, length: int, attention: str, checkpointing: bool) -> list[Moment]:
    """The moments of a step that can be its worst, from the forward pass to the embedding's gradient.

    A layer's own gradients are counted as there while its backward pass goes. Of layers that are alike the last and the first are looked
    at: between them what is alive rises or falls evenly.
    """
    whole = of.trained + of.frozen
    if not of.stacks:
        return [Moment("forward", 0, 0, whole), Moment("backward", of.trained, 0, whole)]
    length += of.prompt_tokens
    tokens = batch * length
    layers = list(_layers(of, numbers, batch, length, attention, checkpointing))
    reached = of.input_learns or any(layer.trained for layer, _ in of.stacks)
    always = 3 * 8 * tokens + 2 * length * of.rotary * numbers.residual
    top, logits = _top(of, numbers, batch, tokens, reached)
    below = sum(kept * count for _, count, kept, _ in layers) + always + top
    # log-softmax keeps its result in fp32, and makes it from fp32 logits
    upcast = 0 if numbers.compute == 4 else 4 * logits
    made = of.head.d_in * of.head.d_out if of.head is not None and of.head.trained else 0
    # autocast forgets its copies when the forward pass ends; where layers are computed again, only the head's is held by then
    after = (of.head.d_in * of.head.d_out if of.head is not None else 0) if checkpointing else whole
    passing = logits * (numbers.compute + (4 if upcast else 0)) + tokens * of.hidden * numbers.compute
    found = [
        Moment("forward", 0, below + (4 + numbers.compute) * logits + upcast, whole),
        Moment("loss", 0, below + 3 * 4 * logits, after),
        Moment("head", made, below + passing + (made * numbers.compute if numbers.cast else 0), after),
    ]
    made += of.norm.width if of.norm is not None and of.norm.trained else 0
    below -= top
    number = sum(count for _, count in of.stacks)
    cast = sum(count * _matrices(layer) for layer, count in of.stacks)
    for layer, count, kept, worst in reversed(layers):
        own = _matrices(layer)
        found.append(Moment(f"layer {number - 1}", made + layer.trained, below - kept + worst, own if checkpointing else cast))
        number, made, below = number - count, made + count * layer.trained, below - count * kept
        cast -= count * own
        if count > 1:
            found.append(Moment(f"layer {number}", made, below + worst, own if checkpointing else cast + own))
    if of.input_learns:
        embedded = of.embedding * of.embedding_trained
        found.append(Moment("embedding", of.trained, always + (tokens * of.hidden + embedded) * numbers.residual, 0))
    return found


def _matrices(layer: Layer) -> int:
    """Weights of its matrices that are not quantized."""
    return sum(of.d_in * of.d_out for of in layer.maps if not of.bits)


def _layers(
    of: Architecture, numbers: Numbers, batch: int, length: int, attention: str, checkpointing: bool
) -> Iterator[tuple[Layer, int, float, float]]:
    """(layer, number of such, bytes kept, bytes at the worst), the first of a stack apart where gradients end at it."""
    reached = of.input_learns
    for layer, count in of.stacks:
        for part in (1, count - 1) if not reached and layer.trained and count > 1 else (count,):
            found = layer_bytes(layer, numbers, batch, length, attention, reached)
            held = batch * length * layer.hidden * numbers.residual  # all that checkpointing keeps of a layer: what went in
            yield layer, part, held if checkpointing else found.kept, found.worst + (held if checkpointing else 0)
            reached = reached or layer.trained > 0


def _top(of: Architecture, numbers: Numbers, batch: int, tokens: int, reached: bool) -> tuple[int, int]:
    """(bytes kept by the last norm and the head's input, numbers in the logits)."""
    kept = _norm(of.norm, numbers, tokens, reached) if of.norm is not None else 0
    if of.head is None:
        return kept, 0
    kept += tokens * of.head.d_out * numbers.compute if of.capped else 0
    asked = tokens if of.every_token else batch
    return kept + _inputs((of.head,), numbers, asked), asked * of.head.d_out


def kept_by_step(of: Architecture, numbers: Numbers, batch: int, length: int, attention: str = "sdpa") -> float:
    """Bytes that autograd holds at the end of the forward pass, but for the loss's own."""
    length += of.prompt_tokens
    layers = sum(kept * count for _, count, kept, _ in _layers(of, numbers, batch, length, attention, False))
    reached = of.input_learns or any(layer.trained for layer, _ in of.stacks)
    return layers + _top(of, numbers, batch, batch * length, reached)[0]
