"""Diffuse paths against Lambert's law: what falls on a rough face goes out again in all directions, and no more."""

from dataclasses import replace

import numpy as np
import pytest

from twin.propagation.materials import RadioMaterial
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Interaction
from twin.propagation.tracer import Tracer

CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
BS = np.array([0.0, 0.0, 5.0])
FACE = np.array([0.0, -1.0, 0.0])  # of the plate, towards the base station
MIDDLE = np.array([3.0, 12.0, 5.0])
SIDE_M = 16.0
S = 0.4
ISOTROPIC = WAVELENGTH_M / (4 * np.pi)
"""Amplitude at 1 m, between isotropic antennas."""


def plate(world, material, side=SIDE_M, middle=MIDDLE):
    x, y, z = middle
    h = side / 2
    return world.plate((x - h, y, z - h), (x + h, y, z - h), (x + h, y, z + h), (x - h, y, z + h), material=material)


def rough(world, **values):
    return replace(world.METAL, **{"scattering_coefficient": S, **values})


def traced(bodies, ue, **options):
    options = {"order": 1, "max_paths": 600, "diffuse": True, **options}
    return Tracer(bodies, BS, CARRIER_HZ, **options).paths(np.atleast_2d(np.asarray(ue, float)))


def scattered(paths, polarisation=0):
    """Sum of the powers of the diffuse paths to each receiver."""
    diffuse = paths.path_kind == Interaction.SCATTERING
    return (np.abs(paths.transfer[..., polarisation, polarisation].astype(complex)) ** 2 * diffuse).sum(axis=-1)


def hemisphere(count, radius, normal=FACE, middle=MIDDLE):
    """Points all over a hemisphere, each of the same solid angle, and the cosine of each from the normal."""
    cosine = (np.arange(count) + 0.5) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    u, v = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    across = np.sqrt(1 - cosine**2)[:, None] * (np.cos(turn)[:, None] * u + np.sin(turn)[:, None] * v)
    return middle + radius * (cosine[:, None] * normal + across), cosine


def irradiance(weight=lambda cosine: np.ones_like(cosine), side=SIDE_M, count=400):
    """Integral over the plate of cos(theta_i) / r_i^2, weighed by something of cos(theta_i)."""
    line = (np.arange(count) + 0.5) / count * side - side / 2
    x, z = np.meshgrid(line, line)
    there = MIDDLE + np.stack([x, 0 * x, z], axis=-1) - BS
    distance = np.linalg.norm(there, axis=-1)
    cosine = -(there @ FACE) / distance
    return (weight(cosine) * cosine / distance**2).mean() * side**2


@pytest.mark.parametrize("polarisation", [0, 1])
def test_all_of_the_scattered_power_is_the_share_of_what_falls_on_the_plate(world, polarisation):
    """Lambert's integral over a hemisphere far away gives S^2 times the power through the plate."""
    radius = 3000.0
    ue, _ = hemisphere(120, radius)
    power = scattered(traced([plate(world, rough(world))], ue), polarisation)
    total = (power / ISOTROPIC**2).mean() * 2 * np.pi * radius**2
    assert total == pytest.approx(S**2 * irradiance(), rel=0.03)


def test_the_scattered_power_falls_with_the_cosine_and_the_square_of_the_distance(world):
    powers = []
    for radius in (2000.0, 4000.0):
        ue, cosine = hemisphere(50, radius)
        powers.append(scattered(traced([plate(world, rough(world))], ue)))
    np.testing.assert_allclose(powers[0] / powers[1], 4.0, rtol=0.02)
    np.testing.assert_allclose(powers[0] / powers[0].mean(), cosine / cosine.mean(), rtol=0.02, atol=0.01)


def test_nothing_is_scattered_to_what_is_behind_the_plate(world):
    ue, _ = hemisphere(60, 40.0, -FACE)
    assert not (traced([plate(world, rough(world))], ue).path_kind == Interaction.SCATTERING).any()


def test_the_plate_scatters_what_its_material_reflects(world, physics):
    """On a vertical plate in level incidence, vertical field is s-polarised, horizontal field p-polarised."""
    glass = RadioMaterial("glass", 6.31, 0.1, 0.006, S)
    slim = replace(plate(world, glass), vertex_m=plate(world, glass).vertex_m * [1, 1, 0.02] + [0, 0, 4.9])
    ue, _ = hemisphere(40, 3000.0)
    for axis in (0, 1):
        shiny = replace(slim, material=rough(world))
        ratios = scattered(traced([slim], ue), axis) / scattered(traced([shiny], ue), axis)
        spots = traced([slim], ue[:1]).vertices_m[0, :, 0]
        spots = spots[np.isfinite(spots[:, 0])] - BS
        cosine = np.abs(spots[:, 1]) / np.linalg.norm(spots, axis=1)
        gamma = np.abs([physics.fresnel(c, glass)[axis] for c in cosine]) ** 2
        assert gamma.min() <= ratios.min() <= ratios.max() <= gamma.max() * (1 + 1e-5)
        np.testing.assert_allclose(ratios, gamma.mean(), rtol=0.05)


def test_a_diffuse_path_keeps_its_polarisation_and_its_geometry(world):
    ue = np.array([14.0, 3.0, 2.0])
    paths = traced([plate(world, rough(world))], ue)
    diffuse = np.flatnonzero(paths.path_kind[0] == Interaction.SCATTERING)
    assert len(diffuse) > 100
    spots = paths.vertices_m[0, diffuse, 0]
    np.testing.assert_allclose(spots[:, 1], MIDDLE[1], atol=1e-9)
    assert (np.abs(spots - MIDDLE) <= SIDE_M / 2 + 1e-9).all()
    length = np.linalg.norm(spots - BS, axis=1) + np.linalg.norm(spots - ue, axis=1)
    np.testing.assert_allclose(paths.delay_s[0, diffuse] * SPEED_OF_LIGHT_MPS, length, rtol=1e-12)
    assert (np.abs(paths.transfer[0, diffuse, 0, 1]) < 1e-6 * np.abs(paths.transfer[0, diffuse, 0, 0])).all()
    for found, line in ((paths.aod_rad, spots - BS), (paths.aoa_rad, spots - ue)):
        np.testing.assert_allclose(found[0, diffuse, 0], np.arctan2(line[:, 1], line[:, 0]), atol=1e-9)
    phase = np.angle(paths.transfer[0, diffuse, 0, 0] * np.exp(2j * np.pi * (length / WAVELENGTH_M)))
    np.testing.assert_allclose(np.abs(phase), 0.0, atol=1e-4)


def test_doppler_of_a_diffuse_path_is_the_difference_of_its_lengths(world):
    tracer = Tracer([plate(world, rough(world))], BS, CARRIER_HZ, order=1, max_paths=600, diffuse=True)
    ue, velocity = np.array([14.0, 3.0, 2.0]), np.array([7.0, -3.0, 1.0])
    paths = tracer.paths(ue[None], velocity[None])
    diffuse = np.flatnonzero(paths.path_kind[0] == Interaction.SCATTERING)
    before, after = (
        np.linalg.norm(paths.vertices_m[0, diffuse, 0] - ue - dt * velocity, axis=1) for dt in (-1e-4, 1e-4)
    )
    np.testing.assert_allclose(paths.doppler_hz[0, diffuse], (before - after) / 2e-4 / WAVELENGTH_M, atol=1e-3)


def test_what_does_not_scatter_or_is_not_asked_to_does_not(world):
    ue = [14.0, 3.0, 2.0]
    assert not (traced([plate(world, world.METAL)], ue).path_kind == Interaction.SCATTERING).any()
    assert not (traced([plate(world, rough(world))], ue, diffuse=False).path_kind == Interaction.SCATTERING).any()


def test_what_is_hidden_scatters_nothing(world):
    screen = world.box((7.0, 6.0, 0.0, 30.0, 0.5, 40.0, 0.0))
    paths = traced([plate(world, rough(world)), screen], [14.0, 3.0, 2.0])
    assert not (paths.body[..., 0] == 0).any()
    van = world.box((0.0, 0.0, -10.0, 30.0, 0.5, 40.0, 0.0))
    tracer = Tracer([plate(world, rough(world))], BS, CARRIER_HZ, [van], order=1, max_paths=600, diffuse=True)
    here = tracer.paths(np.array([[14.0, 3.0, 2.0]]), movers=world.movers([[7.0, 6.0, 0.0, 0.0]]))
    assert not (here.path_kind == Interaction.SCATTERING).any()


def test_what_the_reflection_loses_is_what_is_scattered(world, physics):
    """With both on, the mirror keeps 1 - S^2 of the power and Lambert's lobe gets S^2."""
    paths = traced([plate(world, rough(world))], [14.0, 3.0, 5.0], specular_loss=True)
    (k,) = np.flatnonzero(paths.path_kind[0] == Interaction.REFLECTION)
    length = paths.delay_s[0, k] * SPEED_OF_LIGHT_MPS
    kept = np.abs(paths.transfer[0, k, 0, 0] / physics.free_space(length)) ** 2
    assert kept == pytest.approx(1 - S**2, rel=2e-3)


@pytest.mark.parametrize("before_m", [0.05, 0.3, 1.5])
def test_nobody_gets_more_scattered_power_than_falls_on_the_wall_beside_him(world, before_m):
    """However near: the field before an endless rough wall is at most that which falls on it, times 2 S^2."""
    wall = plate(world, rough(world), 40.0)
    ue = np.random.default_rng(0).uniform([-8.0, 0.0, 1.0], [14.0, 0.0, 9.0], (20, 3))
    ue[:, 1] = MIDDLE[1] - before_m
    power = scattered(traced([wall], ue, max_paths=1500)) / ISOTROPIC**2
    falls = 1 / ((ue - BS) ** 2).sum(axis=1)
    assert (power / falls).max() <= 2 * S**2 * 1.5
