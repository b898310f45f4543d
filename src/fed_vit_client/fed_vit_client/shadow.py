"""A release on the vehicle's own held-out experience, beside the active one, before it drives anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.release import Manifest, Reason, ReleaseRefused
from fed_vit_autorl.evaluation.reference import evaluate_perception

FIGURES = ("map50", "free_space_iou")


@dataclass
class ShadowTest:
    """Refuses a release that loses more than the share `gate` of a figure on at least `min_samples` held-out samples.

    Labels are the vehicle's own, so the gate is wider than the aggregator's.
    """

    experience: Path
    identity: Identity
    gate: float
    min_samples: int = 20
    max_samples: int = 40

    def __call__(self, folder: Path, manifest: Manifest, active: Path | None) -> dict[str, float]:
        """Figures of the release, `before.<figure>` of the active one; {} with too little experience. Raises
        ReleaseRefused.
        """
        samples = SampleFolder(self.experience)
        _, held_out = samples.split()
        keys = held_out[-self.max_samples :]
        if active is None or len(keys) < self.min_samples:
            return {}
        trusted = self.identity.release_keys()
        after = evaluate_perception(folder, manifest, {}, samples.read(keys))
        before = evaluate_perception(active, release.read_manifest(active, trusted), {}, samples.read(keys))
        for figure in FIGURES:
            if after.get(figure, 0.0) < (1 - self.gate) * before.get(figure, 0.0):
                found = f"{figure} {after.get(figure, 0.0):.3f} after {before[figure]:.3f}"
                raise ReleaseRefused(Reason.WORSE_IN_SHADOW, found)
        kept = {name: after[name] for name in FIGURES if name in after}
        return kept | {f"before.{name}": before[name] for name in FIGURES if name in before}
