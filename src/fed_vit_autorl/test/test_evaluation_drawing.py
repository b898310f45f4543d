"""Drawing: what is known appears, what is not is left out, nothing is drawn into the caller's image."""

import numpy as np
import pytest

from fed_vit_autorl.data.sample import CameraModel
from fed_vit_autorl.evaluation.drawing import BRAKE_COLOUR, CLASS_COLOURS, PANEL_HEIGHT, Overlay, draw


@pytest.fixture
def grey():
    return np.full((240, 320, 3), 90, np.uint8)


def test_an_empty_overlay_adds_the_panel_and_enlarges_small_images(grey):
    drawn = draw(grey, Overlay())
    assert drawn.shape == (480 + PANEL_HEIGHT, 640, 3)
    assert (drawn[:480] == 90).all()
    assert draw(np.zeros((400, 900, 3), np.uint8), Overlay()).shape == (400 + PANEL_HEIGHT, 900, 3)


def test_a_box_is_drawn_where_it_is_in_its_class_colour(grey):
    overlay = Overlay(boxes=np.array([[100.0, 100, 200, 160]]), classes=np.array([1]), scores=np.array([0.8]))
    drawn = draw(grey, overlay)
    assert tuple(drawn[260, 200]) == CLASS_COLOURS[1]  # the left edge, twice enlarged
    assert (drawn[260, 300] == 90).all()
    assert (grey == 90).all()


def test_free_space_is_tinted_and_the_rest_is_not(grey):
    mask = np.zeros((60, 80))
    mask[40:] = 1.0
    drawn = draw(grey, Overlay(free_space=mask))
    assert drawn[460, 320, 1] > drawn[460, 320, 0]
    assert (drawn[100, 320] == 90).all()


def test_the_path_lies_on_the_road_below_the_horizon(grey):
    straight = np.stack([np.arange(2.0, 30.0, 1.5), np.zeros(19)], axis=1)
    drawn = draw(grey, Overlay(path=straight, camera=CameraModel.nominal(320, 240)))
    changed = (drawn[:480] != 90).any(axis=2)
    assert changed[300:, 320].any()
    assert not changed[:238].any()


def test_the_brakes_bar_is_as_long_as_the_brake(grey):
    red = [(draw(grey, Overlay(brake=value)) == BRAKE_COLOUR).all(axis=2).sum() for value in (0.2, 0.9)]
    assert red[1] > 3 * red[0]


@pytest.mark.parametrize("box", [[np.nan, 0, 1, 1], [-1e9, -1e9, 1e9, 1e9], [500, 500, 400, 400]])
def test_nonsense_boxes_do_no_harm(grey, box):
    overlay = Overlay(
        boxes=np.array([box], float), classes=np.array([7]), scores=np.array([2.0]), title="x" * 300, reason="a_reason"
    )
    assert draw(grey, overlay).shape == (480 + PANEL_HEIGHT, 640, 3)
