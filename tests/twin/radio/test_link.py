"""Antennas at both ends of a path, against fields as vectors in space."""

from dataclasses import fields

import numpy as np
import pytest

from twin.geometry.facets import Body
from twin.propagation.materials import RadioMaterial
from twin.propagation.paths import SPEED_OF_LIGHT_MPS
from twin.propagation.tracer import Tracer
from twin.radio.antenna import AntennaPattern, field
from twin.radio.link import through_antennas

CARRIER_HZ = 28e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
BS = np.array([0.0, 0.0, 8.0])
EARTH = RadioMaterial("earth", 4.0, 0.3)
VERTICAL, HORIZONTAL = AntennaPattern(), AntennaPattern(slant_rad=np.pi / 2)
SQUARE = np.array([[0, 1, 2], [0, 2, 3]])
STORED = 1e-6
"""Relative error of a gain, stored in complex64."""


def plane(*corners):
    return Body("plane", np.array(corners, float), SQUARE, EARTH)


GROUND = plane((-900, -900, 0), (900, -900, 0), (900, 900, 0), (-900, 900, 0))
LEANING = plane((-60, 30, 0), (60, 22, 0), (60, 18, 30), (-60, 26, 30))


def traced(ue, bodies=(), **options):
    return Tracer(bodies, BS, CARRIER_HZ, **options).paths(np.asarray(ue, float))


def free_space(length):
    return WAVELENGTH_M / (4 * np.pi * length) * np.exp(-2j * np.pi * length / WAVELENGTH_M)


def direction(pair):
    azimuth, zenith = np.moveaxis(pair, -1, 0)
    return np.stack([np.sin(zenith) * np.cos(azimuth), np.sin(zenith) * np.sin(azimuth), np.cos(zenith)], axis=-1)


def vector(pattern, pair, heading=0.0):
    """Field of an antenna in a direction, as a vector in space; a vehicle turns it about the vertical."""
    azimuth, zenith = pair
    k = direction(np.array([azimuth - heading, zenith]))
    phi = np.cross([0, 0, 1.0], k)
    phi /= np.linalg.norm(phi)
    f = field(pattern, azimuth - heading, zenith)
    own = f[0] * np.cross(phi, k) + f[1] * phi
    c, s = np.cos(heading), np.sin(heading)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ own


def drive(count=25):
    return np.column_stack([np.linspace(-40, 60, count), np.full(count, 9.0), np.linspace(1.5, 4.0, count)])


def test_between_vertical_antennas_nothing_changes():
    paths = traced(drive(), [GROUND, LEANING])
    through = through_antennas(paths, VERTICAL, VERTICAL)
    order = np.argsort(-np.abs(paths.gain), axis=1, kind="stable")
    np.testing.assert_array_equal(through.gain, np.take_along_axis(paths.gain, order, 1))


@pytest.mark.parametrize("heading", [0.0, 0.8])
def test_the_direct_path_joins_the_fields_of_both_antennas(heading):
    """alpha = e_rx . e_tx times free space: the fields that both would send along the line, as vectors."""
    bs = AntennaPattern("tr38901", slant_rad=0.5, azimuth_rad=0.3, downtilt_rad=0.15)
    ue = AntennaPattern("tr38901", slant_rad=-1.1, azimuth_rad=2.6, downtilt_rad=-0.2)
    paths = traced(drive())
    through = through_antennas(paths, bs, ue, heading)
    for t in range(25):
        length = np.linalg.norm(drive()[t] - BS)
        along = vector(bs, paths.aod_rad[t, 0]) @ vector(ue, paths.aoa_rad[t, 0], heading)
        assert through.gain[t, 0] == pytest.approx(free_space(length) * along, rel=1e-5, abs=1e-12)


def test_a_reflected_path_joins_them_over_the_reflections_of_both_parts():
    bs = AntennaPattern("tr38901", slant_rad=0.5, azimuth_rad=1.2, downtilt_rad=0.1)
    ue = AntennaPattern(slant_rad=0.9)
    paths = traced(drive(), [LEANING])
    through = through_antennas(paths, bs, ue, 0.4)
    normal = np.cross(LEANING.vertex_m[1] - LEANING.vertex_m[0], LEANING.vertex_m[2] - LEANING.vertex_m[0])
    normal /= np.linalg.norm(normal)
    eta = EARTH.permittivity(CARRIER_HZ)
    tried = 0
    for t, k in zip(*np.nonzero(through.order == 1), strict=True):
        point = through.vertices_m[t, k, 0]
        legs = point - BS, drive()[t] - point
        length = sum(np.linalg.norm(leg) for leg in legs)
        k_in, k_out = (leg / np.linalg.norm(leg) for leg in legs)
        cosine = abs(k_in @ normal)
        root = np.sqrt(eta - 1 + cosine**2)
        r_s, r_p = (cosine - root) / (cosine + root), (eta * cosine - root) / (eta * cosine + root)
        s = np.cross(k_in, normal) / np.linalg.norm(np.cross(k_in, normal))
        sent, seen = vector(bs, through.aod_rad[t, k]), vector(ue, through.aoa_rad[t, k], 0.4)
        joined = r_s * (seen @ s) * (s @ sent) + r_p * (seen @ np.cross(s, k_out)) * (np.cross(s, k_in) @ sent)
        assert through.gain[t, k] == pytest.approx(free_space(length) * joined, rel=1e-4, abs=1e-12)
        tried += 1
    assert tried > 10


@pytest.mark.parametrize("pattern", [VERTICAL, HORIZONTAL])
def test_over_the_ground_the_polarisation_chooses_the_reflection(pattern):
    distance = np.geomspace(5.0, 500.0, 100)
    ue = np.column_stack([distance, np.zeros(100), np.full(100, 1.5)])
    through = through_antennas(traced(ue, [GROUND]), pattern, pattern)
    direct, bounced = np.hypot(distance, 6.5), np.hypot(distance, 9.5)
    eta, cosine = EARTH.permittivity(CARRIER_HZ), 9.5 / bounced
    root = np.sqrt(eta - 1 + cosine**2)
    r_s, r_p = (cosine - root) / (cosine + root), (eta * cosine - root) / (eta * cosine + root)
    expected = np.abs(free_space(direct) + (r_p if pattern is VERTICAL else r_s) * free_space(bounced))
    np.testing.assert_allclose(
        np.abs(through.channel()), expected, rtol=1e-3, atol=1e-3 * np.abs(free_space(direct)).min()
    )


def test_crossed_antennas_hear_nothing_of_each_other_over_level_ground():
    ue = np.array([[40.0, 3.0, 1.5]])
    through = through_antennas(traced(ue, [GROUND]), VERTICAL, HORIZONTAL)
    assert np.abs(through.gain).max() < STORED * WAVELENGTH_M / (4 * np.pi * 40.0)


def test_antennas_slanted_alike_are_crossed_when_they_face_each_other():
    """What leans to the right for one leans to the left for the other: +45 degrees goes with -45 degrees."""
    ue = np.array([[40.0, 0.0, 8.0]])
    right, left = AntennaPattern(slant_rad=np.pi / 4), AntennaPattern(slant_rad=-np.pi / 4)
    paths = traced(ue)
    alike, opposite = (through_antennas(paths, right, other).gain[0, 0] for other in (right, left))
    assert abs(alike) < STORED * abs(opposite)
    assert abs(opposite) == pytest.approx(abs(free_space(40.0)), rel=1e-5)
    # A wall turns the horizontal part around, so that off a good mirror it is the other way.
    mirror = Body("mirror", np.array([[-90, 30, -50], [90, 30, -50], [90, 30, 50], [-90, 30, 50.0]]), SQUARE,
                  RadioMaterial("metal", 1.0, 1e7))  # fmt: skip
    paths = traced(ue, [mirror])
    off = [np.abs(through_antennas(paths, right, other).gain[0]) for other in (right, left)]
    k = [int(np.flatnonzero(through_antennas(paths, right, other).order[0] == 1)[0]) for other in (right, left)]
    assert off[0][k[0]] > 20 * off[1][k[1]]


def test_an_element_of_tr_38901_adds_8_db_ahead_and_loses_3_db_at_half_its_beamwidth():
    bs = AntennaPattern("tr38901", azimuth_rad=0.5)
    angle = 0.5 + np.radians([0.0, 32.5, -32.5, 180.0])
    ue = np.column_stack([50 * np.cos(angle), 50 * np.sin(angle), np.full(4, 8.0)])
    gain = np.abs(through_antennas(traced(ue), bs, VERTICAL).gain[:, 0]) / np.abs(free_space(50.0))
    np.testing.assert_allclose(20 * np.log10(gain), [8.0, 5.0, 5.0, -22.0], atol=1e-4)


def test_an_antenna_turns_with_its_vehicle():
    """A car that turns on the spot sweeps its beam over the base station."""
    ue = np.tile([[30.0, 0.0, 8.0]], (8, 1))
    forward = AntennaPattern("tr38901")
    heading = np.arange(8) * np.pi / 4
    level_db = 20 * np.log10(np.abs(through_antennas(traced(ue), VERTICAL, forward, heading).gain[:, 0]))
    assert level_db.argmax() == 4  # heads west, towards the mast
    np.testing.assert_allclose(level_db[1:4], level_db[7:4:-1], atol=1e-4)
    back = AntennaPattern("tr38901", azimuth_rad=np.pi)
    mounted = 20 * np.log10(np.abs(through_antennas(traced(ue), VERTICAL, back, heading).gain[:, 0]))
    np.testing.assert_allclose(mounted, np.roll(level_db, 4), atol=1e-4)


def test_all_that_belongs_to_a_path_moves_with_it_when_the_antennas_change_the_order():
    paths = traced(drive(), [GROUND, LEANING])
    across = AntennaPattern("tr38901", azimuth_rad=np.pi / 2)
    through = through_antennas(paths, across, VERTICAL)
    assert (np.diff(np.abs(through.gain), axis=1) <= 0).all()
    np.testing.assert_array_equal(through.valid.sum(axis=1), paths.valid.sum(axis=1))
    assert (np.diff(through.valid.astype(int), axis=1) <= 0).all()
    moved = 0
    for t in range(25):
        for k in np.flatnonzero(through.valid[t]):
            (was,) = np.flatnonzero(paths.delay_s[t] == through.delay_s[t, k])
            for name in (f.name for f in fields(paths)):
                if name not in ("gain", "line_of_sight", "blocked", "enclosed", "blockage_model"):
                    np.testing.assert_array_equal(getattr(through, name)[t, k], getattr(paths, name)[t, was])
            moved += was != k
    assert moved > 0


def test_many_receivers_of_a_frame_are_many_frames_of_one():
    ue, heading = drive(24), np.linspace(-3, 3, 24)
    bs, antenna = AntennaPattern("tr38901", downtilt_rad=0.1), AntennaPattern(slant_rad=0.3)
    flat = through_antennas(traced(ue, [GROUND, LEANING]), bs, antenna, heading)
    block = through_antennas(traced(ue.reshape(4, 6, 3), [GROUND, LEANING]), bs, antenna, heading.reshape(4, 6))
    for name in ("gain", "delay_s", "vertices_m", "valid"):
        value = getattr(flat, name)
        np.testing.assert_array_equal(value.reshape(4, 6, *value.shape[1:]), getattr(block, name))
    offset_hz = np.linspace(-50e6, 50e6, 11)
    np.testing.assert_allclose(block.frequency_response(offset_hz).reshape(24, 11), flat.frequency_response(offset_hz))
