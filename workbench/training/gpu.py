"""What a run's own GPU does, from NVIDIA's management library: percent of the time it computes, memory in use on the card.

    card = own_card()            -> Card, or None without a GPU or without the package nvidia-ml-py
    card.read()                  -> {"gpu_utilisation": 93.0, "gpu_memory_gib": 61.2}

torch counts devices as CUDA_VISIBLE_DEVICES leaves them, the library as they sit in the machine: a card is found by its UUID. What a card
does not tell (a MIG slice has no utilisation of its own) is left out: unknown is said by silence. Memory is the whole card's, other
processes' included; what torch itself holds is `memory_gib` of each step. Not here: what is drawn of it, and the plan of memory
(`room.py`).
"""

import time
from typing import Any

from workbench.errors import RunError

EVERY_S = 0.2
"""The library averages utilisation over a sixth of a second to a second: looking oftener shows nothing new."""


class Card:
    """One card, through a module with pynvml's functions. Raises that module's `NVMLError` where there is no such card."""

    def __init__(self, nvml: Any, uuid: str):
        self._nvml = nvml
        self._handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        self._read: dict[str, float] = {}
        self._due = 0.0

    @property
    def total_gib(self) -> float | None:
        """The card's memory; None where it does not tell."""
        try:
            return self._nvml.nvmlDeviceGetMemoryInfo(self._handle).total / 2**30
        except self._nvml.NVMLError:
            return None

    def read(self) -> dict[str, float]:
        """As metrics of a step: `gpu_utilisation` in percent, `gpu_memory_gib`; those that the card tells."""
        now = time.monotonic()
        if now >= self._due:
            self._due, self._read = now + EVERY_S, {}
            try:
                self._read["gpu_utilisation"] = float(self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu)
            except self._nvml.NVMLError:  # not supported, or the driver lost the card: the step goes on
                pass
            try:
                self._read["gpu_memory_gib"] = self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used / 2**30
            except self._nvml.NVMLError:
                pass
        return dict(self._read)


def library() -> Any:
    """pynvml, initialised. Raises `RunError` where the package or the driver is not there."""
    try:
        import pynvml
    except ImportError as error:
        raise RunError(
            "The package nvidia-ml-py is not installed, so a GPU's utilisation is not known.", "pip install nvidia-ml-py"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise RunError(f"NVIDIA's management library cannot be used: {error}.") from error
    return pynvml


def open_card(uuid: str, load: Any = library) -> Card | None:
    """The card of that UUID ("GPU-..." or "MIG-..."); None where it cannot be asked."""
    try:
        nvml = load()
    except RunError:
        return None
    try:
        return Card(nvml, uuid)
    except nvml.NVMLError:
        return None


def own_card() -> Card | None:
    """The card that this process trains on; None on a CPU, or where it cannot be asked."""
    import torch

    if not torch.cuda.is_available():
        return None
    uuid = str(getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", ""))
    return open_card(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}") if uuid else None
