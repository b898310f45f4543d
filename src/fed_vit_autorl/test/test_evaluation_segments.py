import numpy as np

from fed_vit_autorl.data.classes import SEMANTIC_CLASSES, UNLABELLED
from fed_vit_autorl.evaluation.segments import COLOURS, side_by_side


def test_picture_label_and_what_the_model_says_stand_side_by_side_in_their_colours():
    image = np.full((2, 3, 3), 7, np.uint8)
    label = np.full((2, 3), UNLABELLED, np.uint8)
    label[0, 0] = SEMANTIC_CLASSES.index("road")
    said = np.full((2, 3), SEMANTIC_CLASSES.index("tree"))
    row = side_by_side(image, label, said)
    assert row.shape == (2, 9, 3)
    assert (row[:, :3] == 7).all()
    assert tuple(row[0, 3]) == COLOURS["road"]
    assert tuple(row[1, 5]) == (0, 0, 0)
    assert (row[:, 6:] == COLOURS["tree"]).all()
    assert len(set(COLOURS.values())) == len(SEMANTIC_CLASSES)
