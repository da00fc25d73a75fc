"""What the ground looks like: carriageways with their markings, kerbs, pavements and grass."""

from typing import NamedTuple

import numpy as np

from twin.compiled import leaf
from twin.scenario.fields import Scenario
from twin.scenario.street_plan import cross_lanes, junction_plan, street_areas
from twin.sensors.surfaces.noise import cell_noise, ripple, value_noise
from twin.sensors.surfaces.table import SURFACE_NAMES, SURFACES

__all__ = ["EDGE_LINE_M", "KERB_M", "LINE_M", "Ground", "ground_colour", "ground_of"]

LINE_M, EDGE_LINE_M = 0.12, 0.25
"""Width of a line, and how far the middle of an edge line is from the kerb [m]."""
DASH_M, PERIOD_M = 3.0, 12.0
"""Dashed lines between lanes: 10 feet in 40 (MUTCD 2009, section 3A.06)."""
DOUBLE_M = 0.24
"""Between the middles of the two yellow lines that part the directions [m]."""
BAR_M, BAR_PERIOD_M = 0.5, 1.1
"""Bars of a crosswalk, and from one to the next [m]."""
KERB_M, PAVEMENT_M, SHOULDER_M, APRON_M = 0.18, 3.0, 2.5, 5.0
"""Widths of the kerb, of a pavement where the scenario gives none, of the shoulder of a dual carriageway, and of the
paving around buildings [m]."""

STRIPE = np.dtype(
    [("road", np.int64)]
    + [(name, np.float64) for name in ("across", "half", "start", "stop", "dash", "period")]
    + [("yellow", np.int64)]
)
"""Paint on a road: `half` to both sides of `across`, from `start` to `stop` along it, `dash` in every `period` [m]."""
PAVED = np.dtype([(name, np.float64) for name in ("along", "across", "length", "width")] + [("surface", np.int64)])
"""A rectangle beside the carriageways: its middle along and across the street, half its length and half its width [m],
and what it is made of."""
ASPHALT, SIDEWALK = (SURFACE_NAMES.index(name) for name in ("asphalt", "sidewalk"))
_WHITE = SURFACES["marking"].albedo
_YELLOW = (0.62, 0.40, 0.06)
_ASPHALT, _SIDEWALK, _GRASS = (SURFACES[name].albedo for name in ("asphalt", "sidewalk", "grass"))
_CYCLE_TINT = (1.75, 0.95, 0.80)
_FAR = np.inf


class Ground(NamedTuple):
    """The plan of the ground; streets go on beyond their ends, as far as can be seen.

    Attributes:
        road: (road, 5) a point on the middle of the street, and of its cross street, cosine and sine of its heading,
            and from there to its kerbs.
        lane: (road, lanes at most) middles of its lanes across it, NaN beyond their number.
        kerb: (road,) width of its kerb, 0 without one.
        cycle: from the middle of the street to its cycle lanes.
        stripe: what is painted on carriageways, array of `STRIPE`.
        paved: what is beside them, array of `PAVED`; grass elsewhere.
    """

    road: np.ndarray
    lane: np.ndarray
    kerb: np.ndarray
    cycle: float
    stripe: np.ndarray
    paved: np.ndarray


def ground_of(scenario: Scenario) -> Ground:
    """The ground of a scenario."""
    heading, cross, plan = scenario.street_heading_rad, cross_lanes(scenario), junction_plan(scenario)
    road = [[*scenario.local_m(0.0, 0.0), np.cos(heading), np.sin(heading), scenario.kerb_m]]
    lanes = [[across for across, _ in scenario.lanes]]
    if plan is not None and cross:
        road.append([*scenario.local_m(plan.middle_m, 0.0), -np.sin(heading), np.cos(heading), plan.half_width_m])
        lanes.append([plan.middle_m - along for along, _ in cross])
    lane = np.full((len(road), max(map(len, lanes))), np.nan)
    for row, found in zip(lane, lanes, strict=True):
        row[: len(found)] = found
    kerb = np.full(len(road), 0.0 if _is_dual(scenario) else KERB_M)
    return Ground(np.array(road), lane, kerb, scenario.half_width_m, _stripes(scenario), _paved(scenario))


def _is_dual(scenario: Scenario) -> bool:
    """Whether the street is a dual carriageway with shoulders."""
    return scenario.street.median_width_m > 0 and scenario.street.sidewalk_width_m == 0


def _paved(scenario: Scenario) -> np.ndarray:
    """Pavements or shoulders along the roads, verges, and aprons around buildings."""
    kerb_m, far_m = scenario.kerb_m, scenario.sidewalk_m[1]
    if scenario.street.sidewalk_width_m == 0:
        far_m = max(far_m, kerb_m + (SHOULDER_M if _is_dual(scenario) else KERB_M + PAVEMENT_M))
    rows = [(0.0, 0.0, _FAR, far_m, ASPHALT if _is_dual(scenario) else SIDEWALK)]
    plan = junction_plan(scenario)
    if plan is not None and plan.half_width_m > 0:
        rows.append((plan.middle_m, 0.0, plan.half_width_m + KERB_M + PAVEMENT_M, _FAR, SIDEWALK))
    for house in scenario.buildings:
        if house.present and min(house.length_m, house.depth_m) > 2 * KERB_M + 1.0:
            size = (house.length_m / 2 + APRON_M, house.depth_m / 2 + APRON_M)
            rows.append((house.along_m, house.across_m, *size, SIDEWALK))
    if scenario.scenery:  # of a town
        rows.append((0.0, 0.0, _FAR, _FAR, SIDEWALK))
    return np.array(rows, PAVED)


def _stripes(scenario: Scenario) -> np.ndarray:
    """All that is painted on the carriageways."""
    plan, street = junction_plan(scenario), scenario.street
    gap = (0.0, 0.0) if plan is None else (plan.middle_m - plan.stop_m, plan.middle_m + plan.stop_m)
    lanes = scenario.lanes
    rows = _lines(0, lanes, street.lane_width_m, scenario.half_width_m, gap)
    if street.cycle_lane_width_m > 0:
        for side in (-1, 1):
            rows += _split(0, side * (scenario.kerb_m - EDGE_LINE_M), gap)
    if plan is None:
        return np.array(rows, STRIPE)
    cross = [(plan.middle_m - along, direction) for along, direction in cross_lanes(scenario)]
    if cross:
        width, stop = 2 * plan.half_width_m / len(cross), plan.cross_stop_m
        rows += _lines(1, sorted(cross), width, plan.half_width_m, (-stop, stop))
    for area in street_areas(scenario):
        if area.kind in ("crosswalk", "stop_line"):
            rows += _painted(scenario, area.kind, area.along_m, area.across_m, plan.middle_m)
    return np.array(rows, STRIPE)


def _lines(
    road: int, lanes: list[tuple[float, int]], width: float, half: float, gap: tuple[float, float]
) -> list[tuple[float, ...]]:
    """White lines at the edges, dashed ones between lanes of one direction, yellow ones between the directions."""
    rows = [row for side in (-1, 1) for row in _split(road, side * (half - EDGE_LINE_M), gap)]
    for (across, direction), (other_across, other) in zip(lanes, lanes[1:], strict=False):
        low, high = across + width / 2, other_across - width / 2
        if direction == other:
            rows += _split(road, low, gap, DASH_M, PERIOD_M)
        elif high - low > DOUBLE_M:
            rows += _split(road, low - LINE_M, gap, yellow=1) + _split(road, high + LINE_M, gap, yellow=1)
        else:
            rows += [row for s in (-1, 1) for row in _split(road, low + s * DOUBLE_M / 2, gap, yellow=1)]
    return rows


def _split(
    road: int, across: float, gap: tuple[float, float], dash: float = 1.0, period: float = 1.0, yellow: int = 0
) -> list[tuple[float, ...]]:
    """A line, but for a gap at the junction."""
    ends = [(-_FAR, _FAR)] if gap[0] == gap[1] else [(-_FAR, gap[0]), (gap[1], _FAR)]
    return [(road, across, LINE_M / 2, start, stop, dash, period, yellow) for start, stop in ends]


def _painted(
    scenario: Scenario, kind: str, along: tuple[float, float], across: tuple[float, float], middle: float
) -> list[tuple[float, ...]]:
    """A stop line, or the bars of a crosswalk, which lie as the traffic drives."""
    road = 0
    if across[0] >= scenario.kerb_m or across[1] <= -scenario.kerb_m:  # on the cross street, in whose frame it goes on
        road, along, across = 1, across, (middle - along[1], middle - along[0])
    if kind == "stop_line":
        return [(road, sum(across) / 2, (across[1] - across[0]) / 2, *along, 1.0, 1.0, 0)]
    count = int((across[1] - across[0] - BAR_M) / BAR_PERIOD_M) + 1
    first = sum(across) / 2 - (count - 1) / 2 * BAR_PERIOD_M
    return [(road, first + k * BAR_PERIOD_M, BAR_M / 2, *along, 1.0, 1.0, 0) for k in range(count)]


@leaf
def ground_colour(ground, x, y, seen):  # type: ignore[no-untyped-def]
    """Albedo at a place of the local frame, averaged over details smaller than `seen` [m]."""
    inside, kerb = -1, False
    for n in range(ground.road.shape[0]):
        along, across = _in_road(ground, n, x, y)
        past = abs(across) - ground.road[n, 4]
        kerb = kerb or past < ground.kerb[n]
        if past < 0.0:
            inside = n
            if _has_paint(ground, n, along, across) >= 0:
                return _paint(_has_paint(ground, n, along, across), along, across)
    along, across = _in_road(ground, 0, x, y)
    if inside >= 0:
        aside = _in_road(ground, inside, x, y)[1]
        shade = _tarmac(along, across, seen) * _wear(ground, inside, aside)
        r, g, b = shade * _ASPHALT[0], shade * _ASPHALT[1], shade * _ASPHALT[2]
        if inside == 0 and abs(across) > ground.cycle:
            return _CYCLE_TINT[0] * r, _CYCLE_TINT[1] * g, _CYCLE_TINT[2] * b
        return r, g, b
    if kerb:
        shade = 1.25 + 0.3 * ripple(along, across, 11, 0.5, seen)
        return _SIDEWALK[0] * shade, _SIDEWALK[1] * shade, _SIDEWALK[2] * shade
    for k in range(ground.paved.shape[0]):
        part = ground.paved[k]
        if abs(along - part.along) < part.length and abs(across - part.across) < part.width:
            if part.surface == SIDEWALK:
                return _pavement(along, across, seen)
            shade = 1.15 * _tarmac(along, across, seen)
            return _ASPHALT[0] * shade, _ASPHALT[1] * shade, _ASPHALT[2] * shade
    return _grass(along, across, seen)


@leaf
def _in_road(ground, n, x, y):  # type: ignore[no-untyped-def]
    """Metres along and across a road."""
    dx, dy = x - ground.road[n, 0], y - ground.road[n, 1]
    c, s = ground.road[n, 2], ground.road[n, 3]
    return dx * c + dy * s, dy * c - dx * s


@leaf
def _has_paint(ground, n, along, across):  # type: ignore[no-untyped-def]
    """1 where a road is painted yellow, 0 white, -1 not at all."""
    for k in range(ground.stripe.shape[0]):
        stripe = ground.stripe[k]
        if stripe.road != n or abs(across - stripe.across) > stripe.half or not stripe.start <= along <= stripe.stop:
            continue
        if along % stripe.period <= stripe.dash:
            return stripe.yellow
    return -1


@leaf
def _paint(yellow, along, across):  # type: ignore[no-untyped-def]
    """Paint that tyres have worn."""
    shade = 0.75 + 0.25 * value_noise(along * 3.0, across * 6.0, 5)
    if yellow == 1:
        return _YELLOW[0] * shade, _YELLOW[1] * shade, _YELLOW[2] * shade
    return _WHITE[0] * shade, _WHITE[1] * shade, _WHITE[2] * shade


@leaf
def _tarmac(along, across, seen):  # type: ignore[no-untyped-def]
    shade = 1.0 + 0.30 * ripple(along, across, 1, 7.0, seen) + 0.25 * ripple(along, across * 3.0, 2, 1.3, seen)
    return shade + 0.30 * ripple(along, across, 3, 0.15, seen) + 0.8 * ripple(along, across, 4, 0.025, seen)


@leaf
def _wear(ground, n, across):  # type: ignore[no-untyped-def]
    """Tyres polish two tracks in a lane, oil drips between them; the gutter is paler."""
    shade = 1.0
    for k in range(ground.lane.shape[1]):
        aside = abs(across - ground.lane[n, k])
        if aside < 1.4:
            track, oil = max(0.0, 1.0 - abs(aside - 0.8) / 0.45), max(0.0, 1.0 - aside / 0.4)
            shade *= 1.0 - 0.10 * track - 0.13 * oil
    return 1.35 * shade if ground.kerb[n] > 0.0 and ground.road[n, 4] - abs(across) < 0.35 else shade


@leaf
def _pavement(along, across, seen):  # type: ignore[no-untyped-def]
    """Slabs of 1.5 m."""
    i, j = int(np.floor(along / 1.5)), int(np.floor(across / 1.5))
    edge = min(min(along - 1.5 * i, 1.5 * (i + 1) - along), min(across - 1.5 * j, 1.5 * (j + 1) - across))
    shade = 0.93 + 0.14 * cell_noise(i, j, 7) if seen < 1.5 else 1.0
    shade += 0.16 * ripple(along, across, 8, 0.6, seen) + 0.5 * ripple(along, across, 9, 0.04, seen)
    joint = 0.012 + 0.5 * seen
    if edge < joint:
        shade *= 1.0 - 0.4 * min(1.0, 0.018 / joint)
    return _SIDEWALK[0] * shade, _SIDEWALK[1] * shade, _SIDEWALK[2] * shade


@leaf
def _grass(along, across, seen):  # type: ignore[no-untyped-def]
    spots = ripple(along, across, 21, 9.0, seen) + ripple(along, across, 22, 2.0, seen)
    dry = min(1.0, max(0.0, 0.5 + 0.9 * spots))
    shade = 0.95 + 0.5 * ripple(along, across, 23, 0.5, seen) + 0.9 * ripple(along, across, 24, 0.06, seen)
    r, g, b = _GRASS
    return shade * (r + 0.09 * dry), shade * (g + 0.03 * dry), shade * (b + 0.02 * dry)
