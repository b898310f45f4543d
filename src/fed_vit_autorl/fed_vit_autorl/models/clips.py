"""Clips: a few consecutive samples of one vehicle with what moves in the last of them and where the vehicle goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fed_vit_autorl.data.classes import UNLABELLED
from fed_vit_autorl.data.sample import track_in_base
from fed_vit_autorl.data.store import Key, SampleFolder

from .losses import at_mask_stride
from .temporal import WAYPOINTS, ClipTargets

STAMP_TOLERANCE_S = 0.01


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """inputs: frames float32 (B, T, 3, H, W) in [0, 1] RGB, the last one now."""

    inputs: tuple[Tensor, ...]
    targets: ClipTargets


class Clips:
    """All windows of `frames` samples `interval_s` apart that one source of a folder left, for a model of (H, W).

    `after`: a window ends no earlier than with this sample of its run, so that models of fewer frames are measured on
    the same pictures.
    """

    def __init__(
        self, folders: Sequence[SampleFolder], frames: int, interval_s: float, size: tuple[int, int], after: int = 0
    ) -> None:
        self._size = size
        self._windows = [
            (folder, track[end - frames + 1 : end + 1], track[end + 1 : end + 1 + WAYPOINTS])
            for folder in folders
            for track in _tracks(folder, interval_s)
            for end in range(max(frames, after) - 1, len(track))
        ]

    def __len__(self) -> int:
        return len(self._windows)

    def get(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(frames uint8 (T, H, W, 3), motion (H, W), trajectory (20, 2)); raises ValueError for a damaged sample."""
        folder, window, future = self._windows[index]
        height, width = self._size
        samples = [folder.get(key) for key in window]
        if None in samples:
            raise ValueError(f"{folder.folder}: a sample of the clip can't be read")
        images = np.stack([cv2.resize(s.image, (width, height), interpolation=cv2.INTER_AREA) for s in samples])
        labels = samples[-1].labels
        motion = np.full(self._size, UNLABELLED, np.uint8)
        if labels is not None and labels.moving is not None:
            motion = cv2.resize(labels.moving, (width, height), interpolation=cv2.INTER_NEAREST)
        trajectory = np.full((WAYPOINTS, 2), np.nan, np.float32)
        track = [folder.header(key).ego for key in future]
        trajectory[: len(track)] = track_in_base(samples[-1].ego, track)[:, :2]
        return images, motion, trajectory


class ClipBatches(torch.utils.data.Dataset):
    """Training step → batch of random clips, mirrored half of the time; the same for the same seed."""

    def __init__(self, clips: Clips, batch_size: int, seed: int) -> None:
        if not len(clips):
            raise ValueError("no clips to train on: the samples are too far apart, or of too short drives")
        self._clips, self._batch_size, self._seed = clips, batch_size, seed

    def __getitem__(self, step: int) -> ClipBatch:
        random = np.random.default_rng((self._seed, step))
        chosen = [self._clips.get(int(index)) for index in random.integers(len(self._clips), size=self._batch_size)]
        return collate([_mirrored(*clip) if random.random() < 0.5 else clip for clip in chosen])


def collate(clips: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> ClipBatch:
    """Clips of one size as a batch."""
    frames, motion, trajectory = (torch.from_numpy(np.stack(part)) for part in zip(*clips, strict=True))
    targets = ClipTargets(at_mask_stride(motion).unsqueeze(1), trajectory)
    return ClipBatch((frames.permute(0, 1, 4, 2, 3).float() / 255,), targets)


def _mirrored(frames: np.ndarray, motion: np.ndarray, trajectory: np.ndarray) -> tuple[np.ndarray, ...]:
    return frames[:, :, ::-1].copy(), motion[:, ::-1].copy(), trajectory * np.array([1, -1], np.float32)


def _tracks(folder: SampleFolder, interval_s: float) -> list[list[Key]]:
    """Runs of samples of one source, each `interval_s` after the one before."""
    open_tracks: dict[str, tuple[float, list[Key]]] = {}
    tracks = []
    for key in folder.keys():  # noqa: SIM118 (not a dict)
        header = folder.header(key)
        if header is None or header.ego is None:
            continue
        stamp, track = open_tracks.get(header.source, (np.inf, []))
        if abs(header.stamp - stamp - interval_s) > STAMP_TOLERANCE_S:
            track = []
            tracks.append(track)
        track.append(key)
        open_tracks[header.source] = header.stamp, track
    return tracks
