"""The demo's pictures: learning over the releases, latency from camera to command, and the drives."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fed_vit_bringup.demo.records import CommandLog

COLOURS = ("#2f6fde", "#e07a1f", "#2a9d5c", "#b0413e", "#7a5bb5", "#555555")
METRICS = {"map50": "detection mAP50", "free_space_iou": "free-space IoU"}


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path


def learning(releases: Sequence[Mapping], path: Path) -> Path:
    """Each domain's metrics over the releases; ``releases``: {"version", "perception": {domain: {metric: value}}}."""
    figure, axes = plt.subplots(1, len(METRICS), figsize=(10, 3.6))
    versions = [str(release["version"]) for release in releases]
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        for colour, domain in zip(COLOURS, releases[0]["perception"], strict=False):
            values = [release["perception"][domain][metric] for release in releases]
            axis.plot(versions, values, marker="o", color=colour, label=domain.replace("_", " "))
        axis.set(title=title, xlabel="release", ylim=(0, 1))
        axis.grid(alpha=0.3)
    axes[0].legend()
    return save(figure, path)


def latency(logs: Mapping[str, CommandLog], deadline_ms: float, path: Path) -> Path:
    """Distribution of the time from the camera's publication to the command, per vehicle."""
    figure, axis = plt.subplots(figsize=(10, 3.2))
    longest = max(
        (float(np.percentile(log.latency_ms, 99.9)) for log in logs.values() if len(log.latency_ms)), default=0
    )
    bins = np.linspace(0, max(longest, deadline_ms) * 1.05, 80)
    for colour, (vehicle, log) in zip(COLOURS, logs.items(), strict=False):
        axis.hist(log.latency_ms, bins, histtype="step", color=colour, label=vehicle, linewidth=1.5)
    axis.axvline(deadline_ms, color="k", linestyle="--", linewidth=1, label="deadline")
    axis.set(xlabel="camera → command [ms]", ylabel="frames", title="latency")
    axis.legend()
    axis.grid(alpha=0.3)
    return save(figure, path)


def drives(logs: Mapping[str, CommandLog], path: Path) -> Path:
    """Speed over time, with the moments in which the shield overrode the policy."""
    figure, axes = plt.subplots(len(logs), 1, figsize=(10, 2.2 * len(logs)), sharex=True, squeeze=False)
    for axis, colour, (vehicle, log) in zip(axes[:, 0], COLOURS, logs.items(), strict=False):
        time = log.stamp - log.stamp[0] if len(log.stamp) else log.stamp
        axis.plot(time, log.speed, color=colour)
        top = axis.get_ylim()[1]
        # Lines, because an intervention may last for a twentieth of a second of minutes.
        axis.vlines(time[log.intervened], 0, top, color="#b0413e", alpha=0.4, linewidth=1.5)
        axis.set(ylabel="speed [m/s]", title=f"{vehicle} (red: the shield intervened)", ylim=(0, top))
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("time [s]")
    return save(figure, path)
