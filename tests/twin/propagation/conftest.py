"""Bodies to trace, and the physics of their paths rebuilt with vectors and mirrors."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from twin.geometry.facets import Body
from twin.propagation.materials import RadioMaterial
from twin.propagation.movers import Movers

SPEED_OF_LIGHT_MPS = 299_792_458.0
CARRIER_HZ = 60e9
WAVELENGTH_M = SPEED_OF_LIGHT_MPS / CARRIER_HZ
CONCRETE = RadioMaterial("concrete", 5.24, 1.136)
EARTH = RadioMaterial("earth", 3.18, 0.4)
METAL = RadioMaterial("metal", 1.0, 1e7)
CORNERS = np.array(list(product((0, 1), repeat=3)))  # 0: low, 1: high; x slowest
SIDES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]  # -x +x -y +y -z +z


def spin(heading):
    """Rotation about z."""
    c, s = np.cos(heading), np.sin(heading)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def box(row, material=CONCRETE, name="box"):
    """A closed box: x, y of its centre, base, length, width, height, heading."""
    x, y, base, length, width, height, heading = row
    own = (CORNERS - [0.5, 0.5, 0.0]) * [length, width, height]
    face = np.array([side for a, b, c, d in SIDES for side in ((a, b, c), (a, c, d))])
    return Body(name, own @ spin(heading).T + [x, y, base], face, material)


def plate(*corners, material=CONCRETE, name="plate"):
    """A flat sheet with three or four corners."""
    count = len(corners)
    return Body(name, np.array(corners, float), np.array([[0, k, k + 1] for k in range(1, count - 1)]), material)


def ground(material=EARTH, reach=2000.0):
    x = reach
    return plate((-x, -x, 0), (x, -x, 0), (x, x, 0), (-x, x, 0), material=material, name="ground")


def prism(outline, length, material=METAL, name="prism"):
    """A closed prism along y, centred on y = 0; its outline (x, z) turns counterclockwise seen from -y."""
    outline = np.array(outline, float)
    n = len(outline)
    ends = [np.column_stack([outline[:, 0], np.full(n, y), outline[:, 1]]) for y in (-length / 2, length / 2)]
    caps = [[0, k, k + 1] for k in range(1, n - 1)] + [[n, n + k + 1, n + k] for k in range(1, n - 1)]
    sides = [[(k + 1) % n, k, n + k] for k in range(n)] + [[(k + 1) % n, n + k, n + (k + 1) % n] for k in range(n)]
    return Body(name, np.concatenate(ends), np.array(caps + sides), material)


def movers(pose, velocity=None, shape=None):
    """Movers of one frame (A, 4) or many (T, A, 4), all of shape 0 unless said."""
    pose = np.array(pose, float)
    pose = pose[None] if pose.ndim == 2 else pose
    shape = np.zeros(pose.shape[:2], int) if shape is None else np.broadcast_to(shape, pose.shape[:2])
    velocity = np.zeros(3) if velocity is None else np.array(velocity, float)
    return Movers(np.array(shape), pose, np.array(np.broadcast_to(velocity, (*pose.shape[:2], 3))))


def unit(vector):
    return vector / np.linalg.norm(vector)


def spherical(k):
    """Directions of growing zenith and growing azimuth at k, by differentiating k."""
    zenith, azimuth = np.arccos(np.clip(k[2], -1, 1)), np.arctan2(k[1], k[0])
    theta = [np.cos(zenith) * np.cos(azimuth), np.cos(zenith) * np.sin(azimuth), -np.sin(zenith)]
    return np.array([theta, [-np.sin(azimuth), np.cos(azimuth), 0.0]])


def free_space(length_m, wavelength_m=WAVELENGTH_M):
    """Friis, between isotropic antennas: lambda / (4 pi d), turned by the distance."""
    return wavelength_m / (4 * np.pi * length_m) * np.exp(-2j * np.pi * length_m / wavelength_m)


def permittivity(material, carrier_hz=CARRIER_HZ):
    return material.relative_permittivity - 1j * material.conductivity_s_per_m / (
        2 * np.pi * carrier_hz * 8.8541878128e-12
    )


def fresnel(cosine, material, wavelength_m=WAVELENGTH_M):
    """Reflections (r_s, r_p) of a layer: all the echoes between its two faces (Airy)."""
    eta = permittivity(material, SPEED_OF_LIGHT_MPS / wavelength_m)
    root = np.sqrt(eta - (1 - cosine**2) + 0j)
    front = np.array([(cosine - root) / (cosine + root), (eta * cosine - root) / (eta * cosine + root)])
    if np.isinf(material.thickness_m):
        return front
    round_trip = np.exp(-4j * np.pi * material.thickness_m / wavelength_m * root)
    return front * (1 - round_trip) / (1 - front**2 * round_trip)


def length_of(points):
    return np.linalg.norm(np.diff(points, axis=0), axis=1).sum()


def transfer(points, normals, materials, share=1.0):
    """Transfer matrix over the points from antenna to antenna: the field is split and reflected at every face."""
    legs = [unit(b - a) for a, b in zip(points[:-1], points[1:], strict=True)]
    field = spherical(legs[0]).astype(complex).T  # columns: sent along theta, along phi
    for k_in, k_out, normal, material in zip(legs[:-1], legs[1:], normals, materials, strict=True):
        s = np.cross(k_in, normal)
        s = unit(s) if np.linalg.norm(s) > 1e-9 else unit(np.cross(k_in, [0.3, 0.5, 0.8]))
        r_s, r_p = fresnel(abs(k_in @ normal), material)
        field = share * (r_s * np.outer(s, s) + r_p * np.outer(np.cross(s, k_out), np.cross(s, k_in))) @ field
    return free_space(length_of(points)) * (spherical(-legs[-1]) @ field)


def mirrored(point, normal, on_plane):
    return point - 2 * ((point - on_plane) @ normal) * normal


def over_mirrors(bs, ue, planes):
    """Points of the path bs - planes - ue from the images of the base station; a plane is a unit normal and a point."""
    images = [bs]
    for normal, on_plane in planes:
        images.append(mirrored(images[-1], normal, on_plane))
    points = [ue]
    for image, (normal, on_plane) in zip(images[:0:-1], planes[::-1], strict=True):
        line = image - points[0]
        points.insert(0, points[0] + ((on_plane - points[0]) @ normal) / (line @ normal) * line)
    return np.array([bs, *points])


def through_boxes(rows, a, b, grown=0.0):
    """How far (n) segments run through each of (m) boxes that are larger by a little: n x m [m], by slabs."""
    inside = np.empty((len(a), len(rows)))
    for number, (x, y, base, length, width, height, heading) in enumerate(rows):
        half = np.array([length, width, height]) / 2 + grown
        middle = np.array([x, y, base + height / 2])
        p, d = (a - middle) @ spin(heading), (b - a) @ spin(heading)
        d = np.where(np.abs(d) < 1e-15, 1e-15, d)
        near, far = np.sort([(-half - p) / d, (half - p) / d], axis=0)
        share = np.clip(far.min(axis=1), 0, 1) - np.clip(near.max(axis=1), 0, 1)
        inside[:, number] = np.maximum(share, 0) * np.linalg.norm(d, axis=1)
    return inside


def path_off(paths, *bodies, t=0):
    """Index of the only path over those bodies, in that order; no body is the direct path."""
    wanted = np.full(paths.body.shape[-1], -1)
    wanted[: len(bodies)] = bodies
    (found,) = np.flatnonzero(paths.valid[t] & (paths.body[t] == wanted).all(axis=-1))
    return found


def same_paths(one, other):
    """Two sets of paths are the same up to rounding; equally strong ones may change places."""
    for name in ("line_of_sight", "blocked", "valid"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for a, b in zip(*(_by_delay(paths) for paths in (one, other)), strict=True):
        np.testing.assert_allclose(a["delay_s"], b["delay_s"], rtol=1e-12)
        for name, off in (
            ("vertices_m", 1e-9),
            ("aod_rad", 1e-9),
            ("aoa_rad", 1e-9),
            ("doppler_hz", 1e-6),
            ("blockage_db", 1e-9),
        ):
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=off, err_msg=name)
        scale = np.abs(a["transfer"]).max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(a["transfer"] / scale, b["transfer"] / scale, atol=2e-6)


def _by_delay(paths):
    """The paths of each link from the shortest to the longest, equally long ones by where they bounce first."""
    links = paths.line_of_sight.shape
    for link in np.ndindex(links):
        k = np.flatnonzero(paths.valid[link])
        first = np.nan_to_num(paths.vertices_m[link][k, 0]).round(6)
        k = k[np.lexsort((*first.T, paths.delay_s[link][k].round(15)))]
        yield {name: value[link][k] for name, value in vars(paths).items() if np.ndim(value) > len(links)}


@pytest.fixture(scope="session")
def world():
    """What can stand in it."""
    return SimpleNamespace(box=box, plate=plate, ground=ground, prism=prism, movers=movers, spin=spin,
                           CONCRETE=CONCRETE, EARTH=EARTH, METAL=METAL)  # fmt: skip


@pytest.fixture(scope="session")
def physics():
    """What must be true in it."""
    return SimpleNamespace(
        unit=unit, spherical=spherical, free_space=free_space, permittivity=permittivity, fresnel=fresnel,
        length_of=length_of, transfer=transfer, mirrored=mirrored, over_mirrors=over_mirrors,
        through_boxes=through_boxes, path_off=path_off, same_paths=same_paths,
    )  # fmt: skip
