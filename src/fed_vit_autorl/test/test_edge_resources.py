"""Resources: limits are kept by giving things up in order, and taken back slowly."""

import pytest

from fed_vit_autorl.edge.resources import (
    DEGRADE_ORDER,
    PATIENCE,
    RECOVERY,
    Level,
    Reading,
    ResourceManager,
    Shortage,
    board_power,
    process_memory,
)

GOOD = Reading(memory=1.0, power=8.0, frame_s=0.02)


@pytest.mark.parametrize(
    ("reading", "shortage", "last"),
    [
        (Reading(memory=1.0, power=16.0), Shortage.POWER, DEGRADE_ORDER[-1]),
        (Reading(memory=8.5), Shortage.MEMORY, DEGRADE_ORDER[-2]),
        (Reading(memory=1.0, frame_s=1 / 25), Shortage.FRAME_RATE, DEGRADE_ORDER[-2]),
    ],
)
def test_a_limit_exceeded_for_a_while_costs_one_level_at_a_time(reading, shortage, last):
    manager = ResourceManager()
    levels = [manager.update(reading) for _ in range(PATIENCE * (len(DEGRADE_ORDER) + 1))]
    assert levels[PATIENCE - 2] == Level()
    assert [levels[PATIENCE * n - 1] for n in (1, 2)] == list(DEGRADE_ORDER[1:3])
    assert levels[-1] == last  # images are left out for power alone
    assert set(manager.shortages) == {shortage}


def test_levels_come_back_only_after_a_while_with_room():
    manager = ResourceManager()
    for _ in range(PATIENCE):
        manager.update(Reading(memory=9.0))
    assert manager.level == DEGRADE_ORDER[1]
    for _ in range(3 * RECOVERY):
        manager.update(Reading(memory=7.5))  # within the limit, but without room
    assert manager.level == DEGRADE_ORDER[1]
    for _ in range(RECOVERY):
        manager.update(GOOD)
    assert manager.level == Level()
    assert not manager.shortages


def test_a_single_spike_costs_nothing():
    manager = ResourceManager()
    for _ in range(5):
        manager.update(Reading(memory=9.0))
        manager.update(GOOD)
    assert manager.level == Level()


def test_what_the_machine_tells(tmp_path):
    assert 0.001 < process_memory() < 100
    assert board_power(tmp_path) is None
    rail = tmp_path / "hwmon3"
    rail.mkdir()
    for name, value in {"in1_label": "VDD_IN\n", "in1_input": "19000", "curr1_input": "640"}.items():
        (rail / name).write_text(value)
    assert board_power(tmp_path) == pytest.approx(12.16)  # 19.0 V · 0.64 A
