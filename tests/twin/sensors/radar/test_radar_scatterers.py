"""Road users scatter from points on their bodies, with the cross section of their class in their aspect."""

import math

import numpy as np
import pytest
import trimesh
from beartype import beartype
from jaxtyping import jaxtyped

from twin.sensors.actors import Actors
from twin.sensors.meshes import actor_meshes
from twin.sensors.radar.scatterers import actor_scatterers, class_reflectors
from twin.sensors.world import World
from twin.traffic.vehicles import VEHICLE_CLASSES

CLASSES = tuple(VEHICLE_CLASSES)
REFLECTORS = class_reflectors(actor_meshes())
EMPTY = World(np.empty((0, 3, 3)), np.empty(0, np.uint8), np.empty(0, np.int64), actor_meshes())
RADAR_M = np.array([0.0, 0.0, 2.0])


def actors(*rows):
    """From (class, x, y, heading [deg], vx, vy)."""
    kind = np.array([CLASSES.index(row[0]) for row in rows])
    size = [VEHICLE_CLASSES[row[0]] for row in rows]
    box = [(x, y, s[2] / 2, *s, math.radians(h)) for (_, x, y, h, _, _), s in zip(rows, size, strict=True)]
    return Actors(np.arange(len(rows)), kind, np.array(box), np.array([(vx, vy, 0.0) for *_, vx, vy in rows]))


def seen(*rows, world=EMPTY):
    return actor_scatterers(world, REFLECTORS, RADAR_M, actors(*rows))


def wall(x, low, high, height):
    """Two triangles of an upright wall across the x axis."""
    a, b, c, d = (x, low, 0), (x, high, 0), (x, high, height), (x, low, height)
    return World(np.array([(a, b, c), (a, c, d)], float), np.zeros(2, np.uint8), np.zeros(2, np.int64), actor_meshes())


def vehicle_dbsm(azimuth_deg, zenith_deg):
    """3GPP TR 38.901, table 7.9.2.1-4, by the face whose sector the direction lies in."""
    if zenith_deg < 30:
        return 21.26 - min(12 * (zenith_deg / 18.13) ** 2, 14.19)
    turned = azimuth_deg % 360
    centre, width, zenith, tall, peak, depth = (
        (0, 40.54, 71.75, 29.13, 15.52, 8.45) if turned <= 45 or turned > 315
        else (90, 26.90, 79.70, 44.42, 20.75, 13.68) if turned <= 135
        else (180, 36.32, 79.65, 36.73, 14.56, 7.50) if turned <= 225
        else (270, 26.90, 79.70, 44.42, 20.75, 13.68)
    )  # fmt: skip
    off = (turned - centre + 180) % 360 - 180
    return peak - min(12 * (off / width) ** 2 + 12 * ((zenith_deg - zenith) / tall) ** 2, depth)


@pytest.mark.parametrize(("name", "above_db"), [("car", 0.0), ("van", 3.0), ("truck", 7.0), ("bus", 9.0)])
@pytest.mark.parametrize("heading_deg", range(0, 360, 15))
def test_the_points_of_a_vehicle_share_the_cross_section_of_its_aspect(name, above_db, heading_deg):
    x, y = 18.0, 7.0
    found = seen((name, x, y, heading_deg, 0, 0))
    rise = RADAR_M[2] - VEHICLE_CLASSES[name][2] / 2
    azimuth_deg = math.degrees(math.atan2(-y, -x)) - heading_deg
    zenith_deg = math.degrees(math.atan2(math.hypot(x, y), rise))
    expected_dbsm = vehicle_dbsm(azimuth_deg, zenith_deg) + above_db
    assert 10 * math.log10(found.rcs_m2.sum()) == pytest.approx(expected_dbsm, abs=0.02)


def test_a_car_flashes_from_the_side_and_a_pedestrian_never():
    side, corner = (seen(("car", 20, 0, heading, 0, 0)).rcs_m2.sum() for heading in (90, 135))
    assert 10 * math.log10(side / corner) > 12
    people = [seen(("pedestrian", 20, 0, heading, 0, 0)).rcs_m2.sum() for heading in range(0, 360, 30)]
    assert 10 * np.log10(people) == pytest.approx(-6.0)


def test_larger_classes_scatter_more():
    means = {}
    for name in CLASSES:
        rcs = [seen((name, 20, 0, heading, 0, 0)).rcs_m2.sum() for heading in range(0, 360, 10)]
        means[name] = 10 * math.log10(np.mean(rcs))
    assert means["pedestrian"] < means["cyclist"] < means["car"] < means["van"] < means["truck"] < means["bus"]
    assert means["car"] == pytest.approx(11.25 + 1.5, abs=1.5)
    assert means["cyclist"] == pytest.approx(0.0, abs=1.5)


@pytest.mark.parametrize("kind", range(len(CLASSES)))
def test_the_points_lie_all_over_the_body_and_have_its_normals(kind):
    corners, found = actor_meshes()[kind].triangle_m, REFLECTORS[kind]
    nearest_m, on = [], []
    for point_m in found.point_m:
        way_m = trimesh.triangles.closest_point(corners, np.tile(point_m, (len(corners), 1))) - point_m
        distance_m = np.linalg.norm(way_m, axis=1)
        nearest_m.append(distance_m.min())
        on.append(distance_m.argmin())
    assert max(nearest_m) < 1e-6
    assert len(set(on)) > len(on) / 8
    across = np.cross(corners[on, 1] - corners[on, 0], corners[on, 2] - corners[on, 0])
    assert (found.normal * across).sum(axis=1) == pytest.approx(np.linalg.norm(across, axis=1), rel=1e-6)


@pytest.mark.parametrize("kind", range(len(CLASSES)))
def test_the_points_reach_all_ends_of_the_body(kind):
    length, width, height = list(VEHICLE_CLASSES.values())[kind]
    spread = np.ptp(REFLECTORS[kind].point_m, axis=0)
    assert np.all(spread > 0.65 * np.array([length, width, height]))


def test_the_points_are_always_the_same():
    again = class_reflectors(actor_meshes())
    for one, two in zip(REFLECTORS, again, strict=True):
        assert np.array_equal(one.point_m, two.point_m)


@pytest.mark.parametrize("heading_deg", [0.0, 40.0, 90.0, 200.0])
def test_what_is_seen_of_a_car_is_its_near_side(heading_deg):
    found = seen(("car", 15.0, 0.0, heading_deg, 0, 0))
    assert found.position_m[:, 0].mean() < 15.0 - 0.2
    c, s = math.cos(math.radians(heading_deg)), math.sin(math.radians(heading_deg))
    body = (found.position_m - (15.0, 0, 0)) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    assert np.all(np.abs(body[:, 0]) < 2.3 + 1e-6)
    assert np.all(np.abs(body[:, 1]) < 0.9 + 1e-6)
    assert np.all((body[:, 2] > -1e-6) & (body[:, 2] < 1.5 + 1e-6))


def test_what_faces_the_radar_squarely_scatters_most():
    """In proportion to the square of the cosine of incidence."""
    found, kind = seen(("van", 15.0, 4.0, 0.0, 0, 0)), CLASSES.index("van")
    body = found.position_m - (15.0, 4.0, 0.0)
    which = [np.abs(REFLECTORS[kind].point_m - point).max(axis=1).argmin() for point in body]
    way = RADAR_M - found.position_m
    cosine = (way * REFLECTORS[kind].normal[which]).sum(axis=1) / np.linalg.norm(way, axis=1)
    assert found.rcs_m2 / found.rcs_m2.sum() == pytest.approx(cosine**2 / (cosine**2).sum())
    assert cosine.max() > 3 * cosine.min()


def test_the_points_move_with_their_actor():
    found = seen(("car", 15, 0, 0, 3, -4), ("van", 25, 10, 90, 0, 7))
    assert set(map(tuple, found.velocity_mps)) == {(3, -4, 0), (0, 7, 0)}
    first = found.where(found.velocity_mps[:, 0] == 3)
    assert np.abs(first.position_m[:, 0] - 15).max() < 2.4


def test_a_bus_between_hides_a_car():
    alone = seen(("car", 24.0, 0.0, 90, 0, 0))
    hidden = seen(("car", 24.0, 0.0, 90, 1, 0), ("bus", 12.0, 0.0, 90, 0, 0))
    beside = seen(("car", 24.0, 0.0, 90, 1, 0), ("bus", 12.0, 14.0, 90, 0, 0))
    assert alone.rcs_m2.sum() > 100
    assert not (hidden.velocity_mps[:, 0] == 1).any()
    assert beside.rcs_m2[beside.velocity_mps[:, 0] == 1].sum() == pytest.approx(alone.rcs_m2.sum())


def test_a_wall_hides_the_part_of_a_bus_that_is_behind_it():
    free = seen(("bus", 20.0, 0.0, 90, 0, 0))
    half = seen(("bus", 20.0, 0.0, 90, 0, 0), world=wall(10.0, 0.0, 10.0, 10.0))
    assert half.position_m[:, 1].max() < 0.01
    assert 0.3 < half.rcs_m2.sum() / free.rcs_m2.sum() < 0.7
    none = seen(("bus", 20.0, 0.0, 90, 0, 0), world=wall(10.0, -10.0, 10.0, 10.0))
    assert len(none.rcs_m2) == 0


def test_a_row_without_an_actor_scatters_nothing():
    two = actors(("car", 15, 0, 0, 0, 0), ("car", 25, 9, 0, 0, 0))
    gone = Actors(np.array([0, -1]), np.array([0, -1]), np.stack([two.box[0], np.full(7, np.nan)]), two.velocity_mps)
    found = actor_scatterers(EMPTY, REFLECTORS, RADAR_M, gone)
    assert np.array_equal(found.position_m, seen(("car", 15, 0, 0, 0, 0)).position_m)


def test_actors_out_of_reach_are_left_out():
    both = actors(("car", 15, 0, 0, 0, 0), ("bus", 90, 0, 0, 1, 0))
    assert not actor_scatterers(EMPTY, REFLECTORS, RADAR_M, both, 50.0).velocity_mps.any()
    assert actor_scatterers(EMPTY, REFLECTORS, RADAR_M, both, 95.0).velocity_mps.any()


def test_the_annotated_shapes_are_true():
    checked = jaxtyped(typechecker=beartype)(actor_scatterers)
    assert len(checked(EMPTY, REFLECTORS, RADAR_M, actors(("car", 15, 0, 0, 0, 0))).rcs_m2) > 10
    assert len(checked(EMPTY, REFLECTORS, RADAR_M, Actors.none()).rcs_m2) == 0
