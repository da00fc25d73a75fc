"""Ways along which road users go: polylines in street coordinates."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Route", "rounded", "straight"]

ARC_STEPS = 8
"""Chords of a rounded corner."""


@dataclass(frozen=True)
class Route:
    """A polyline; beyond its ends it goes on straight.

    Attributes:
        point_m: along and across of its corners.
        turn_rad: heading at each corner, counterclockwise from along the street; linear between corners.
    """

    point_m: Float[np.ndarray, "corner 2"]
    turn_rad: Float[np.ndarray, "corner"]

    @property
    def reached_m(self) -> Float[np.ndarray, "corner"]:
        """Way to each corner."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.point_m, axis=0), axis=1))])

    @property
    def length_m(self) -> float:
        """Length of the way."""
        return float(self.reached_m[-1])

    def place(
        self, way_m: Float[np.ndarray, "*batch"]
    ) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
        """Along [m], across [m] and heading [rad] so far along the way; NaN stays NaN."""
        reached = self.reached_m
        leg = np.clip(np.searchsorted(reached, np.nan_to_num(way_m), side="right") - 1, 0, len(reached) - 2)
        long_m = np.diff(reached)
        unit = np.diff(self.point_m, axis=0) / long_m[:, None]
        past_m = way_m - reached[leg]
        place_m = self.point_m[leg] + unit[leg] * past_m[..., None]
        turned = (np.diff(self.turn_rad) / long_m)[leg] * past_m
        return place_m[..., 0], place_m[..., 1], self.turn_rad[leg] + turned


def straight(start_m: tuple[float, float], end_m: tuple[float, float]) -> Route:
    """The straight way between two points."""
    point_m = np.array([start_m, end_m], np.float64)
    heading = np.arctan2(point_m[1, 1] - point_m[0, 1], point_m[1, 0] - point_m[0, 0])
    return Route(point_m, np.full(2, heading))


def rounded(corner_m: list[tuple[float, float]], radius_m: float) -> Route:
    """The way along right-angled corners, each rounded by a quarter of a circle."""
    given = np.array(corner_m, np.float64)
    leg = np.diff(given, axis=0)
    unit = leg / np.linalg.norm(leg, axis=1, keepdims=True)
    heading = np.unwrap(np.arctan2(unit[:, 1], unit[:, 0]))
    points, turns = [given[:1]], [heading[:1]]
    for number in range(1, len(given) - 1):
        before, after = unit[number - 1], unit[number]
        angle = np.linspace(0.0, np.pi / 2, ARC_STEPS + 1)[:, None]
        begin = given[number] - radius_m * before
        points.append(begin + radius_m * (np.sin(angle) * before + (1.0 - np.cos(angle)) * after))
        turns.append(np.linspace(heading[number - 1], heading[number], ARC_STEPS + 1))
    return Route(np.concatenate([*points, given[-1:]]), np.concatenate([*turns, heading[-1:]]))
