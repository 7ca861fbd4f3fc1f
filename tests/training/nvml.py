"""NVIDIA's management library, written by hand for machines without one: the functions, structures and errors of pynvml that are used, as
it has them. `FakeNvml({"GPU-1": FakeCard(...)})` is passed where the module would be."""

from __future__ import annotations

from dataclasses import dataclass

import pynvml


@dataclass
class FakeCard:
    """Bytes and percent; `tells` false raises as a card does that does not support the question."""

    total: int = 141 * 2**30
    used: int = 0
    busy: int = 0
    tells: bool = True
    asked: int = 0


class FakeNvml:
    NVMLError = pynvml.NVMLError

    def __init__(self, cards: dict[str, FakeCard]):
        self.cards = cards

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeCard:
        if uuid not in self.cards:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return self.cards[uuid]

    def nvmlDeviceGetUtilizationRates(self, handle: FakeCard) -> pynvml.c_nvmlUtilization_t:
        handle.asked += 1
        if not handle.tells:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return pynvml.c_nvmlUtilization_t(gpu=handle.busy, memory=0)

    def nvmlDeviceGetMemoryInfo(self, handle: FakeCard) -> pynvml.c_nvmlMemory_t:
        return pynvml.c_nvmlMemory_t(total=handle.total, free=handle.total - handle.used, used=handle.used)
