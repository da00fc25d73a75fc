"""The light that reaches the camera from actors, and from what stands still beside them."""

import math
from typing import NamedTuple

import numpy as np

from twin.compiled import kernel, leaf
from twin.geometry.bvh import hides
from twin.sensors.camera.beams import BEAM_RGB, beam_light, own_light
from twin.sensors.camera.light import Light
from twin.sensors.camera.reach import CONTACT_M, TILE_PX, Tiles
from twin.sensors.camera.still import FAR_M, LIFT_M, Still, alike, lamp_light, mirror_radiance, mirrored
from twin.sensors.surfaces.table import SURFACES
from twin.sensors.world import actor_hides, passes_sphere

__all__ = ["Moving", "Shadable", "shade", "shade_still"]

LOBE = 60.0
"""Exponent of the highlight on gloss."""
LOW_M = 0.7
"""Below this height the underbody and its shadow darken an actor's sides [m]."""
_GLOSS = np.array([surface.gloss for surface in SURFACES.values()])


class Shadable(NamedTuple):
    """What shading reads, the same all episode.

    Attributes:
        nodes, triangles, stop, normal, surface: of the `World`.
        lamps: (lamp, 3) street lamps [m].
        eye, axes: place of the camera, and its axes.
        left, up: of each column and row of samples, y / x and z / x in the camera's frame.
        still, light: what stands still, and what shines on it.
    """

    nodes: np.ndarray
    triangles: np.ndarray
    stop: int
    normal: np.ndarray
    surface: np.ndarray
    lamps: np.ndarray
    eye: np.ndarray
    axes: np.ndarray
    left: np.ndarray
    up: np.ndarray
    still: Still
    light: Light


class Moving(NamedTuple):
    """What shading reads of one instant.

    Attributes:
        actors: array of `ACTOR`.
        box: (actor, 7).
        kind: (actor,) class.
        albedo: (actor, surface, 3).
        beam: array of `BEAM`.
        contact, shadow, lit: `Tiles` of those whose surroundings, shadow and beam matter.
    """

    actors: np.ndarray
    box: np.ndarray
    kind: np.ndarray
    albedo: np.ndarray
    beam: np.ndarray
    contact: Tiles
    shadow: Tiles
    lit: Tiles


@kernel
def shade(touched, picture, fine, world, moving):  # type: ignore[no-untyped-def]
    """Fill the radiance of touched pixels, the mean of their samples.

    What changes little within a pixel, the light on a triangle and what actors take from and shed on the ground beside
    them, is found once for neighbouring samples on one surface; the edges of shadows on what stands still are not."""
    s = fine.samples
    still, light = world.still, world.light
    for row in range(touched.shape[0]):
        for column in range(touched.shape[1]):
            if touched[row, column] == 0:
                continue
            r, g, b = 0.0, 0.0, 0.0
            first_i, first_j, seen, beam, clear = -1, -1, 1.0, 0.0, 1.0
            drawn, whose, ar, ag, ab = -1, -1, 0.0, 0.0, 0.0
            tile = (row // TILE_PX, column // TILE_PX)
            for part in range(s * s):
                i, j = row * s + part // s, column * s + part % s
                if fine.triangle[i, j] >= 0:
                    if fine.triangle[i, j] != drawn or fine.actor[i, j] != whose:
                        drawn, whose = fine.triangle[i, j], fine.actor[i, j]
                        ar, ag, ab = _actor_radiance(i, j, tile, fine, world, moving)
                    r, g, b = r + ar, g + ag, b + ab
                    continue
                pr, pg, pb = float(still.soft[i, j, 0]), float(still.soft[i, j, 1]), float(still.soft[i, j, 2])
                if still.distance[i, j] < np.inf:
                    if first_i < 0 or not alike(still, i, j, first_i, first_j):
                        first_i, first_j = i, j
                        seen, beam = _beside(i, j, tile, world, moving)
                        clear = math.exp(-light.beta * still.distance[i, j])
                    sr, sg, sb = still.sun[i, j, 0], still.sun[i, j, 1], still.sun[i, j, 2]
                    pr, pg, pb = pr * seen, pg * seen, pb * seen
                    if sr + sg + sb > 0.0 and not _shadowed(i, j, tile, world, moving):
                        pr, pg, pb = pr + sr, pg + sg, pb + sb
                    pr += beam * BEAM_RGB[0] * still.albedo[i, j, 0]
                    pg += beam * BEAM_RGB[1] * still.albedo[i, j, 1]
                    pb += beam * BEAM_RGB[2] * still.albedo[i, j, 2]
                    pr, pg, pb = _through_air(light, clear, pr, pg, pb)
                r, g, b = r + pr, g + pg, b + pb
            share = 1.0 / (s * s)
            picture[row, column, 0], picture[row, column, 1], picture[row, column, 2] = r * share, g * share, b * share


@kernel
def shade_still(picture, samples, still, light):  # type: ignore[no-untyped-def]
    """Fill the radiance of all pixels with nobody in the street."""
    for row in range(picture.shape[0]):
        for column in range(picture.shape[1]):
            r, g, b = 0.0, 0.0, 0.0
            for part in range(samples * samples):
                i, j = row * samples + part // samples, column * samples + part % samples
                pr, pg, pb = still.soft[i, j, 0], still.soft[i, j, 1], still.soft[i, j, 2]
                t = still.distance[i, j]
                if t < np.inf:
                    pr, pg, pb = pr + still.sun[i, j, 0], pg + still.sun[i, j, 1], pb + still.sun[i, j, 2]
                    pr, pg, pb = _through_air(light, math.exp(-light.beta * t), pr, pg, pb)
                r, g, b = r + pr, g + pg, b + pb
            share = 1.0 / (samples * samples)
            picture[row, column, 0], picture[row, column, 1], picture[row, column, 2] = r * share, g * share, b * share


@leaf
def _through_air(light, clear, r, g, b):  # type: ignore[no-untyped-def]
    """Radiance after air that is `clear` = exp(-beta t): L clear + L_air (1 - clear) (Koschmieder, 1924)."""
    air = light.air
    return air[0] + clear * (r - air[0]), air[1] + clear * (g - air[1]), air[2] + clear * (b - air[2])


@leaf
def _place(i, j, world):  # type: ignore[no-untyped-def]
    """Where the ray of a sample meets what stands still, a little above its surface."""
    still, eye = world.still, world.eye
    dx, dy, dz, norm = _ray(world, i, j)
    t = still.distance[i, j] / norm
    return (
        eye[0] + t * dx + LIFT_M * still.normal[i, j, 0],
        eye[1] + t * dy + LIFT_M * still.normal[i, j, 1],
        eye[2] + t * dz + LIFT_M * still.normal[i, j, 2],
    )


@leaf
def _beside(i, j, tile, world, moving):  # type: ignore[no-untyped-def]
    """The share of soft light that actors leave to a sample of what stands still, and radiance per albedo that
    headlights add."""
    x, y, z = _place(i, j, world)
    nx, ny, nz = world.still.normal[i, j, 0], world.still.normal[i, j, 1], world.still.normal[i, j, 2]
    return _open_share(moving, tile, x, y, z, nz), _beams(moving, tile, -1, x, y, z, nx, ny, nz) / math.pi


@leaf
def _shadowed(i, j, tile, world, moving):  # type: ignore[no-untyped-def]
    x, y, z = _place(i, j, world)
    return _in_shadow(world, moving, tile, x, y, z)


@leaf
def _ray(world, i, j):  # type: ignore[no-untyped-def]
    """The ray of a sample as far as depth 1 [m], and its length."""
    left, up, axes = world.left[j], world.up[i], world.axes
    dx = axes[0, 0] + left * axes[1, 0] + up * axes[2, 0]
    dy = axes[0, 1] + left * axes[1, 1] + up * axes[2, 1]
    dz = axes[0, 2] + left * axes[1, 2] + up * axes[2, 2]
    return dx, dy, dz, math.sqrt(1.0 + left * left + up * up)


@leaf
def _in_shadow(world, moving, tile, x, y, z):  # type: ignore[no-untyped-def]
    """Whether an actor hides the sun."""
    sx, sy, sz = world.light.to_sun
    for k in range(moving.shadow.number[tile]):
        actor = moving.actors[moving.shadow.actor[tile[0], tile[1], k]]
        if passes_sphere(actor, x, y, z, sx, sy, sz):
            reach = 2.0 * actor.radius + math.sqrt((actor.cx - x) ** 2 + (actor.cy - y) ** 2 + (actor.cz - z) ** 2)
            if actor_hides(
                world.nodes, world.triangles, actor, x, y, z, x + reach * sx, y + reach * sy, z + reach * sz
            ):
                return True
    return False


@leaf
def _open_share(moving, tile, x, y, z, nz):  # type: ignore[no-untyped-def]
    """About the share of the sky's light that actors leave to what stands still beside and below them."""
    share = 1.0
    for k in range(moving.contact.number[tile]):
        a = moving.contact.actor[tile[0], tile[1], k]
        actor, box = moving.actors[a], moving.box[a]
        dx, dy, dz = x - actor.x, y - actor.y, z - actor.z
        past = max(abs(dx * actor.cosine + dy * actor.sine) - 0.5 * box[3], 0.0)
        aside = max(abs(dy * actor.cosine - dx * actor.sine) - 0.5 * box[4], 0.0)
        if past > CONTACT_M or aside > CONTACT_M or dz > CONTACT_M:
            continue
        away = math.sqrt(past * past + aside * aside + max(dz, 0.0) ** 2)
        share *= 1.0 - 0.85 * min(1.0, box[4] / 1.6) * max(nz, 0.3) * math.exp(-3.0 * away / (0.2 + 0.5 * box[5]))
    return share


@leaf
def _beams(moving, tile, own, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Irradiance of the headlights of all actors but one."""
    e = 0.0
    for k in range(moving.lit.number[tile]):
        a = moving.lit.actor[tile[0], tile[1], k]
        if a != own:
            e += beam_light(moving.beam[a], x, y, z, nx, ny, nz)
    return e


@leaf
def _actor_radiance(i, j, tile, fine, world, moving):  # type: ignore[no-untyped-def]
    light, number, a = world.light, fine.triangle[i, j], fine.actor[i, j]
    actor, surface = moving.actors[a], world.surface[number]
    depth = 1.0 / fine.nearness[i, j]
    dx, dy, dz, norm = _ray(world, i, j)
    ahead, aside, nz = world.normal[number, 0], world.normal[number, 1], world.normal[number, 2]
    nx, ny = actor.cosine * ahead - actor.sine * aside, actor.sine * ahead + actor.cosine * aside
    x, y = world.eye[0] + depth * dx + LIFT_M * nx, world.eye[1] + depth * dy + LIFT_M * ny
    z, t = world.eye[2] + depth * dz + LIFT_M * nz, depth * norm
    dx, dy, dz = dx / norm, dy / norm, dz / norm
    sun = _sun_on_actor(world, moving, tile, light, x, y, z, nx, ny, nz)
    r, g, b = _light_on_actor(world, moving, tile, a, sun, x, y, z, nx, ny, nz)
    r *= moving.albedo[a, surface, 0] / math.pi
    g *= moving.albedo[a, surface, 1] / math.pi
    b *= moving.albedo[a, surface, 2] / math.pi
    if light.night == 1:
        seen = -(dx * actor.cosine + dy * actor.sine)
        er, eg, eb = own_light(surface, moving.kind[a], moving.beam[a], seen, ahead)
        r, g, b = r + er, g + eg, b + eb
    if _GLOSS[surface] > 0.0:
        r, g, b = _glossed(world, _GLOSS[surface], sun, x, y, z, dx, dy, dz, nx, ny, nz, r, g, b)
    return _through_air(light, math.exp(-light.beta * t), r, g, b)


@leaf
def _light_on_actor(world, moving, tile, a, sun, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Irradiance of sun, lamps and headlights, and of sky and ground, which are weaker beside the underbody."""
    light, low = world.light, min(1.0, max(0.0, (z - moving.actors[a].z) / LOW_M))
    seen, below = 0.5 + 0.5 * nz, (0.5 - 0.5 * nz) * (0.25 + 0.75 * low)
    if nz < 0.35:
        seen *= 0.4 + 0.6 * low
    r = seen * light.sky[0] + below * light.bounce[0] + sun * light.sun[0]
    g = seen * light.sky[1] + below * light.bounce[1] + sun * light.sun[1]
    b = seen * light.sky[2] + below * light.bounce[2] + sun * light.sun[2]
    for k in range(world.lamps.shape[0]):
        e = lamp_light(world.lamps[k], x, y, z, nx, ny, nz) * (0.4 + 0.6 * low)
        r, g, b = r + e * light.lamp[0], g + e * light.lamp[1], b + e * light.lamp[2]
    e = _beams(moving, tile, a, x, y, z, nx, ny, nz)
    return r + e * BEAM_RGB[0], g + e * BEAM_RGB[1], b + e * BEAM_RGB[2]


@leaf
def _glossed(world, gloss, sun, x, y, z, dx, dy, dz, nx, ny, nz, r, g, b):  # type: ignore[no-untyped-def]
    """Radiance with what gloss mirrors (Fresnel's law after Schlick, 1994) and the highlight of the sun."""
    light = world.light
    mx, my, mz, cosine = mirrored(dx, dy, dz, nx, ny, nz)
    share = gloss + (1.0 - gloss) * (1.0 - min(1.0, max(0.0, cosine))) ** 5
    rr, rg, rb = mirror_radiance(world.nodes, world.triangles, world.stop, light, x, y, z, mx, my, mz)
    r, g, b = r + share * (rr - r), g + share * (rg - g), b + share * (rb - b)
    if sun > 0.0:
        facing = mx * light.to_sun[0] + my * light.to_sun[1] + mz * light.to_sun[2]
        e = share * (LOBE + 2.0) / (2.0 * math.pi) * max(0.0, facing) ** LOBE
        r, g, b = r + e * light.sun[0], g + e * light.sun[1], b + e * light.sun[2]
    return r, g, b


@leaf
def _sun_on_actor(world, moving, tile, light, x, y, z, nx, ny, nz):  # type: ignore[no-untyped-def]
    """Cosine at which the sun falls in, 0 in a shadow."""
    sx, sy, sz = light.to_sun
    facing = nx * sx + ny * sy + nz * sz
    if facing <= 0.0 or light.night == 1:
        return 0.0
    if hides(world.nodes, world.triangles, 0, world.stop, x, y, z, x + FAR_M * sx, y + FAR_M * sy, z + FAR_M * sz):
        return 0.0
    return 0.0 if _in_shadow(world, moving, tile, x, y, z) else facing
