"""The gate before training: what each example would train, which are dropped, and when all are refused.

The rule is training's own (`training/rows.py` calls it): an example that trains on no token within `max_length` is dropped and counted;
over 1 % of them refuses the rows, and so does a tokenizer by which training on answers alone cannot be honoured. Not here: rendering
(`tasks.py`), tokens and masks (`chat.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.templates import chat

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from workbench.templates.tasks import Examples

TOLERATED_SHARE = 0.01
"""More examples than this without a trainable token refuse all."""
Progress = Callable[[int, int], object]
"""`progress(done, of)`; what it raises ends the work."""
NO_ANSWER, CUT_OFF = "no answer", "answer cut off by max_length"


@dataclass(slots=True)
class Dropped:
    """Examples that train nothing, by reason, and the number (from 1) of the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def add(self, number: int, trains_uncut: bool) -> None:
        reason = CUT_OFF if trains_uncut else NO_ANSWER
        self.counts[reason] += 1
        self.first.setdefault(reason, number)

    def refusal(self, total: int, max_length: int, what: str = "rows") -> DataError | None:
        """Why `total` examples, these among them, are refused; None where they are not."""
        lost = self.counts.total()
        if lost <= TOLERATED_SHARE * total:
            return None
        reason, count = self.counts.most_common(1)[0]
        remedy = f"Raise max_length above {max_length}, or remove those rows." if reason == CUT_OFF else "Remove or fill those rows."
        return DataError(f"{lost} of {total} {what} have no token to train on ({reason}: {count}, the first is row {self.first[reason]}); "
                         f"at most {TOLERATED_SHARE:.0%} may be dropped.", remedy)


@dataclass(frozen=True, slots=True)
class Judged:
    """What training would make of N examples, uncut ones and all."""

    lengths: np.ndarray
    """int64 [N]: tokens of each example, uncut."""
    trained: np.ndarray
    """int64 [N]: tokens of each that are trained, within `max_length`."""
    answers: np.ndarray
    """int64 [N]: tokens of each that would be trained if nothing were cut."""
    max_length: int
    dropped: Dropped
    refusal: DataError | None
    """Why no training should begin with these; None where it may."""

    @property
    def kept(self) -> np.ndarray:
        """bool [N]: which train at least one token."""
        return self.trained > 0

    @property
    def truncated(self) -> int:
        """How many are cut and keep some of their answer."""
        return int(((self.lengths > self.max_length) & self.kept).sum())


def judge(examples: Sequence[dict[str, Any]], tokenizer: Any, *, max_length: int = 512, completions_only: bool = True,
          progress: Progress | None = None) -> Judged:
    """The fate of each example of `data.layouts`. Raises `DataError` where the tokenizer cannot honour `completions_only`, or its chat
    template refuses a conversation; too many dropped ones are only noted, in `refusal`."""
    return judge_masks(masks(examples, tokenizer, completions_only, progress), max_length)


def masks(examples: Sequence[dict[str, Any]], tokenizer: Any, completions_only: bool = True,
          progress: Progress | None = None) -> list[list[int]]:
    """The mask of each example, uncut: what `judge_masks` takes for any `max_length`. Raises as `judge` does."""
    if any("messages" in example for example in examples):
        chat.ensure_template(tokenizer)
        chat.prove_mask(tokenizer, examples, completions_only)
    found = []
    for number, (_, mask) in enumerate(chat.encode_all(tokenizer, examples, completions_only)):
        if progress is not None and number % chat.CHUNK == 0:
            progress(number, len(examples))
        found.append(mask)
    return found


def judge_masks(masks: Sequence[Sequence[int]], max_length: int) -> Judged:
    """As `judge`, of masks that are known already."""
    import numpy as np

    found, dropped = np.empty((len(masks), 3), np.int64), Dropped()
    for number, mask in enumerate(masks):
        found[number] = len(mask), sum(mask[:max_length]), sum(mask)
        if not found[number, 1]:
            dropped.add(number + 1, bool(found[number, 2]))
    return Judged(found[:, 0], found[:, 1], found[:, 2], max_length, dropped, dropped.refusal(len(masks), max_length))


@dataclass(frozen=True, slots=True)
class Admitted:
    """`table`: the examples that train, for `wb.Recipe(data=...)`. `judged` counts all that were rendered."""

    table: pa.Table
    judged: Judged


def admit(examples: Examples, tokenizer: Any, *, max_length: int = 512, completions_only: bool = True,
          progress: Progress | None = None) -> Admitted:
    """Those of a task's examples that train at least one token. Raises `DataError` where over 1 % do not, or as `judge` does."""
    judged = judge(examples.examples, tokenizer, max_length=max_length, completions_only=completions_only, progress=progress)
    if judged.refusal is not None:
        raise judged.refusal
    return Admitted(examples.table(judged.kept), judged)
