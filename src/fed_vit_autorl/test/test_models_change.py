"""What has changed since earlier pictures is told where it was and where it is, and nowhere else."""

import torch

from fed_vit_autorl.models.change import Change

SQUARE = slice(24, 32)


def square(left):
    picture = torch.full((3, 64, 96), 0.2)
    picture[:, SQUARE, left : left + 8] = 0.9
    return picture


def differences(change, pictures):
    """(earlier, 24, 16, 24): what `change` compares."""
    seen = []
    change.since.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        change(torch.stack(pictures).unsqueeze(0))
    return seen[0][0].unflatten(0, (-1, 24))


def test_nothing_has_changed_where_all_pictures_are_the_same():
    torch.manual_seed(0)
    assert (differences(Change(3), [square(40)] * 4) == 0).all()


def test_each_earlier_picture_is_compared_with_now():
    """The square stands at 64 now and in the second picture, and at 16 in the first and third."""
    torch.manual_seed(0)
    change = Change(3)
    change.detail.stride4 = torch.nn.Conv2d(3, 24, 4, 4)  # group normalisation would spread it over the whole map
    found = differences(change, [square(16), square(64), square(16), square(64)]).abs().amax(1)
    assert (found[1] == 0).all()
    for since in (found[0], found[2]):
        rows, columns = since.nonzero().unbind(1)
        assert set(rows.tolist()) == {6, 7}
        assert set(columns.tolist()) == {4, 5, 16, 17}
