"""What makes packed rows quick: attention inside each example alone, and logits only where something is trained.

Shapes: a batch is B rows of T positions; an example is a stretch of one row. Attention of a model is (B, H, T, D): heads H of width D.

Under a block mask the kernel works through every T x T block, and throws most of it away. Here the examples of a batch are sorted by length into a few groups, each group
attends causally as S x L without any mask (what is right of an example's end is never looked at), and the results go back to where they came from. Of the output head, only
the positions before a trained token matter for the loss, so only these reach it. Both give what the mask and the whole logits give, in another order of summation.

On a GPU a kernel of its own takes the groups' place (`varlen.py`). Not here: models whose attention is more than causal softmax (sliding
windows, sinks, soft caps), which keep the mask; and models cut up among processes (`launching.py` refuses them).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from workbench.probes import IGNORE
from workbench.training import varlen

NAME = "examples_apart"
WASTE = 0.75
"""An example this much shorter than the longest of its group begins the next group."""
STRETCH = 128
MOST_PROBABILITIES = 1 << 25
"""Of one group in one layer, all heads: kept for the backward pass up to here (64 MiB in bf16), and sdpa's kernel, which keeps none, beyond."""
MORE = ("sliding_window", "softcap", "s_aux", "position_bias")
"""Arguments of attention that ask for more than causal softmax."""


def causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Causal attention of (S, H, L, D) in stretches of `STRETCH` queries, each with the keys up to its own end. On a CPU the kernel of sdpa takes 1.3 to 10 times as long,
    most of all for short rows in bf16: it neither skips what causality hides nor multiplies the heads together."""
    shape = query.shape
    query, key, value = (part.reshape(-1, *shape[2:]) for part in (query, key, value))
    outputs = []
    for begin in range(0, shape[2], STRETCH):
        end = min(begin + STRETCH, shape[2])
        hidden = query.new_full((end - begin, end), torch.finfo(query.dtype).min).triu(begin + 1)
        scores = torch.baddbmm(hidden.expand(len(query), -1, -1), query[:, begin:end], key[:, :end].transpose(1, 2), alpha=scale)
        outputs.append(torch.bmm(scores.softmax(-1), value[:, :end]))
    return torch.cat(outputs, 1).view(shape)


class Groups:
    """Where the examples of one batch lie: `index` of each group is S x L into the B*T positions, `back` takes the groups' outputs, end to end, to the positions."""

    shares_heads = False

    def __init__(self, lengths: list[list[int]], width: int):
        """`lengths`: of each row, its examples' lengths in order; what is left of the `width` T is padding."""
        self.shape = (len(lengths), width)
        examples = sorted(((length, row * width + sum(row_lengths[:place])) for row, row_lengths in enumerate(lengths)
                           for place, length in enumerate(row_lengths)), reverse=True)
        self.index: list[torch.Tensor] = []
        back, done = torch.full((len(lengths) * width,), -1), 0
        while examples:
            longest = examples[0][0]
            group = [example for example in examples if example[0] >= WASTE * longest or longest <= 32]
            examples = examples[len(group):]
            sizes, starts = torch.tensor(group).T
            steps = torch.arange(longest)
            inside = steps < sizes[:, None]
            index = torch.where(inside, starts[:, None] + steps, starts[:, None])
            back[index[inside]] = (done + torch.arange(len(group))[:, None] * longest + steps)[inside]
            done += index.numel()
            self.index.append(index)
        self.back = torch.where(back < 0, done, back)  # padding gets the row of zeros put at the end

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: float | None) -> torch.Tensor:
        """(B, H, T, D) each, to (B, T, H, D)."""
        query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
        outputs = []
        for index in self.index:
            parts = [part.index_select(0, index.flatten()).unflatten(0, index.shape).transpose(1, 2) for part in (query, key, value)]
            if dropout or parts[0].shape[:3].numel() * index.shape[1] > MOST_PROBABILITIES:
                out = torch.nn.functional.scaled_dot_product_attention(*parts, dropout_p=dropout, scale=scale, is_causal=True)
            else:
                out = causal(*parts, parts[0].shape[-1] ** -0.5 if scale is None else scale)  # type: ignore[call-arg]
            outputs.append(out.transpose(1, 2).flatten(0, 1))
        outputs.append(outputs[0].new_zeros(1, *outputs[0].shape[1:]))
        return torch.cat(outputs).index_select(0, self.back).unflatten(0, self.shape)


_current: Groups | varlen.Segments | None = None
"""Of the batch that is in the model. One of a process: a checkpointed layer computes again during the backward pass, out of reach of any argument."""


def apart(lengths: list[list[int]], width: int, kernel: varlen.Kernel | None = None) -> contextlib.AbstractContextManager[None]:
    """Attention inside the block, forward and backward, keeps these examples apart; `lengths` and `width` as `Groups` takes them, `kernel` a
    GPU's."""
    return within(Groups(lengths, width) if kernel is None else varlen.Segments(lengths, width, kernel))


@contextlib.contextmanager
def within(groups: Groups | varlen.Segments) -> Iterator[None]:
    """Attention inside the block, forward and backward, goes as these groups have it."""
    global _current
    _current = groups
    try:
        yield
    finally:
        _current = None


def _attention(module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, dropout: float = 0.0,
               scaling: float | None = None, is_causal: bool | None = None, **more: Any) -> tuple[torch.Tensor, None]:
    plain = _current is not None and (query.shape[0], query.shape[2]) == _current.shape and key.shape[2] == query.shape[2] and is_causal is not False
    if not plain or any(more.get(name) is not None for name in MORE) or (dropout and _current.shares_heads):  # its kernels drop nothing
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more)
    groups = 1 if _current.shares_heads else query.shape[1] // key.shape[1]
    return _current.attend(query, repeat_kv(key, groups), repeat_kv(value, groups), dropout, scaling), None


def choose(model: Any, attention: str) -> None:
    """Attention as a recipe asks for it: "sdpa" and "eager" are transformers' own with a mask, and `prepare` leaves them."""
    if attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        model.keeps_mask = True


def prepare(model: Any, kernel: varlen.Kernel | None = None) -> bool:
    """Let the model's attention keep examples apart inside `apart`; elsewhere it is sdpa as before. False, and nothing changed, where it cannot: on an accelerator with no
    `kernel` of its own for it, and for attention that is not sdpa."""
    asked_for = getattr(model, "keeps_mask", False) or getattr(model.config, "_attn_implementation", "") != "sdpa"
    if asked_for or (model.device.type != "cpu" and kernel is None):
        return False
    transformers.AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    return True


class TrainedLogits:
    """`with trained(labels): model(...)` returns logits of shape (1, N, V) at the N positions of a batch before a trained token, instead of B x T; `targets` are these
    tokens (N). `labels` is B x T, -100 where nothing is trained."""

    def __init__(self, model: Any):
        self._at: torch.Tensor | None = None
        self.targets: torch.Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._select)

    @contextlib.contextmanager
    def __call__(self, labels: torch.Tensor) -> Iterator[None]:
        later = labels[:, 1:]
        self._at = (later != IGNORE).nonzero(as_tuple=True)
        self.targets, self._width = later[self._at], labels.shape[1]
        try:
            yield
        finally:
            self._at = None

    def _select(self, _module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._at is None:
            return None
        rows, positions = self._at
        return (inputs[0][:, -self._width:][rows, positions][None], *inputs[1:])  # a prompt that is trained stands before the tokens


def loss_of(logits: torch.Tensor, targets: torch.Tensor, count: torch.Tensor | int | None) -> torch.Tensor:
    """Cross-entropy in nats of logits (1, N, V) and targets (N), summed and divided by `count` tokens, or their own number."""
    total = torch.nn.functional.cross_entropy(logits[0].float(), targets, reduction="sum")
    return total / (len(targets) if count is None else count)


class PackedSteps:
    """Mixed into a trainer of packed rows: its steps and evaluations go the quick way. Batches carry `lengths`, as `rows.Collator(count=True)` gives them."""

    kernel: varlen.Kernel | None = None
    """Of a GPU; None takes the CPU's way."""

    def __init__(self, *args: Any, **kw: Any):
        super().__init__(*args, **kw)
        self.trained = TrainedLogits(self.model)  # type: ignore[attr-defined]
        self.compute_loss_func = lambda outputs, _labels, num_items_in_batch=None: loss_of(outputs.logits, self.trained.targets, num_items_in_batch)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        with apart(inputs.pop("lengths"), inputs["input_ids"].shape[1], self.kernel):
            return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]

    def prediction_step(self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        inputs.pop("real_tokens", None)
        with apart(inputs.pop("lengths"), inputs["input_ids"].shape[1], self.kernel):
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)  # type: ignore[misc]

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kw: Any) -> Any:
        with self.trained(inputs["labels"]):
            return super().compute_loss(model, inputs, *args, **kw)  # type: ignore[misc]

    def evaluate(self, eval_dataset: Any = None, **kw: Any) -> dict[str, float]:
        rows = self.eval_dataset if eval_dataset is None else eval_dataset  # type: ignore[attr-defined]
        lengths = [len(ids) for ids in rows["input_ids"]]
        return super().evaluate(rows.select(sorted(range(len(rows)), key=lengths.__getitem__)), **kw)  # type: ignore[misc]  # rows as long as each other pad little
