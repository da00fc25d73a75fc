"""What stands still, seen by a camera that does too: cast and lit once an episode."""

import math
from typing import NamedTuple

import numpy as np

from twin.compiled import kernel, leaf
from twin.geometry.bvh import hides
from twin.scenario.fields import Scenario
from twin.sensors.camera.light import Light, lamps_of, sky_radiance
from twin.sensors.camera.sky import backdrop
from twin.sensors.camera.view import Pinhole
from twin.sensors.surfaces.facade import facade, walls_of
from twin.sensors.surfaces.ground import Ground, ground_colour, ground_of
from twin.sensors.surfaces.table import NO_SURFACE, SURFACES
from twin.sensors.world import World, meet_static

__all__ = ["FAR_M", "LIFT_M", "Built", "Still", "alike", "lamp_light", "mirror_radiance", "mirrored", "still_of"]

LIFT_M = 2e-3
"""Rays that leave a surface start so far above it [m]."""
FAR_M = 20_000.0
"""The sun, and the sky, are further away than anything [m]."""
FLOOR_M, FLAT = 0.3, 0.9
"""What lies lower than this [m] and has a normal with a larger z is ground."""
LAMP_REACH_M = 40.0
"""Street lamps light nothing further away [m]."""
_ALBEDO = np.array([surface.albedo for surface in SURFACES.values()])


class Still(NamedTuple):
    """What the samples of the picture see when nobody is in the street; (row, column), (row, column, 3).

    Attributes:
        distance: along the ray, inf for the sky [m].
        nearness: 1 / depth along the optical axis, 0 for the sky [1/m].
        normal: unit normal towards the camera.
        albedo: diffuse reflectance.
        soft: radiance but for what the sun sheds directly; of the sky with the air before it, else without.
        sun: radiance that the sun sheds directly.
    """

    distance: np.ndarray
    nearness: np.ndarray
    normal: np.ndarray
    albedo: np.ndarray
    soft: np.ndarray
    sun: np.ndarray


class Built(NamedTuple):
    """What painting reads: the wall of each triangle, walls, ground, street lamps (lamp, 3), and directions upward."""

    wall_of: np.ndarray
    walls: np.ndarray
    ground: Ground
    lamps: np.ndarray
    dome: np.ndarray


def still_of(world: World, scenario: Scenario, view: Pinhole, light: Light, samples: int) -> Still:
    """Cast and light what stands still, with samples x samples rays a pixel."""
    ray = view.rays(samples)
    rows, columns, _ = ray.shape
    ray = ray.reshape(-1, 3)
    hits = world.cast_static(view.mount.position_m, ray)
    shape = (rows, columns)
    axial = hits.distance_m * (ray @ view.mount.axes[0])
    still = Still(
        hits.distance_m.astype(np.float32).reshape(shape),
        (1.0 / axial).astype(np.float32).reshape(shape),
        *(np.zeros((*shape, 3), np.float32) for _ in range(4)),
    )
    count = len(world.still_triangle_m)
    wall_of, walls = walls_of(world.still_triangle_m, world.normal[:count], world.surface[:count], world.body)
    still.normal[:] = hits.normal.reshape(*shape, 3)
    hit = (hits.distance_m.reshape(shape), hits.triangle.reshape(shape), hits.surface.astype(np.int64).reshape(shape))
    built = Built(wall_of, walls, ground_of(scenario), lamps_of(scenario) if light.night else np.zeros((0, 3)), _dome())
    spread = 1.0 / (samples * max(view.focal_px))
    tree = (world.node, world.triangle, world.still)
    _paint(still, ray.reshape(*shape, 3), hit, samples, spread, view.mount.position_m, tree, built, light)
    return still


def _dome(count: int = 20) -> np.ndarray:
    """Directions spread evenly over the upper half of the sphere (a Fibonacci lattice)."""
    number = np.arange(count)
    up = (number + 0.5) / count
    out, turn = np.sqrt(1.0 - up**2), number * math.pi * (3.0 - math.sqrt(5.0))
    return np.stack([out * np.cos(turn), out * np.sin(turn), up], -1)


@leaf
def mirrored(dx, dy, dz, nx, ny, nz):  # type: ignore[no-untyped-def]
    """The direction d reflected by a surface of normal n, and minus d . n."""
    cosine = -(dx * nx + dy * ny + dz * nz)
    return dx + 2.0 * cosine * nx, dy + 2.0 * cosine * ny, dz + 2.0 * cosine * nz, cosine


@leaf
def lamp_light(lamp, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Irradiance for a unit of intensity of a street lamp, which falls as the cosine from straight down."""
    dx, dy, dz = lamp[0] - x, lamp[1] - y, lamp[2] - z
    square = dx * dx + dy * dy + dz * dz
    if square > LAMP_REACH_M * LAMP_REACH_M or dz <= 0.0:
        return 0.0
    facing = dx * nx + dy * ny + dz * nz
    return facing * dz / (square * square) if facing > 0.0 else 0.0


@leaf
def _sky_seen(tree, dome, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Shares of the irradiance of a uniform dome on the ground that reach a surface, and that walls keep from it."""
    seen, shut, total = 0.0, 0.0, 0.0
    for k in range(dome.shape[0]):
        dx, dy, dz = dome[k, 0], dome[k, 1], dome[k, 2]
        total += dz
        facing = dx * nx + dy * ny + dz * nz
        if facing <= 0.0:
            continue
        if _hidden(tree, x, y, z, dx, dy, dz):
            shut += facing
        else:
            seen += facing
    return seen / total, shut / total


@leaf
def _hidden(tree, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Whether something stands in the direction d."""
    return hides(tree[0], tree[1], 0, tree[2], x, y, z, x + FAR_M * dx, y + FAR_M * dy, z + FAR_M * dz)


@leaf
def mirror_radiance(nodes, triangles, still, light, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    """About what a pane mirrors: the sky, or a wall in the light that walls have."""
    if dz > 0.0:
        t, _ = meet_static(nodes, triangles, still, x, y, z, dx, dy, dz)
        if t == np.inf:
            return sky_radiance(light, dx, dy, dz)
    e = 0.25 / math.pi if dz > 0.0 else 0.15 / math.pi
    return (
        e * (0.5 * light.sky[0] + 0.25 * light.sun[0]),
        e * (0.5 * light.sky[1] + 0.25 * light.sun[1]),
        e * (0.5 * light.sky[2] + 0.25 * light.sun[2]),
    )


@kernel
def _paint(still, ray, hit, samples, spread, eye, tree, built, light):  # type: ignore[no-untyped-def]
    """Fill albedo, soft and sun of every sample; `hit` is distance, triangle and surface of each."""
    distance, which, kind = hit
    for row in range(0, ray.shape[0], samples):
        for column in range(0, ray.shape[1], samples):
            seen, shut = -1.0, 0.0
            for part in range(samples * samples):
                i, j = row + part // samples, column + part % samples
                dx, dy, dz = ray[i, j, 0], ray[i, j, 1], ray[i, j, 2]
                if kind[i, j] == NO_SURFACE:
                    still.soft[i, j, 0], still.soft[i, j, 1], still.soft[i, j, 2] = backdrop(light, dx, dy, dz)
                    continue
                t = distance[i, j]
                nx, ny, nz = still.normal[i, j, 0], still.normal[i, j, 1], still.normal[i, j, 2]
                x, y, z = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
                footprint = t * spread / math.sqrt(max(0.05, -(dx * nx + dy * ny + dz * nz)))
                wall = built.wall_of[which[i, j]]
                r, g, b, gloss, er, eg, eb = _look(built, kind[i, j], wall, x, y, z, nz, footprint, light.night)
                x, y, z = x + LIFT_M * nx, y + LIFT_M * ny, z + LIFT_M * nz
                if part == 0 or not alike(still, i, j, row, column):
                    seen, shut = _sky_seen(tree, built.dome, x, y, z, nx, ny, nz)
                sr, sg, sb = _soft_light(tree, built.lamps, light, seen, shut, x, y, z, nx, ny, nz)
                sr, sg, sb = r * sr / math.pi + er, g * sg / math.pi + eg, b * sb / math.pi + eb
                if gloss > 0.0:
                    mx, my, mz, cosine = mirrored(dx, dy, dz, nx, ny, nz)
                    share = gloss + (1.0 - gloss) * (1.0 - min(1.0, cosine)) ** 5
                    rr, rg, rb = mirror_radiance(tree[0], tree[1], tree[2], light, x, y, z, mx, my, mz)
                    sr, sg, sb = sr + share * (rr - sr), sg + share * (rg - sg), sb + share * (rb - sb)
                e = _sunshine(tree, light, x, y, z, nx, ny, nz) / math.pi
                still.albedo[i, j, 0], still.albedo[i, j, 1], still.albedo[i, j, 2] = r, g, b
                still.soft[i, j, 0], still.soft[i, j, 1], still.soft[i, j, 2] = sr, sg, sb
                still.sun[i, j, 0], still.sun[i, j, 1] = e * r * light.sun[0], e * g * light.sun[1]
                still.sun[i, j, 2] = e * b * light.sun[2]


@leaf
def _look(built, kind, wall, x, y, z, nz, footprint, night):  # type: ignore[no-untyped-def]
    """Albedo, mirror reflectance and own radiance of what is at a place."""
    if nz > FLAT and z < FLOOR_M:
        r, g, b = ground_colour(built.ground, x, y, footprint)
        return r, g, b, 0.0, 0.0, 0.0, 0.0
    if wall >= 0:
        return facade(built.walls[wall], x, y, z, footprint, night)
    return _ALBEDO[kind, 0], _ALBEDO[kind, 1], _ALBEDO[kind, 2], 0.0, 0.0, 0.0, 0.0


@leaf
def _soft_light(tree, lamps, light, seen, shut, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Irradiance from the sky, from the ground and walls in its light, and from street lamps."""
    below = 0.5 - 0.5 * nz + 0.8 * shut
    r = seen * light.sky[0] + below * light.bounce[0]
    g = seen * light.sky[1] + below * light.bounce[1]
    b = seen * light.sky[2] + below * light.bounce[2]
    for k in range(lamps.shape[0]):
        e = lamp_light(lamps[k], x, y, z, nx, ny, nz)
        if e > 0.0 and not hides(tree[0], tree[1], 0, tree[2], x, y, z, lamps[k, 0], lamps[k, 1], lamps[k, 2]):
            r, g, b = r + e * light.lamp[0], g + e * light.lamp[1], b + e * light.lamp[2]
    return r, g, b


@leaf
def _sunshine(tree, light, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Cosine at which the sun falls in, 0 where something hides it."""
    sx, sy, sz = light.to_sun
    facing = nx * sx + ny * sy + nz * sz
    if light.night == 1 or facing <= 0.0 or _hidden(tree, x, y, z, sx, sy, sz):
        return 0.0
    return facing


@leaf
def alike(still, i, j, row, column):  # type: ignore[no-untyped-def]
    """Whether two samples of a pixel lie on one surface, as far as light from all around minds."""
    cosine = 0.0
    for k in range(3):
        cosine += still.normal[i, j, k] * still.normal[row, column, k]
    return cosine > 0.99 and abs(still.distance[i, j] / still.distance[row, column] - 1.0) < 0.1
