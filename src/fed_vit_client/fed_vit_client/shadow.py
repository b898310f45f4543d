"""A release on the vehicle's own held-out experience, beside the active one, before it drives anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.release import Manifest, Reason
from fed_vit_autorl.evaluation.reference import evaluate_perception
from fed_vit_autorl.federated.drift import BEFORE, OBJECTS, STANDARD_ERRORS, standard_error
from fed_vit_autorl.federated.vehicle.releases import Shadow

FIGURES = ("map50", "free_space_iou")


@dataclass
class ShadowTest:
    """Refuses a release that loses more than the share `gate` of a figure on at least `min_samples` labelled held-out
    samples, and more than chance explains there.

    Labels are the vehicle's own, so the gate is wider than the aggregator's.
    """

    experience: Path
    identity: Identity
    gate: float
    min_samples: int = 20
    max_samples: int = 40

    def __call__(self, folder: Path, manifest: Manifest, active: Path | None) -> Shadow:
        """Figures of the release, `before.<figure>` of the active one; none with too little experience."""
        samples = SampleFolder(self.experience)
        _, held_out = samples.split()
        seen = [sample for sample in samples.read(held_out[-self.max_samples :]) if sample.labels is not None]
        if active is None or len(seen) < self.min_samples:
            return Shadow()
        trusted = self.identity.release_keys()
        after = evaluate_perception(folder, manifest, {}, seen)
        before = evaluate_perception(active, release.read_manifest(active, trusted), {}, seen)
        figures = {name: after.get(name, 0.0) for name in FIGURES if name in before}
        counts = {"map50": sum(len(sample.labels.boxes) for sample in seen), "free_space_iou": len(seen)}
        worse = any(self._is_worse(before[name], after, counts[name]) for name, after in figures.items())
        figures |= {BEFORE + name: before[name] for name in FIGURES if name in before}
        return Shadow(figures | {OBJECTS: float(counts["map50"])}, Reason.WORSE_IN_SHADOW if worse else None)

    def _is_worse(self, before: float, after: float, count: int) -> bool:
        """Beyond the gate, and beyond chance: a dozen objects prove nothing."""
        chance = STANDARD_ERRORS * standard_error(before, max(count, 1))
        return after < (1 - self.gate) * before and before - after > chance
