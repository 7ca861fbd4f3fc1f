"""Log-probabilities of replies: a prompt is computed once for all its replies, nothing is padded, and logits stand only
before reply tokens.

Prompts and replies of a batch are laid end to end in few rows; each reply attends to its prompt and to itself, at the positions it would
have behind it. Equal to one padded row a reply but for the order of summation (`agrees` proves it for a model before it is relied on).
Models whose attention is not plain, methods with tokens of their own before each row, and accelerators are padded.

Shapes: M replies, N reply tokens of all of them, B rows of T positions, V words of the vocabulary.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workbench.training import fast_rows
from workbench.training.fast_rows import WASTE, Groups

Row = dict[str, Any]
"""`prompt` ids and ids of its `replies` (`reply_rows.py`)."""
WIDTH = 512
"""Positions a row holds at most, unless one prompt with its replies is longer."""
TOLERANCE = 1e-3
"""Nats of one reply by which the two ways may differ."""


@dataclass(slots=True)
class Laid:
    """A batch: what the model is given, and which of its positions say what."""

    inputs: dict[str, torch.Tensor]
    """`input_ids` with `position_ids` (laid) or `attention_mask` (padded), B x T."""
    at: torch.Tensor
    """N: the position, among the B*T, before each reply token."""
    targets: torch.Tensor
    """N: that token."""
    owners: torch.Tensor
    """N: whose it is, of M; with prompts, M + the number of the row for tokens of a prompt."""
    lengths: torch.Tensor
    """Tokens of each owner."""
    groups: Groups | None = None
    """How attention goes; None where it goes as usual."""

    def to(self, device: Any) -> "Laid":
        moved = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Laid(moved, self.at.to(device), self.targets.to(device), self.owners.to(device), self.lengths.to(device), self.groups)


class PromptGroups(Groups):
    """Attention of replies that share the tokens of their prompt: each group's `index` gathers prompt and reply as if they followed each
    other. What a prompt's tokens see is taken from its first reply."""

    def __init__(self, shape: tuple[int, int], spans: list[tuple[int, int, int, int, bool]]):
        """`spans` of each reply: where its prompt begins among the B*T and how long it is, the same of the reply, and whether it is the
        prompt's first."""
        self.shape = shape
        spans = sorted(spans, key=lambda span: (-span[1] - span[3], span))
        self.index: list[torch.Tensor] = []
        back, done = torch.full((shape[0] * shape[1],), -1), 0
        while spans:
            longest = spans[0][1] + spans[0][3]
            count = next((n for n, span in enumerate(spans) if span[1] + span[3] < WASTE * longest and longest > 32), len(spans))
            group, spans = spans[:count], spans[count:]
            start, asked, reply, length, first = torch.tensor(group).T[:, :, None]
            steps = torch.arange(longest)
            of_prompt, inside = steps < asked, steps < asked + length
            index = torch.where(of_prompt, start + steps, torch.where(inside, reply + steps - asked, start))
            kept = inside & (~of_prompt | first.bool())
            back[index[kept]] = (done + torch.arange(count)[:, None] * longest + steps)[kept]
            done += index.numel()
            self.index.append(index)
        self.back = torch.where(back < 0, done, back)  # padding gets the row of zeros put at the end


def laid(rows: Sequence[Row], pad_token_id: int, prompts: bool = False) -> Laid:
    """The rows end to end, longest first, each into the first row with room; with `prompts` also the tokens of the prompts, but the first
    of each."""
    sizes = [len(row["prompt"]) + sum(map(len, row["replies"])) for row in rows]
    most, lines, used = max(WIDTH, *sizes), [], []
    for number in sorted(range(len(rows)), key=lambda n: -sizes[n]):
        line = next((line for line, taken in enumerate(used) if taken + sizes[number] <= most), len(used))
        if line == len(used):
            lines.append([])
            used.append(0)
        lines[line].append(number)
        used[line] += sizes[number]
    width = max(used)
    ids, positions = [], []
    first_reply = _firsts(rows)
    places: list[list[tuple[int, list[int]]]] = [[] for _ in range(first_reply[-1] + prompts * len(rows))]
    spans = []
    for line, numbers in enumerate(lines):
        base = line * width
        for number in numbers:
            asked, begin = rows[number]["prompt"], base
            ids += asked
            positions += range(len(asked))
            base += len(asked)
            if prompts:
                places[first_reply[-1] + number].append((begin, asked))
            for place, reply in enumerate(rows[number]["replies"]):
                spans.append((begin, len(asked), base, len(reply), place == 0))
                places[first_reply[number] + place].append((base, reply))
                ids += reply
                positions += range(len(asked), len(asked) + len(reply))
                base += len(reply)
        rest = width - used[line]
        ids += [pad_token_id] * rest
        positions += range(rest)
    at, targets, lengths = [], [], []
    ends = {span[2]: span[0] + span[1] - 1 for span in spans}
    """Where a reply's first token is told: at the prompt's last."""
    for owner, parts in enumerate(places):
        told: list[int] = []
        for base, part in parts:
            of_prompt = owner >= first_reply[-1]
            if of_prompt:
                part = part[1:]
                at += range(base, base + len(part))
            elif part:
                at += [ends[base], *range(base, base + len(part) - 1)]
            told += part
        targets += told
        lengths.append(len(told))
    shape = len(lines), width
    return _made({"input_ids": torch.tensor(ids).view(shape), "position_ids": torch.tensor(positions).view(shape)}, at, targets, lengths,
                 PromptGroups(shape, spans))


def padded(rows: Sequence[Row], pad_token_id: int, prompts: bool = False) -> Laid:
    """A row for each reply, its prompt before it; the same owners as in `laid`."""
    talks = [[*row["prompt"], *reply] for row in rows for reply in row["replies"]]
    begun = [len(row["prompt"]) for row in rows for _ in row["replies"]]
    width = max(map(len, talks))
    ids, mask = torch.full((len(talks), width), pad_token_id), torch.zeros((len(talks), width), dtype=torch.long)
    at, targets, lengths = [], [], []
    for line, (talk, first) in enumerate(zip(talks, begun, strict=True)):
        ids[line, :len(talk)] = torch.tensor(talk)
        mask[line, :len(talk)] = 1
        at += range(line * width + first - 1, line * width + len(talk) - 1)
        targets += talk[first:]
        lengths.append(len(talk) - first)
    for row, first_line in zip(rows, _firsts(rows), strict=False) if prompts else ():
        told = row["prompt"][1:]
        at += range(first_line * width, first_line * width + len(told))
        targets += told
        lengths.append(len(told))
    return _made({"input_ids": ids, "attention_mask": mask}, at, targets, lengths, None)


def _firsts(rows: Sequence[Row]) -> list[int]:
    """Of each row the number of its first reply among all; and how many there are."""
    out = [0]
    for row in rows:
        out.append(out[-1] + len(row["replies"]))
    return out


def _made(inputs: dict[str, torch.Tensor], at: list[int], targets: list[int], lengths: list[int], groups: Groups | None) -> Laid:
    sizes = torch.tensor(lengths)
    return Laid(inputs, torch.tensor(at), torch.tensor(targets), torch.repeat_interleave(torch.arange(len(sizes)), sizes), sizes, groups)


class ReplyLogps:
    """`ReplyLogps(model)(laid)` -> log-probability of each owner, nats; the model's head works at N positions only.

    Called inside `within(laid)`, which has to hold until the backward pass is done.
    """

    def __init__(self, model: Any):
        self.model = model
        self._at: torch.Tensor | None = None
        self._hook = _unwrapped(model).get_output_embeddings().register_forward_pre_hook(self._select)

    def _select(self, _module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._at is None:
            return None
        # what a prompt tuning puts before each row comes first
        return (inputs[0][:, -self._width:].flatten(0, 1)[self._at][None], *inputs[1:])

    def __call__(self, batch: Laid, model: Any = None) -> torch.Tensor:
        self._at, self._width = batch.at, batch.inputs["input_ids"].shape[1]
        try:
            logits = (model or self.model)(**batch.inputs, use_cache=False).logits[0]
        finally:
            self._at = None
        each = -torch.nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
        return each.new_zeros(len(batch.lengths)).index_add(0, batch.owners, each)

    def close(self) -> None:
        self._hook.remove()


def _unwrapped(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextlib.contextmanager
def within(batch: Laid) -> Iterator[None]:
    """Inside, attention goes as this batch needs it."""
    with contextlib.nullcontext() if batch.groups is None else fast_rows.within(batch.groups):
        yield


def agrees(model: Any, logps: ReplyLogps, row: Row, pad_token_id: int) -> bool:
    """Whether laid rows give this model the log-probabilities that padded ones do; its attention is made ready for them."""
    if not fast_rows.prepare(_unwrapped(model)):
        return False
    found = []
    training = model.training
    model.eval()
    with torch.no_grad():
        for lay in (laid, padded):
            batch = lay([row, row], pad_token_id).to(model.device)
            with within(batch):
                found.append(logps(batch))
    model.train(training)
    return bool(torch.allclose(*found, rtol=1e-4, atol=TOLERANCE))
