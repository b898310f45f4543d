"""A short run of `fedvit chaos`: SIGKILLs in mid-round change no bit of the model."""

from fed_vit_aggregator.chaos import compare


def test_kills_lose_nothing_double_nothing_and_change_no_bit(tmp_path):
    result = compare(tmp_path, rounds=1, kills=3, seed=1, say=lambda text: None)
    assert result["kills"] == 3
    assert (result["lost"], result["duplicated"], result["bit_identical"]) == (0, 0, True)
