"""GPUs by name, and the nearest settings that fit."""

import dataclasses

import pytest

from tests.models.memory_tools import model_of
from workbench.models import fitting, memory
from workbench.models.architecture import Architecture
from workbench.models.devices import DEVICES, INSTANCES, device_of, fits, smallest
from workbench.models.memory import GIB, Settings
from workbench.models.methods import Full, LoRA

SETTINGS = Settings(sequence_length=512, batch_size=8, precision="fp32")


@pytest.fixture(scope="module")
def full() -> Architecture:
    return memory.architecture_of(model_of(layers=4, hidden=256, inner=704), Full())


@pytest.fixture(scope="module")
def lora() -> Architecture:
    return memory.architecture_of(model_of(layers=4, hidden=256, inner=704), LoRA(rank=4))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100 80 GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 40 GB"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("h100", "H100 80 GB"),
        ("NVIDIA H100 80GB HBM3", "H100 80 GB"),
        ("NVIDIA H200", "H200"),
        ("AMD Instinct MI300X", "MI300X"),
        ("Tesla V100-SXM2-16GB", "V100 16 GB"),
        ("a100", "A100 40 GB"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("RTX 4060 Ti 16GB", "RTX 4060 Ti 16 GB"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
    ],
)
def test_a_device_is_known_by_what_drivers_and_people_call_it(said: str, name: str) -> None:
    assert device_of(said).name == name


@pytest.mark.parametrize("said", ["NVIDIA GeForce RTX 4090 Laptop GPU", "GTX 1080", "cpu", "", "80 GB", "NVIDIA A100-SXM4-640GB"])
def test_an_unknown_device_stays_unknown(said: str) -> None:
    device = device_of(said)
    assert (device.kind, device.gib, fits(memory.plan_memory(1000), device)) == ("unknown", None, None)


def test_what_fits_leaves_room_for_the_driver() -> None:
    card = device_of("T4")
    assert 0.85 < card.room / (card.gib * GIB) < 1
    near = int(card.gib * GIB / 16)  # 16 bytes a parameter: it would fill the card to the last byte
    assert fits(memory.plan_memory(near), card) is False and fits(memory.plan_memory(int(0.8 * near)), card) is True
    assert smallest(memory.plan_memory(7_500_000_000, zero_stage=3, devices=64)).gib == min(device.gib for device in DEVICES)
    assert smallest(memory.plan_memory(7_500_000_000)).name == "H200"  # 120 GB are 112 GiB
    assert smallest(memory.plan_memory(70_000_000_000)) is None


def test_the_tables_are_whole() -> None:
    assert len({device.name for device in DEVICES}) == len(DEVICES) and len({(each.cloud, each.name) for each in INSTANCES}) == len(
        INSTANCES
    )
    assert all(each.device in DEVICES and each.count in (1, 2, 4, 8) for each in INSTANCES)


def test_the_nearest_settings_really_fit_and_are_near(full: Architecture) -> None:
    asked = memory.plan(full, SETTINGS)
    room = 0.6 * asked.total
    found = fitting.nearest([(Full(), full)], SETTINGS, room)
    assert found and all(fit.plan.total <= room for fit in found)
    for fit in found:  # made again from what the fit says
        again = dataclasses.replace(SETTINGS, **{name: new for name, (_, new) in fit.changes.items()})
        assert memory.plan(full, again).total == fit.plan.total
        assert all(getattr(SETTINGS, name) == old for name, (old, _) in fit.changes.items())
    levers = [set(fit.changes) for fit in found]
    assert all(not a < b for a in levers for b in levers)  # none pulls a lever that another shows to be needless
    assert {"batch_size", "gradient_accumulation"} in levers and {"checkpointing"} in levers
    halved = next(fit for fit in found if set(fit.changes) == {"batch_size", "gradient_accumulation"})
    old, new = halved.changes["batch_size"]
    larger = dataclasses.replace(SETTINGS, batch_size=2 * new, gradient_accumulation=max(1, old // (2 * new)))
    assert memory.plan(full, larger).total > room  # no smaller than it must be
    assert f"batch {old} → {new}" in halved.sentence


def test_what_fits_already_is_left_as_it_is(full: Architecture) -> None:
    found = fitting.nearest([(Full(), full)], SETTINGS, memory.plan(full, SETTINGS).total)
    assert len(found) == 1 and found[0].changes == {} and found[0].sentence.startswith("as it is")


def test_another_method_is_the_last_way_out(full: Architecture, lora: Architecture) -> None:
    asked = []

    def of() -> Architecture:
        asked.append(True)
        return lora

    least = memory.plan(
        full,
        dataclasses.replace(
            SETTINGS, batch_size=1, sequence_length=64, checkpointing=True, optimizer="adamw_8bit", gradient_accumulation=8
        ),
    ).total
    assert fitting.nearest([(Full(), full), (LoRA(rank=4), of)], SETTINGS, least) and not asked
    found = fitting.nearest([(Full(), full), (LoRA(rank=4), of)], SETTINGS, 0.9 * least)
    assert asked and found[0].changes["method"] == ("full", "lora") and found[0].plan.total <= 0.9 * least
    assert fitting.nearest([(Full(), full)], SETTINGS, 1000) == []
