"""The demo's report: one JSON file for programs, one self-contained page for people."""

import base64
import json
import mimetypes
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import jinja2

from fed_vit_autorl.edge.topics import END_TO_END_DEADLINE_S
from fed_vit_bringup.demo import plots
from fed_vit_bringup.demo.records import CommandLog

DEADLINE_MS = END_TO_END_DEADLINE_S * 1e3


def data_uri(path: Path) -> str:
    """A file's content as a URI, so that a page needs no file beside it."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def write(report: Mapping, logs: Mapping[str, CommandLog], domains: Mapping[str, str], folder: Path) -> Path:
    """Writes ``report.json``, ``plots/`` and ``report.html``; returns the page.

    Args:
        report: the figures; ``report["releases"]`` has each release's metrics per domain.
        logs: each vehicle's commands.
        domains: the weather each vehicle lives in.
        folder: where the vehicles' videos lie as ``<vehicle>/camera.mp4``.
    """
    drawn = {
        "learning": plots.learning(report["releases"], folder / "plots" / "learning.png"),
        "latency": plots.latency(logs, DEADLINE_MS, folder / "plots" / "latency.png"),
        "drives": plots.drives(logs, folder / "plots" / "drives.png"),
    }
    videos = {vehicle: folder / vehicle / "camera.mp4" for vehicle in logs}
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        files("fed_vit_bringup.demo").joinpath("report.html.j2").read_text()
    )
    page = folder / "report.html"
    page.write_text(
        template.render(
            report=report,
            deadline_ms=DEADLINE_MS,
            domains=domains,
            plots={name: data_uri(path) for name, path in drawn.items()},
            videos={vehicle: data_uri(path) for vehicle, path in videos.items() if path.exists()},
        )
    )
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return page
