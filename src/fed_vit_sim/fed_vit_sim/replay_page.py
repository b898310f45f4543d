"""The replay's report as one self-contained page."""

import io
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, select_autoescape

from fed_vit_sim.replay_metrics import Row

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MAX_EMBEDDED_BYTES = 24 << 20


def write_page(path: Path, report: dict[str, Any], rows: Sequence[Row]) -> None:
    """Writes the page with the report's figures, plots and video; a video over 24 MiB stays beside the page."""
    template = (files("fed_vit_sim") / "replay_page.html.j2").read_text()
    environment = Environment(autoescape=select_autoescape(default=True))
    path.write_text(
        environment.from_string(template).render(report=report, plot=_plot(rows), video=_video(report["video"]))
    )


def _video(name: str | None) -> str:
    if name is None:
        return ""
    video = Path(name)
    if video.stat().st_size > MAX_EMBEDDED_BYTES:
        return video.name
    return "data:video/mp4;base64," + b64encode(video.read_bytes()).decode()


def _plot(rows: Sequence[Row]) -> str:
    """Steering, braking and latency over time, as a data URI."""
    time = np.array([row.stamp for row in rows]) - (rows[0].stamp if rows else 0.0)
    figure, (steering, brake, latency) = plt.subplots(3, 1, figsize=(10, 6.5), sharex=True, layout="constrained")
    for values, label in (("driver", "recorded driver"), ("steering", "command"), ("seen", "free road")):
        steering.plot(time, _column(rows, values), label=label, linewidth=1.0)
    steering.set_ylabel("steering, left +")
    steering.legend(loc="upper right", ncols=3, frameon=False)
    brake.fill_between(time, _column(rows, "braking"), step="mid", alpha=0.6, color="#d64545", label="command brakes")
    brake.fill_between(
        time, -_column(rows, "driver_brakes"), step="mid", alpha=0.6, color="#7a869a", label="driver does not drive"
    )
    brake.set_yticks([])
    brake.legend(loc="upper right", ncols=2, frameon=False)
    latency.plot(time, _column(rows, "latency_ms"), linewidth=0.8, color="#2f7ed8")
    latency.set_ylabel("camera → command [ms]")
    latency.set_xlabel("time [s]")
    for axes in (steering, brake, latency):
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return "data:image/svg+xml;base64," + b64encode(buffer.getvalue()).decode()


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([np.nan if getattr(row, name) is None else getattr(row, name) for row in rows], float)
