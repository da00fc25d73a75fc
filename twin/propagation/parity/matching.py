"""Paths of two tracers side by side: which of them are the same, and how far they differ.

A path is the same when it bounces in the same way off the same facets in the same order. Surfaces that lie in one plane
may be named differently: what is left over is matched by the planes and the places of its bounces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from twin.geometry.facets import Body
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Interaction, Paths

__all__ = [
    "LIMITS", "STRONG_DB", "Differences", "Figures", "Matched", "differences", "figures_of", "interactions", "legs_m",
    "match", "near_m", "problems", "strong",
]  # fmt: skip

STRONG_DB = 30.0
"""Paths weaker than the strongest of their link by more than this need not be found by the other tracer [dB]."""
LIMITS = {
    "matched_share": 0.99,
    "delay_error_ps": 1.0,
    "angle_error_deg": 0.05,
    "transfer_error": 0.01,
    "near_phase_error_deg": 5.0,
    "edge_gain_error_db": 1.5,
}
"""What the tracers must reach: at least this share matched, and errors not above these. A delay may differ by
`FLOAT32_STEPS` of its value where that is more."""
FLOAT32_STEPS = 4
NEAR_M_AT_1_GHZ = 3000.0
"""Divided by the carrier in GHz: the length up to which float32 leaves the propagation phase its meaning [m]."""
SMALL_SHARE = 0.01
"""Elements of a transfer matrix below this share of its largest are compared with that instead of with themselves."""
QUANTILES = (0.5, 0.9, 0.99, 1.0)
SAME_PLACE_M = 0.01
SAME_NORMAL = 1.0 - 1e-6
"""Cosine between the normals of facets that count as one plane."""


@dataclass(frozen=True)
class Matched:
    """Paths by their place in the arrays.

    Attributes:
        pair: link, path of ours, path of theirs.
        ours_alone, theirs_alone: link and path of what the other has not.
    """

    pair: Int[np.ndarray, "pair 3"]
    ours_alone: Int[np.ndarray, "ours 2"]
    theirs_alone: Int[np.ndarray, "theirs 2"]


@dataclass(frozen=True)
class Differences:
    """Of every pair of a `Matched`.

    Attributes:
        delay_ps: of the delays [ps]; `delay_allowed_ps`: how much they may.
        angle_deg: between the directions, at the end where that is larger [deg].
        transfer: of the transfer matrices without their propagation phase: the largest of |dT| / (|T| + 0.01 max|T|)
            over the four elements [1], max over the matrix. Not above 0.01 means |dT| <= 0.01 |T| + 1e-4 max|T|.
        phase_deg: of the propagated matrices: |arg sum T* T'| [deg].
        gain_db: of the powers sum |T|^2, theirs above ours [dB].
        length_m: of the path [m].
    """

    delay_ps: Float[np.ndarray, "pair"]
    delay_allowed_ps: Float[np.ndarray, "pair"]
    angle_deg: Float[np.ndarray, "pair"]
    transfer: Float[np.ndarray, "pair"]
    phase_deg: Float[np.ndarray, "pair"]
    gain_db: Float[np.ndarray, "pair"]
    length_m: Float[np.ndarray, "pair"]


@dataclass(frozen=True)
class Figures:
    """What a group of paths comes to; None where there is nothing to measure.

    Attributes:
        name: of the group.
        ours, theirs: how many paths within `STRONG_DB` of the strongest of their link.
        matched_share_ours, matched_share_theirs: share of those that the other tracer has.
        delay_error_ps_max, delay_error_allowed: largest error, and largest in units of what is allowed.
        angle_error_deg_max, transfer_error_max: see `Differences`.
        far_matrices: how many transfer matrices differ by more than the limit.
        same_points_error_max: as `transfer_error_max`, of our paths over the bounce points of theirs.
        phase_error_deg: median, 90 %, 99 % and largest.
        near_phase_error_deg_max: largest among the paths that are short enough for float32 (`near_m`).
        gain_error_db: as `phase_error_deg`; `strong_gain_error_db`: of the strong paths alone.
    """

    name: str
    ours: int
    theirs: int
    matched_share_ours: float | None
    matched_share_theirs: float | None
    delay_error_ps_max: float | None
    delay_error_allowed: float | None
    angle_error_deg_max: float | None
    transfer_error_max: float | None
    far_matrices: int
    same_points_error_max: float | None
    phase_error_deg: tuple[float, ...] | None
    near_phase_error_deg_max: float | None
    gain_error_db: tuple[float, ...] | None
    strong_gain_error_db: tuple[float, ...] | None


def near_m(carrier_hz: float) -> float:
    """Length of path up to which float32 carries the propagation phase [m]."""
    return NEAR_M_AT_1_GHZ * 1e9 / carrier_hz


def strong(paths: Paths) -> Bool[np.ndarray, "link P"]:
    """Which paths are within `STRONG_DB` of the strongest of their link, by sum |T|^2."""
    power = np.where(paths.valid, (np.abs(paths.transfer) ** 2).sum(axis=(-2, -1)), 0.0)
    found: np.ndarray = paths.valid & (power >= power.max(axis=-1, keepdims=True) * 10.0 ** (-STRONG_DB / 10.0))
    return found


def match(ours: Paths, theirs: Paths, bodies: Sequence[Body]) -> Matched:
    """Pair the paths of the same links (one leading axis) over static bodies."""
    pairs: list[tuple[int, int, int]] = []
    ours_alone: list[tuple[int, int]] = []
    theirs_alone: list[tuple[int, int]] = []
    for link in range(len(ours.valid)):
        named = {interactions(ours, link, i): i for i in _valid(ours, link)}
        rest = []
        for j in _valid(theirs, link):
            name = interactions(theirs, link, j)
            if name in named:
                pairs.append((link, named.pop(name), j))
            else:
                rest.append(j)
        left = list(named.values())
        for j in rest:
            like = next((i for i in left if _same_place(ours, theirs, link, i, j, bodies)), None)
            if like is None:
                theirs_alone.append((link, j))
            else:
                left.remove(like)
                pairs.append((link, like, j))
        ours_alone.extend((link, i) for i in left)
    return Matched(
        np.array(pairs, np.int64).reshape(-1, 3),
        np.array(ours_alone, np.int64).reshape(-1, 2),
        np.array(theirs_alone, np.int64).reshape(-1, 2),
    )


def _valid(paths: Paths, link: int) -> list[int]:
    return [int(path) for path in np.flatnonzero(paths.valid[link])]


def interactions(paths: Paths, link: int, path: int) -> bytes:
    """What a path bounces off, one after the other: a name that is equal for equal lists."""
    rows = [paths.kind[link, path], paths.body[link, path], paths.facet[link, path]]
    return np.stack(rows).astype(np.int64)[:, paths.kind[link, path] > 0].tobytes()


def _same_place(ours: Paths, theirs: Paths, link: int, i: int, j: int, bodies: Sequence[Body]) -> bool:
    """Whether two paths bounce in the same planes at the same points, whatever the facets are called."""
    kind = ours.kind[link, i]
    if (kind != theirs.kind[link, j]).any():
        return False
    for k in np.flatnonzero(kind > 0):
        if np.linalg.norm(ours.vertices_m[link, i, k] - theirs.vertices_m[link, j, k]) > SAME_PLACE_M:
            return False
        if kind[k] == Interaction.REFLECTION:
            normals = [bodies[paths.body[link, n, k]].facets.normal[paths.facet[link, n, k]]
                       for paths, n in ((ours, i), (theirs, j))]  # fmt: skip
            if abs(normals[0] @ normals[1]) < SAME_NORMAL:
                return False
    return True


def differences(ours: Paths, theirs: Paths, matched: Matched, carrier_hz: float) -> Differences:
    """How far the paths of each pair differ."""
    link, i, j = matched.pair.T
    one, other = ours.delay_s[link, i], theirs.delay_s[link, j]
    step_s = np.spacing(one.astype(np.float32)).astype(np.float64)
    a, b = ours.transfer[link, i].astype(np.complex128), theirs.transfer[link, j].astype(np.complex128)
    turn = np.angle((a.conj() * b).sum(axis=(-2, -1)))
    bare_a, bare_b = (t * np.exp(2j * np.pi * carrier_hz * s)[:, None, None] for t, s in ((a, one), (b, other)))
    size = np.abs(bare_a)
    error = np.abs(bare_a - bare_b) / (size + SMALL_SHARE * size.max(axis=(-2, -1), keepdims=True, initial=0.0))
    angles = [_between_deg(getattr(ours, name)[link, i], getattr(theirs, name)[link, j]) for name in _DIRECTIONS]
    power = [(np.abs(t) ** 2).sum(axis=(-2, -1)) for t in (a, b)]
    return Differences(
        delay_ps=np.abs(one - other) * 1e12,
        delay_allowed_ps=np.maximum(LIMITS["delay_error_ps"], FLOAT32_STEPS * step_s * 1e12),
        angle_deg=np.maximum(*angles),
        transfer=error.max(axis=(-2, -1), initial=0.0),
        phase_deg=np.abs(np.degrees(turn)),
        gain_db=10.0 * np.log10(power[1] / power[0]),
        length_m=one * SPEED_OF_LIGHT_MPS,
    )


_DIRECTIONS = ("aod_rad", "aoa_rad")


def _between_deg(one: Float[np.ndarray, "n 2"], other: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n"]:
    """Angle between directions given by azimuth and zenith [deg]."""
    u, v = (np.stack([np.sin(z) * np.cos(az), np.sin(z) * np.sin(az), np.cos(z)], -1) for az, z in (one.T, other.T))
    angle: np.ndarray = np.degrees(2.0 * np.arcsin(np.minimum(0.5 * np.linalg.norm(u - v, axis=-1), 1.0)))
    return angle


def legs_m(paths: Paths, link: int, path: int, bs_m: np.ndarray, ue_m: np.ndarray) -> Float[np.ndarray, "leg"]:
    """Lengths of the straight parts of a path [m]."""
    bounces = paths.vertices_m[link, path, paths.kind[link, path] > 0]
    legs: np.ndarray = np.linalg.norm(np.diff(np.vstack([bs_m, bounces, ue_m]), axis=0), axis=1)
    return legs


def figures_of(
    name: str,
    ours: Paths,
    theirs: Paths,
    matched: Matched,
    found: Differences,
    same_points: Differences | None,
    group: tuple[Bool[np.ndarray, "link P"], Bool[np.ndarray, "link P"]],
    carrier_hz: float,
) -> Figures:
    """Figures of the paths that are in the group, which names some of ours and some of theirs.

    Shares are those of the strong paths, errors those of all that are matched. `same_points` are the differences that
    remain when our paths run over the bounce points of theirs.
    """
    link, i, j = matched.pair.T
    counts, shares = [], []
    for paths, members, index in ((ours, group[0], i), (theirs, group[1], j)):
        wanted = strong(paths) & members
        counts.append(int(wanted.sum()))
        shares.append(float(wanted[link, index].sum() / wanted.sum()) if wanted.any() else None)
    inside = group[0][link, i]
    near = inside & (found.length_m <= near_m(carrier_hz))

    def largest(values: np.ndarray, where: np.ndarray = inside) -> float | None:
        return float(values[where].max()) if where.any() else None

    def spread(values: np.ndarray, where: np.ndarray = inside) -> tuple[float, ...] | None:
        return tuple(float(v) for v in np.quantile(values[where], QUANTILES)) if where.any() else None

    return Figures(
        name=name,
        ours=counts[0],
        theirs=counts[1],
        matched_share_ours=shares[0],
        matched_share_theirs=shares[1],
        delay_error_ps_max=largest(found.delay_ps),
        delay_error_allowed=largest(found.delay_ps / found.delay_allowed_ps),
        angle_error_deg_max=largest(found.angle_deg),
        transfer_error_max=largest(found.transfer),
        far_matrices=int((found.transfer[inside] > LIMITS["transfer_error"]).sum()),
        same_points_error_max=None if same_points is None else largest(same_points.transfer),
        phase_error_deg=spread(found.phase_deg),
        near_phase_error_deg_max=largest(found.phase_deg, near),
        gain_error_db=spread(np.abs(found.gain_db)),
        strong_gain_error_db=spread(np.abs(found.gain_db), inside & strong(ours)[link, i]),
    )


def problems(figures: Figures, edges: bool = False) -> list[str]:
    """What of a group does not reach `LIMITS`.

    Transfer matrices are judged at the same points of reflection, those of diffracted paths by their gain alone.
    """
    least, wrong = LIMITS["matched_share"], []
    for whose in ("ours", "theirs"):
        share = getattr(figures, f"matched_share_{whose}")
        if share is not None and share < least:
            wrong.append(f"{share:.2%} of {whose} matched")
    measured: dict[str, tuple[float | None, float]] = {
        "delay": (figures.delay_error_allowed, 1.0),
        "angle": (figures.angle_error_deg_max, LIMITS["angle_error_deg"]),
    }
    if edges:
        measured["gain"] = figures.gain_error_db[-1] if figures.gain_error_db else None, LIMITS["edge_gain_error_db"]
    else:
        measured["transfer matrix"] = figures.same_points_error_max, LIMITS["transfer_error"]
        measured["phase"] = figures.near_phase_error_deg_max, LIMITS["near_phase_error_deg"]
    for what, (value, limit) in measured.items():
        if value is not None and not value <= limit:
            wrong.append(f"{what} off by {value:.3g}, allowed {limit:g}")
    return [f"{figures.name}: {text}" for text in wrong]
