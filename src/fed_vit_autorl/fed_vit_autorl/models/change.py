"""What has changed in the picture since earlier ones, beside what it shows."""

from __future__ import annotations

from torch import Tensor, nn

from .backbone import DETAIL_WIDTHS, ConvNorm, Detail


class Change(nn.Module):
    """Detail of a picture, with its difference to that of each of `earlier` pictures before it.

    All pictures go through the same convolutions, one by one: the difference of their maps at stride 4 is 0 where
    nothing has moved, neither the camera.
    """

    def __init__(self, earlier: int) -> None:
        super().__init__()
        self.detail = Detail()
        self.since = ConvNorm(earlier * DETAIL_WIDTHS[1], DETAIL_WIDTHS[1])

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(B, `earlier` + 1, 3, H, W), the last one now → maps of now (B, 24, H/4, W/4) and (B, 64, H/8, W/8)."""
        fine = self.detail.stride4(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        now = fine[:, -1] + self.since((fine[:, -1:] - fine[:, :-1]).flatten(1, 2))
        return now, self.detail.stride8(now)
