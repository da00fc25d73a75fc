"""What the fields of a scenario cannot tell one by one: whether the world that they describe can be."""

from difflib import get_close_matches

from twin.errors import UserError
from twin.propagation.materials import itu_names
from twin.scenario.fields import Scenario
from twin.scenario.street_checks import check_street

__all__ = ["check_world"]

MOST_CUBE_SAMPLES = 64_000_000
"""Of a frame of the radar: half a gigabyte of complex64."""
MOST_PIXELS = 4_000_000
"""Of a picture: about a gigabyte while it is drawn."""


def check_world(scenario: Scenario, where: object) -> None:
    """What single fields cannot tell."""
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
    _check_sensors(scenario, where)
    check_street(scenario, where)


def _check_sensors(scenario: Scenario, where: object) -> None:
    lidar, radar = scenario.lidar, scenario.radar
    if lidar.lowest_deg > lidar.highest_deg:
        what = f"lidar.lowest_deg = {lidar.lowest_deg:g} is above highest_deg = {lidar.highest_deg:g}"
        raise UserError(what, where, "name the lower of the two first")
    samples = radar.antennas * radar.samples * radar.chirps
    if samples > MOST_CUBE_SAMPLES:
        what = f"radar.antennas x samples x chirps = {samples}"
        raise UserError(what, where, f"ask for at most {MOST_CUBE_SAMPLES} a frame")
    if radar.chirps == 1 and radar.clutter == "chirp_mean":
        raise UserError("radar.chirps = 1 leaves nothing after radar.clutter = chirp_mean", where, "give more chirps")
    if radar.samples / radar.sample_rate_hz > radar.chirp_interval_s:
        what = f"radar.samples / sample_rate_hz is longer than chirp_interval_s = {radar.chirp_interval_s:g}"
        raise UserError(what, where, "a chirp has to be sampled before the next one begins")
    if radar.chirps * radar.chirp_interval_s > 1 / scenario.frame_rate_hz:
        what = f"radar.chirps x chirp_interval_s is longer than a frame, {1 / scenario.frame_rate_hz:g} s"
        raise UserError(what, where, "give fewer chirps, or a shorter interval")
    pixels = scenario.camera.width_px * scenario.camera.height_px
    if pixels > MOST_PIXELS:
        raise UserError(f"camera.width_px x height_px = {pixels}", where, f"ask for at most {MOST_PIXELS}")
