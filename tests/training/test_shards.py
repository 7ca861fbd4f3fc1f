"""Which rows each process reads: together those of one process, none twice, none left out, wherever a run goes on."""

import itertools

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler, skip_first_batches

from workbench.training import shards
from workbench.training.shards import Passes, Spare


def passes(rows: int, size: int, world: int, seed: int | None = 0, epoch: int = 0, **more: bool) -> list[list[list[int]]]:
    """Of each pass, what each process reads."""
    of_each = []
    for rank in range(world):
        mine = Passes(rows, size, seed, rank=rank, world=world, **more)
        mine.set_epoch(epoch)
        read = list(mine)
        assert len(read) == len(mine)
        of_each.append(read)
    return list(zip(*of_each, strict=True))


@pytest.mark.parametrize(("rows", "size", "world"), list(itertools.product((1, 7, 16, 65), (1, 4), (2, 3))))
def test_together_they_read_the_rows_of_one_process_in_its_order(rows, size, world):
    one = [read for (read,) in passes(rows, size * world, 1)]
    for together, alone in zip(passes(rows, size, world), one, strict=True):
        real = [number for part in together for number in part if not isinstance(number, Spare)]
        assert real == alone
        assert all(0 < len(part) <= size for part in together), "every process has something to read"
        spare = [part for part in together if isinstance(part[0], Spare)]
        assert len(spare) == max(0, world - len(alone)) and all(len(part) == 1 for part in spare)
    assert sorted(itertools.chain.from_iterable(one)) == list(range(rows))


@pytest.mark.parametrize("epoch", [0, 3])
def test_the_order_is_the_one_that_accelerate_gives_a_process_that_is_alone(epoch):
    theirs = SeedableRandomSampler(range(50), data_seed=11, generator=torch.Generator())
    theirs.set_epoch(epoch)
    assert [number for (read,) in passes(50, 8, 1, seed=11, epoch=epoch) for number in read] == list(theirs)
    assert passes(50, 8, 1, seed=11, epoch=epoch) != passes(50, 8, 1, seed=11, epoch=epoch + 1)


def test_a_run_that_goes_on_skips_to_its_place():
    loader = shards.loader([{"n": number} for number in range(30)], lambda rows: [row["n"] for row in rows], 4, seed=5)
    loader.set_epoch(2)
    whole, rest = list(loader), skip_first_batches(loader, 3)
    rest.batch_sampler.batch_sampler.set_epoch(2)  # as transformers' Trainer does
    assert list(rest) == whole[3:] and len(whole) == 8


def test_whole_passes_alone_where_every_round_is_to_be_as_large():
    assert [list(map(len, parts)) for parts in passes(21, 4, 2, whole=True)] == [[4, 4], [4, 4]]


def test_of_a_spare_row_nothing_counts():
    def collator(rows):
        return {"labels": torch.tensor([row["labels"] for row in rows]), "shift_labels": torch.ones(len(rows)), "real_tokens": 3, "sources": [1]}

    rows = shards.Marked([{"labels": [5, 6]}])
    real, spare = (shards.collated([rows[number]], collator) for number in (0, Spare(0)))
    assert real["labels"].tolist() == [[5, 6]] and real["real_tokens"] == 3 and "spare" not in real
    assert spare["labels"].tolist() == [[-100, -100]] and spare["shift_labels"].tolist() == [-100] and spare["spare"]
    assert spare["real_tokens"] == 0 and spare["sources"] == []
