"""What the fields of a scenario cannot tell one by one: whether the world that they describe can be."""

import math
from difflib import get_close_matches

import numpy as np

from twin.errors import UserError
from twin.propagation.materials import itu_names
from twin.scenario_fields import Parked, Scenario
from twin.traffic.vehicles import VEHICLE_CLASSES

__all__ = ["check_world"]


def check_world(scenario: Scenario, where: object) -> None:
    """What single fields cannot tell."""
    lanes = scenario.lanes
    if not -len(lanes) <= scenario.ue.lane < len(lanes):
        raise UserError(f"ue.lane = {scenario.ue.lane}", where, f"the street has {len(lanes)} lanes, counted from 0")
    used = [("ground", scenario.ground)] if scenario.ground is not None else []
    used += [(f"buildings.{n}.material", building.material) for n, building in enumerate(scenario.buildings)]
    used += [(f"scenery.{n}.material", part.material) for n, part in enumerate(scenario.scenery)]
    for field, material in used:
        if material not in scenario.materials:
            known = ", ".join(scenario.materials)
            raise UserError(f"{field} = {material!r} is not in materials", where, f"describe it or use one of {known}")
    for number, part in enumerate(scenario.scenery):
        if (part.file is None) == (part.builtin is None):
            raise UserError(f"scenery.{number} needs either file or builtin", where, "give exactly one of them")
    for name, described in scenario.materials.items():
        if described.itu is not None and described.itu not in itu_names():
            near = ", ".join(get_close_matches(described.itu, itu_names(), 3) or itu_names())
            raise UserError(f"materials.{name}.itu = {described.itu!r} is not in ITU-R P.2040-3", where, f"use {near}")
        constants = (described.relative_permittivity, described.conductivity_s_per_m)
        if described.itu is None and None in constants:
            remedy = "give itu, or relative_permittivity and conductivity_s_per_m"
            raise UserError(f"materials.{name} is not described", where, remedy)
    for field, antenna in (("radio.antenna", scenario.radio.antenna), ("ue.antenna", scenario.ue.antenna)):
        if (antenna.pattern == "measured") != (antenna.file is not None):
            raise UserError(f"{field}.file and pattern measured go together", where, "give both or neither")
        if antenna.pattern == "measured" and antenna.slant_deg != 0.0:
            raise UserError(f"{field}.slant_deg turns no measured pattern", where, "leave it out, the file has it")
    if scenario.radio.codebook.kind == "measured" and scenario.radio.codebook.file is None:
        raise UserError("radio.codebook.file is missing", where, "name the npz of the measured patterns")
    shares = scenario.traffic.shares
    driven = {name for name in VEHICLE_CLASSES if getattr(shares, name) > 0} | {scenario.ue.vehicle_class}
    widest_m = max(VEHICLE_CLASSES[name][1] for name in driven)
    if scenario.street.lane_width_m < widest_m:
        raise UserError(
            f"street.lane_width_m = {scenario.street.lane_width_m:g}: vehicles in neighbouring lanes would overlap",
            where,
            f"give at least {widest_m:g}, the width of the widest class driven",
        )
    if shares.car + shares.van + shares.bus + shares.truck <= 0:
        raise UserError("traffic.shares are all zero", where, "give at least one class a share above 0")
    bs_across = -scenario.site.street_distance_m
    if scenario.half_width_m > scenario.site.street_distance_m:
        raise UserError(
            f"site.street_distance_m = {scenario.site.street_distance_m:g} puts the base station on the carriageway",
            where,
            f"give more than half its width, {scenario.half_width_m:g} m",
        )
    _check_parked(scenario, where)
    for number, building in enumerate(scenario.buildings):
        if not building.present:
            continue
        beside = abs(building.across_m) - building.depth_m / 2 >= scenario.half_width_m
        before = abs(building.along_m) - building.length_m / 2 >= scenario.street.length_m / 2
        if not beside and not before:
            remedy = f"keep {scenario.half_width_m:g} m from its middle"
            raise UserError(f"buildings.{number} stands on the carriageway", where, remedy)
        under = abs(building.along_m) < building.length_m / 2
        under = under and abs(bs_across - building.across_m) < building.depth_m / 2
        if under and scenario.site.bs_height_m < building.height_m:
            raise UserError(f"the base station stands inside buildings.{number}", where, "move one of them")


def _check_parked(scenario: Scenario, where: object) -> None:
    """Parked vehicles stand beside the carriageway, outside buildings and clear of each other."""
    corners = [_corners(vehicle) for vehicle in scenario.parked]
    for number, mine in enumerate(corners):
        if mine[:, 1].min() < scenario.half_width_m and mine[:, 1].max() > -scenario.half_width_m:
            raise UserError(f"parked.{number} stands on the carriageway", where, "move it off the lanes")
        foot = np.tile([[0.0, -scenario.site.street_distance_m]], (4, 1)) + 1e-6 * np.array(_SQUARE)
        height_m = VEHICLE_CLASSES[scenario.parked[number].vehicle_class][2]
        if _overlap(mine, foot) and scenario.site.bs_height_m < height_m:
            raise UserError(f"the base station stands inside parked.{number}", where, "move one of them")
        for other in range(number):
            if _overlap(mine, corners[other]):
                raise UserError(f"parked.{number} overlaps parked.{other}", where, "move one of them")
        for other, building in enumerate(scenario.buildings):
            half = np.array([building.length_m, building.depth_m]) / 2
            box = np.array([building.along_m, building.across_m]) + half * _SQUARE
            if building.present and _overlap(mine, box):
                raise UserError(f"parked.{number} overlaps buildings.{other}", where, "move one of them")


_SQUARE = ((1, 1), (-1, 1), (-1, -1), (1, -1))


def _corners(vehicle: Parked) -> np.ndarray:
    length, width, _ = VEHICLE_CLASSES[vehicle.vehicle_class]
    c, s = math.cos(math.radians(vehicle.heading_deg)), math.sin(math.radians(vehicle.heading_deg))
    half = np.array(_SQUARE) * [length / 2, width / 2]
    return half @ np.array([[c, s], [-s, c]]) + [vehicle.along_m, vehicle.across_m]


def _overlap(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two rectangles overlap: no side of either separates them."""
    for corners in (one, two):
        for side in (corners[1] - corners[0], corners[2] - corners[1]):
            first, second = one @ side, two @ side
            if first.max() <= second.min() or second.max() <= first.min():
                return False
    return True
