"""What the processes of one run tell each other. In a process that is alone each function is a plain answer, so callers need not ask.

Objects travel as torch.distributed pickles them, between processes of one run only. Not here: gradients and weights, which are torch's and
DeepSpeed's own business.
"""

import functools
from collections.abc import Iterable
from typing import Any

import torch


def _joined() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def world() -> int:
    """How many processes there are."""
    return torch.distributed.get_world_size() if _joined() else 1


def rank() -> int:
    """Which of them this is; 0 leads: it reads commands and writes."""
    return torch.distributed.get_rank() if _joined() else 0


@functools.cache
def _by_cpu() -> Any:
    """A group that needs no GPU: a paused run asks for commands all the time. None is the usual one, which is such a group on a CPU."""
    return None if torch.distributed.get_backend() == "gloo" else torch.distributed.new_group(backend="gloo")


def share(value: Any) -> Any:
    """The leader's value, on every process."""
    if world() == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0, group=_by_cpu())
    return box[0]


def gathered(value: Any) -> list[Any]:
    """Every process's value, by rank, on every process."""
    if world() == 1:
        return [value]
    box: list[Any] = [None] * world()
    torch.distributed.all_gather_object(box, value, group=_by_cpu())
    return box


def joined(values: list[Any]) -> list[Any]:
    """Every process's list, one after the other."""
    return [value for part in gathered(values) for value in part]


def summed(values: Iterable[float]) -> list[float]:
    """The sum over the processes of each number, in double precision."""
    return [sum(column) for column in zip(*gathered(list(values)), strict=True)]


def averaged(numbers: dict[str, float]) -> dict[str, float]:
    """The mean over the processes of each number; all of them have the same names."""
    if world() == 1:
        return numbers
    return {name: total / world() for name, total in zip(numbers, summed(numbers.values()), strict=True)}


def average_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """The mean over the processes of each gradient, in place: for a backward pass that went round torch's own way of doing so."""
    if world() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world()


def anywhere(true: bool) -> bool:
    """Whether it is so on one process at least."""
    return any(gathered(true))


def meet() -> None:
    """Wait until every process is here."""
    if world() > 1:
        torch.distributed.barrier(group=_by_cpu())
