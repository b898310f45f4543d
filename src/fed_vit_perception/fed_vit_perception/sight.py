"""Which model sees an image, and in which precision."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from fed_vit_autorl.deployment.release import Manifest, ReleaseRefused
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.dynamic_quantizer import PROFILES_BY_BITS, DynamicQuantizer
from fed_vit_autorl.edge.hot_swap import Active, HotSwap
from fed_vit_autorl.edge.perceiver import Perceiver, Seen
from fed_vit_autorl.edge.refusal import RuntimeRefused
from fed_vit_autorl.edge.resources import Reading, ResourceLimits, ResourceManager, board_power, process_memory
from fed_vit_autorl.edge.runtime import RuntimeOptions

Profiles = dict[str, Perceiver]
MEMORY_OF_FRAME_TIME = 0.1


class Sight:
    """The active release in all precisions that may be asked for, a small model to fall back on, and the choice.

    `given` are the node's parameters. Raises ValueError when neither the release nor the fallback can be used.
    """

    def __init__(self, given: Any) -> None:
        self._given = given
        self._quantizer = DynamicQuantizer()
        limits = ResourceLimits(given.max_memory, given.max_power, given.target_fps)
        self.resources = ResourceManager(limits)
        self.light_requested = False
        self.refusal = ""
        self._frame_s: float | None = None
        self._images = 0
        self._fallback: Active[Profiles] | None = None
        if given.fallback_release:
            self._fallback = self._open(given.fallback_release).active
        try:
            self.swap = self._open(given.release)
        except ValueError as refusal:
            if self._fallback is None:
                raise
            self.refusal = str(refusal)
            self.swap = self._open(given.fallback_release)

    def close(self) -> None:
        """Lets a load in progress end and frees the models."""
        self.swap.finish()
        for active in (self.swap.active, self._fallback):
            for perceiver in active.model.values() if active else ():
                perceiver.runtime.close()

    def leaves_out(self) -> bool:
        """Whether the next image is left out to save what there is too little of."""
        self._images += 1
        return self._images % self.resources.level.every != 0

    def see(self, image: np.ndarray, cloud: np.ndarray | None) -> tuple[Seen, Manifest, str]:
        """(what it saw, the release that saw it, the profile) of an image uint8 (H, W, 3) RGB and, for a release that
        takes LiDAR too, points float32 (N, 4) in `base_link`.
        """
        active, profile = self.chosen()
        started = time.perf_counter()
        seen = active.model[profile](image, cloud)
        took = time.perf_counter() - started
        kept = self._frame_s if self._frame_s is not None else took
        self._frame_s = kept + MEMORY_OF_FRAME_TIME * (took - kept)
        self._quantizer.choose(self._quantizer.estimate_complexity(seen, image.shape[0]))
        return seen, active.manifest, profile

    def chosen(self) -> tuple[Active[Profiles], str]:
        """The model and the profile for the next image."""
        level = self.resources.level
        active = self._fallback if level.fallback and self._fallback is not None else self.swap.active
        if self.light_requested or level.light:
            return active, self._given.light_profile
        return active, self._quantizer.profile if self._given.profile == "dynamic" else self._given.profile

    def watch_resources(self) -> None:
        """Called at a steady rate: measures what is used and takes or gives back a level."""
        self.resources.update(Reading(process_memory(), board_power(), self._frame_s))

    def _open(self, folder: str) -> HotSwap[Profiles]:
        try:
            return HotSwap(Path(folder), Path(self._given.trusted_keys), self._load)
        except (ReleaseRefused, RuntimeRefused) as refusal:
            raise ValueError(f"{folder}: {refusal}") from refusal

    def _load(self, folder: Path, manifest: Manifest) -> Profiles:
        """Every profile that may be asked for, so that changing it costs no frame."""
        given = self._given
        names = set(PROFILES_BY_BITS if given.profile == "dynamic" else [given.profile]) | {given.light_profile}
        options = RuntimeOptions(threads=given.threads)
        return {
            name: Perceiver(
                runtime.load(folder, manifest, "perception", given.provider, options, profile=name),
                given.score_threshold,
            )
            for name in sorted(names)
        }
