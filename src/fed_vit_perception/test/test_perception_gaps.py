"""Frames lost to a swap are told from other losses."""

from fed_vit_perception.gaps import GapCounter


def test_only_gaps_while_swapping_count():
    gaps = GapCounter()
    for index in range(20):
        gaps.frame(0.05 * index, swapping=False)
    gaps.frame(1.20, swapping=False)  # four frames lost, but no swap was going on
    assert gaps.dropped == 0
    gaps.frame(1.25, swapping=True)
    assert gaps.dropped == 0
    gaps.frame(1.40, swapping=True)
    assert gaps.dropped == 2
    gaps.frame(0.0, swapping=True)  # the clock was reset
    assert gaps.dropped == 2
