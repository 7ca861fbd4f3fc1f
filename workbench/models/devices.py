"""GPUs that people have or rent, with their memory, and what fits on them.

`gib` is what the driver reports, which on cards with error correction in plain GDDR memory is a sixteenth less than what is printed on the
box. Names and sizes are the makers' and the clouds' published ones, of 2025; a name that is not in the table is unknown, and nothing is
guessed. Not here: prices and speed.
"""

import re
from dataclasses import dataclass

from workbench.models.memory import GIB, Plan

CONTEXT = 0.75 * GIB
"""Bytes that CUDA, cuBLAS and the driver take of each process before the first tensor."""
LOST = 0.04
"""Share of the rest that the caching allocator leaves in pieces too small to use."""

SAID_BESIDE = frozenset(
    {"nvidia", "amd", "geforce", "tesla", "instinct", "pcie", "sxm2", "sxm4", "sxm5", "hbm2", "hbm2e", "hbm3", "hbm3e", "generation"}
)
"""Words of a driver's name for a card that tell nothing of its memory."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU; `gib` None where its memory is not known."""

    name: str
    gib: float | None
    kind: str
    """consumer, workstation, data centre, or unknown."""

    @property
    def room(self) -> float | None:
        """Bytes that tensors can have."""
        return None if self.gib is None else (self.gib * GIB - CONTEXT) * (1 - LOST)


@dataclass(frozen=True, slots=True)
class Instance:
    """A machine in a cloud, by the cloud's name for it."""

    name: str
    cloud: str
    device: Device
    count: int


DEVICES = tuple(
    Device(name, gib, kind)
    for kind, row in {
        "consumer": (
            ("RTX 4060", 8),
            ("RTX 3060", 12),
            ("RTX 4070", 12),
            ("RTX 4060 Ti 8 GB", 8),
            ("RTX 4060 Ti 16 GB", 16),
            ("RTX 4080", 16),
            ("RTX 5080", 15.9),
            ("RTX 3090", 24),
            ("RTX 4090", 24),
            ("RTX 5090", 31.8),
        ),
        "workstation": (("RTX A4000", 16), ("RTX A5000", 24), ("RTX A6000", 48), ("RTX 6000 Ada", 48), ("RTX PRO 6000 Blackwell", 95.6)),
        "data centre": (
            ("T4", 15),
            ("P100", 15.9),
            ("V100 16 GB", 16),
            ("V100 32 GB", 32),
            ("L4", 22.5),
            ("A10", 22.5),
            ("A10G", 22.5),
            ("A30", 24),
            ("A100 40 GB", 40),
            ("A40", 45),
            ("L40S", 45),
            ("MI210", 64),
            ("A100 80 GB", 80),
            ("H100 80 GB", 79.6),
            ("H100 NVL", 93.6),
            ("H200", 140.4),
            ("B200", 179.1),
            ("MI300X", 192),
        ),
    }.items()
    for name, gib in row
)
BY_NAME = {device.name: device for device in DEVICES}

INSTANCES = tuple(
    Instance(name, cloud, BY_NAME[device], count)
    for cloud, row in {
        "AWS": (
            ("g4dn.xlarge", "T4", 1),
            ("g4dn.12xlarge", "T4", 4),
            ("g5.xlarge", "A10G", 1),
            ("g5.12xlarge", "A10G", 4),
            ("g5.48xlarge", "A10G", 8),
            ("g6.xlarge", "L4", 1),
            ("g6.12xlarge", "L4", 4),
            ("g6e.xlarge", "L40S", 1),
            ("g6e.12xlarge", "L40S", 4),
            ("g6e.48xlarge", "L40S", 8),
            ("p3.2xlarge", "V100 16 GB", 1),
            ("p3.8xlarge", "V100 16 GB", 4),
            ("p3dn.24xlarge", "V100 32 GB", 8),
            ("p4d.24xlarge", "A100 40 GB", 8),
            ("p4de.24xlarge", "A100 80 GB", 8),
            ("p5.48xlarge", "H100 80 GB", 8),
            ("p5en.48xlarge", "H200", 8),
        ),
        "Google Cloud": (
            ("g2-standard-4", "L4", 1),
            ("g2-standard-48", "L4", 4),
            ("g2-standard-96", "L4", 8),
            ("a2-highgpu-1g", "A100 40 GB", 1),
            ("a2-highgpu-8g", "A100 40 GB", 8),
            ("a2-ultragpu-1g", "A100 80 GB", 1),
            ("a2-ultragpu-8g", "A100 80 GB", 8),
            ("a3-highgpu-8g", "H100 80 GB", 8),
            ("a3-ultragpu-8g", "H200", 8),
        ),
        "Azure": (
            ("NC4as_T4_v3", "T4", 1),
            ("NC24ads_A100_v4", "A100 80 GB", 1),
            ("NC96ads_A100_v4", "A100 80 GB", 4),
            ("NC40ads_H100_v5", "H100 NVL", 1),
            ("ND96asr_v4", "A100 40 GB", 8),
            ("ND96isr_H100_v5", "H100 80 GB", 8),
            ("ND96isr_H200_v5", "H200", 8),
        ),
        "free notebooks": (("Colab free", "T4", 1), ("Kaggle T4 x2", "T4", 2), ("Kaggle P100", "P100", 1)),
    }.items()
    for name, device, count in row
)


def device_of(name: str) -> Device:
    """The device of a name, as a person writes it or as torch.cuda.get_device_name() says it; the smallest of that name where its size is
    not said. Of kind "unknown" where it is not in the table."""
    asked = _words(name) - SAID_BESIDE
    found = [device for device in DEVICES if asked and _is(device, asked)]
    return min(found, key=lambda device: (len(_words(device.name) - asked), device.gib)) if found else Device(str(name), None, "unknown")


def _is(device: Device, asked: frozenset[str]) -> bool:
    """Whether all words are this card's, but for a size that one of the two leaves out."""
    own = _words(device.name)
    sizes = {word for word in asked - own if word.isdigit() and abs(int(word) - device.gib) < 0.1 * device.gib}
    return bool(own & asked) and asked - own <= sizes | {"gb"} and all(word.isdigit() or word == "gb" for word in own - asked)


def _words(name: str) -> frozenset[str]:
    """ "NVIDIA A100-SXM4-80GB" → nvidia, a100, sxm4, 80, gb."""
    return frozenset(re.findall(r"[a-z]+\d+[a-z]*|[a-z]+|\d+", name.lower()))


def fits(plan: Plan, device: Device) -> bool | None:
    """Whether each device of the plan can be one of these; None where its memory is not known."""
    return None if device.room is None else plan.total <= device.room


def smallest(plan: Plan, devices: tuple[Device, ...] = DEVICES) -> Device | None:
    """The device with the least memory that the plan fits on; None where there is none."""
    return min((device for device in devices if fits(plan, device)), key=lambda device: device.gib, default=None)
