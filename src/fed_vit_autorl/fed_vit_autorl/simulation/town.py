"""Towns made by SUMO's netgenerate from a seed, and the geometry of their lanes."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import sumolib
from numpy.typing import NDArray

from fed_vit_autorl.cache import cache_folder
from fed_vit_autorl.refusal import Refused

LANE_WIDTH_M = 3.5
SIDEWALK_WIDTH_M = 2.5


class TownKind(StrEnum):
    """Families of street plans."""

    GRID = "grid"
    SPIDER = "spider"
    RANDOM = "random"


class TownReason(StrEnum):
    """Why a town could not be made."""

    BAD_SPEC = "bad_town_spec"
    GENERATOR_FAILED = "town_generator_failed"


class TownRefused(Refused):
    """A town that cannot be made; `reason` says why."""


@dataclass(frozen=True)
class TownSpec:
    """What to generate: the same spec gives the same town.

    `size` is the number of streets per side (grid), of arms (spider) or a tenth of the growth steps (random), 2 to 12;
    `block_m` the distance of junctions, 50 to 400 m; `lanes` per direction, 1 or 2; `speed_limit` in m/s.
    """

    kind: TownKind = TownKind.GRID
    seed: int = 1
    size: int = 4
    block_m: float = 90.0
    lanes: int = 1
    speed_limit: float = 11.11

    def __post_init__(self) -> None:
        ok = 2 <= self.size <= 12 and 50 <= self.block_m <= 400 and self.lanes in (1, 2) and 1 < self.speed_limit <= 40
        if not ok or self.seed < 0:
            raise TownRefused(TownReason.BAD_SPEC, f"{self}; see the ranges in TownSpec")


@dataclass(frozen=True, eq=False)
class Lane:
    """A lane: `line` (N, 2) [m] along its centre in `map`, `width` [m], `speed_limit` [m/s], SUMO's id and edge."""

    id: str
    edge: str
    line: NDArray[np.float64]
    width: float
    speed_limit: float


@dataclass(frozen=True, eq=False)
class Connection:
    """A way across a junction from one lane to another, ruled by signal `signal` (None: no light)."""

    source: str
    target: str
    via: tuple[str, ...]
    signal: int | None


@dataclass(frozen=True)
class Signal:
    """A traffic light for one approach. `x`, `y` [m] and `yaw` [rad] of its stop line's middle in `map` (yaw along the
    traffic), `width` [m] of the lanes it rules; `programme` and `links` address it in SUMO.
    """

    id: int
    x: float
    y: float
    yaw: float
    width: float
    programme: str
    links: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Town:
    """Lanes, connections, signals and areas of one generated town, in `map` (ENU, metres).

    `junctions`, `walking_areas`: polygons (N, 2). `lanes`, `sidewalks` and `crossings` are those for vehicles outside
    junctions, `inner` the ones inside.
    """

    spec: TownSpec
    net_file: Path
    lanes: dict[str, Lane]
    inner: dict[str, Lane]
    sidewalks: dict[str, Lane]
    crossings: dict[str, Lane]
    connections: dict[str, list[Connection]]
    signals: list[Signal]
    junctions: list[NDArray[np.float64]] = field(repr=False)
    walking_areas: list[NDArray[np.float64]] = field(repr=False)

    @property
    def name(self) -> str:
        """Kind, size and seed, as in "grid_4_seed_3"."""
        return f"{self.spec.kind}_{self.spec.size}_seed_{self.spec.seed}"

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 [m] around all streets."""
        points = np.concatenate([*self.junctions, *(lane.line for lane in self.lanes.values())])
        return (*points.min(axis=0), *points.max(axis=0))

    @cached_property
    def edges(self) -> list[str]:
        """Streets that vehicles use, one entry per direction."""
        return sorted({lane.edge for lane in self.lanes.values()})

    @cached_property
    def walkways(self) -> list[str]:
        """Streets that have a pavement."""
        return sorted({lane.edge for lane in self.sidewalks.values()})


def polyline_length(line: NDArray[np.float64]) -> float:
    """Length [m] of a polyline (N, 2)."""
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())


def build_town(spec: TownSpec, cache: Path | None = None) -> Town:
    """The town of `spec`, generated once and kept in `cache` (default: the user's cache folder).

    Raises `TownRefused` where netgenerate fails.
    """
    folder = cache or cache_folder("towns")
    digest = hashlib.sha256(repr((sorted(asdict(spec).items()), _options(spec))).encode()).hexdigest()[:16]
    net_file = folder / f"{digest}.net.xml"
    if not net_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _generate(spec, net_file)
    return _read(spec, net_file)


def _options(spec: TownSpec) -> list[str]:
    shape = {
        TownKind.GRID: [
            "--grid",
            *("--grid.number", str(spec.size), "--grid.length", str(spec.block_m)),
            *("--perturb-x", f"normc(0,{spec.block_m / 12},{-spec.block_m / 6},{spec.block_m / 6})"),
            *("--perturb-y", f"normc(0,{spec.block_m / 12},{-spec.block_m / 6},{spec.block_m / 6})"),
        ],
        TownKind.SPIDER: [
            "--spider",
            "--spider.omit-center",
            *("--spider.arm-number", str(max(spec.size, 3)), "--spider.circle-number", "2"),
            *("--spider.space-radius", str(spec.block_m)),
        ],
        TownKind.RANDOM: [
            "--rand",
            *("--rand.iterations", str(10 * spec.size), "--rand.connectivity", "0.95", "--rand.min-angle", "60"),
            *("--rand.min-distance", str(0.8 * spec.block_m), "--rand.max-distance", str(1.2 * spec.block_m)),
        ],
    }[spec.kind]
    # One green phase per approach: no turn crosses oncoming traffic, and one light rules a whole approach as in CARLA.
    lights = ["--default-junction-type", "traffic_light", "--tls.layout", "incoming", "--tls.green.time", "9"]
    walking = ["--sidewalks.guess", "--sidewalks.guess.max-speed", "50", "--crossings.guess"]
    streets = [
        *("--default.lanenumber", str(spec.lanes), "--default.lanewidth", str(LANE_WIDTH_M)),
        *("--default.sidewalk-width", str(SIDEWALK_WIDTH_M), "--default.speed", str(spec.speed_limit)),
        *("--default.junctions.radius", "7", "--junctions.corner-detail", "6", "--no-turnarounds", "true"),
    ]
    return [*shape, *lights, *walking, *streets, "--seed", str(spec.seed)]


def _generate(spec: TownSpec, net_file: Path) -> None:
    import sumo

    with tempfile.TemporaryDirectory(dir=net_file.parent) as scratch:
        made = Path(scratch) / "town.net.xml"
        command = [str(Path(sumo.SUMO_HOME) / "bin" / "netgenerate"), *_options(spec), "--output-file", str(made)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if run.returncode or not made.exists():
            raise TownRefused(TownReason.GENERATOR_FAILED, run.stderr.strip()[-400:] or "no output")
        made.replace(net_file)


def _read(spec: TownSpec, net_file: Path) -> Town:
    net = sumolib.net.readNet(str(net_file), withInternal=True, withPedestrianConnections=True)
    lanes, inner, sidewalks, crossings, walking_areas = {}, {}, {}, {}, []
    shelf = {"": lanes, "internal": inner, "crossing": crossings}
    for edge in net.getEdges(withInternal=True):
        for lane in edge.getLanes():
            if edge.getFunction() == "walkingarea":
                walking_areas.append(np.array(lane.getShape(), np.float64)[:, :2])
                continue
            line = np.array(lane.getShape(), np.float64)[:, :2]
            entry = Lane(lane.getID(), edge.getID(), line, lane.getWidth(), lane.getSpeed())
            shelf_here = sidewalks if edge.getFunction() == "" and not lane.allows("passenger") else None
            (shelf[edge.getFunction()] if shelf_here is None else shelf_here)[entry.id] = entry
    signals, signal_of_link = _signals(net, lanes)
    return Town(
        spec=spec,
        net_file=net_file,
        lanes=lanes,
        inner=inner,
        sidewalks=sidewalks,
        crossings=crossings,
        connections=_connections(net, lanes, signal_of_link),
        signals=signals,
        junctions=[np.array(node.getShape(), np.float64)[:, :2] for node in net.getNodes() if len(node.getShape()) > 2],
        walking_areas=walking_areas,
    )


def _signals(net: sumolib.net.Net, lanes: dict[str, Lane]) -> tuple[list[Signal], dict[tuple[str, int], int]]:
    approaches: dict[tuple[str, str], set[int]] = {}
    for lane_id in sorted(lanes):
        lane = net.getLane(lane_id)
        for connection in lane.getOutgoing():
            if connection.getTLSID() and connection.getTLLinkIndex() >= 0:
                key = (connection.getTLSID(), lane.getEdge().getID())
                approaches.setdefault(key, set()).add(connection.getTLLinkIndex())
    signals, by_link = [], {}
    for number, ((programme, edge), links) in enumerate(sorted(approaches.items())):
        ends = [lane for lane in lanes.values() if lane.edge == edge]
        x, y = np.mean([lane.line[-1] for lane in ends], axis=0)
        dx, dy = ends[0].line[-1] - ends[0].line[-2]
        width = sum(lane.width for lane in ends)
        signals.append(
            Signal(number, float(x), float(y), float(np.arctan2(dy, dx)), width, programme, tuple(sorted(links)))
        )
        by_link.update({(programme, link): number for link in links})
    return signals, by_link


def _connections(net: sumolib.net.Net, lanes: dict[str, Lane], signal_of_link: dict) -> dict[str, list[Connection]]:
    connections: dict[str, list[Connection]] = {lane: [] for lane in lanes}
    for lane_id, out in connections.items():
        for connection in net.getLane(lane_id).getOutgoing():
            target = connection.getToLane().getID()
            if target not in lanes:
                continue
            via, step = [], connection.getViaLaneID()
            while step:
                via.append(step)
                step = next((c.getViaLaneID() for c in net.getLane(step).getOutgoing()), "")
            signal = signal_of_link.get((connection.getTLSID(), connection.getTLLinkIndex()))
            out.append(Connection(lane_id, target, tuple(via), signal))
    return connections
