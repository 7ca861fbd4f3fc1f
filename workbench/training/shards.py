"""Which rows each process of a run reads: together those that one process would read, in its order, none twice and none left out.

A pass of W processes with B rows each takes the next W x B rows of the order; process r takes the r-th part of them. The last pass of an
epoch has fewer rows, cut into W parts that differ by at most one row; where it has less than W, a process without one reads a spare row,
which counts for nothing: its labels are -100 and its loss is multiplied by 0. accelerate's own sharding fills up with rows of the
beginning instead. The order depends on seed and epoch alone, so a resumed run skips to its place. Rows that are drawn from a mixture are
in order already.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from workbench.probes import IGNORE
from workbench.training import together

Row = dict[str, Any]


class Spare(int):
    """The number of a row that is read so that there is something to read."""


def part(numbers: list[int], size: int, rank: int, world: int) -> list[int]:
    """Of a pass over at most size x world rows, what process `rank` reads."""
    count = len(numbers)
    if count == size * world:
        return numbers[rank * size:(rank + 1) * size]
    return numbers[count * rank // world:count * (rank + 1) // world] or [Spare(numbers[0])]


class Passes(torch.utils.data.Sampler[list[int]]):
    """The numbers of the rows that this process reads in each pass over `rows` rows. `seed` None keeps their order; else each epoch has one
    of its own, the one that accelerate gives a process that is alone."""

    def __init__(self, rows: int, size: int, seed: int | None = None, whole: bool = False, rank: int | None = None, world: int | None = None):
        """`whole` leaves the last rows of an epoch out where they are too few for a pass."""
        self.rows, self.size, self.seed, self.whole, self.epoch = rows, size, seed, whole, 0
        self.rank = together.rank() if rank is None else rank
        self.world = together.world() if world is None else world

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // (self.size * self.world) if self.whole else -(-self.rows // (self.size * self.world))

    def __iter__(self) -> Iterator[list[int]]:
        if self.seed is None:
            order = range(self.rows)
        else:
            order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        together_read = self.size * self.world
        for first in range(0, len(self) * together_read, together_read):
            yield part(list(order[first:first + together_read]), self.size, self.rank, self.world)


class Marked(torch.utils.data.Dataset):
    """Rows as they are; a spare one says so."""

    def __init__(self, rows: Any):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Row:
        row = self.rows[int(number)]
        return {**row, "spare": True} if isinstance(number, Spare) else row


class Loader(torch.utils.data.DataLoader):
    """Passes of one process; an epoch has an order of its own."""

    def set_epoch(self, epoch: int) -> None:
        self.batch_sampler.set_epoch(epoch)


def loader(rows: Any, collator: Callable[[list[Row]], dict[str, Any]], size: int, seed: int | None = None,
           whole: bool = False) -> Loader:
    """This process's part of the rows, `size` at a time; `seed` and `whole` as `Passes` has them."""
    return Loader(Marked(rows), batch_sampler=Passes(len(rows), size, seed, whole), collate_fn=lambda batch: collated(batch, collator))


def collated(rows: list[Row], collator: Callable[[list[Row]], dict[str, Any]]) -> dict[str, Any]:
    """The batch; of a spare row, one in which nothing is counted, and `spare`."""
    if not rows[0].get("spare"):
        return collator(rows)
    batch = collator([{name: value for name, value in row.items() if name != "spare"} for row in rows])
    for name in ("labels", "shift_labels"):
        if name in batch:
            batch[name] = torch.full_like(batch[name], IGNORE)
    if "real_tokens" in batch:
        batch |= {"real_tokens": 0} | ({"sources": []} if "sources" in batch else {})
    return batch | {"spare": True}
