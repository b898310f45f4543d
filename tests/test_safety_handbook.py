"""The handbook's tables are the code's."""

from pathlib import Path

from fed_vit_autorl.safety.assumptions import table
from fed_vit_autorl.safety.reasons import RESPONSES, Reason

HANDBOOK = (Path(__file__).parents[1] / "docs" / "safety.md").read_text()


def test_the_assumptions_are_those_of_the_code():
    assert table() in HANDBOOK


def test_every_reason_is_told_of():
    for reason in Reason:
        assert f"`{reason}`" in HANDBOOK
    for response in RESPONSES.values():
        assert response.clears_when in HANDBOOK
