"""Footprints become closed buildings of the right place, ground plan and height, or a line that names the feature."""

import json
import math

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.errors import UserError
from twin.geometry.coordinates import geodetic_deg
from twin.geometry.footprints import load_footprints

ORIGIN = (48.137, 11.575)
SQUARE = [(0, 0), (20, 0), (20, 10), (0, 10)]


def lon_lat(ring_m):
    return geodetic_deg(np.array(ring_m, float).reshape(-1, 2), np.array(ORIGIN))[:, ::-1].tolist()


def closed(ring_m):
    return lon_lat([*ring_m, ring_m[0]])


def polygon(*rings_m, **properties):
    return feature({"type": "Polygon", "coordinates": [closed(ring) for ring in rings_m]}, **properties)


def feature(geometry, **properties):
    named = {name.replace("__", ":"): value for name, value in properties.items()}
    return {"type": "Feature", "properties": named, "geometry": geometry}


@pytest.fixture
def footprints(tmp_path):
    """Writes features and loads them."""

    def load(*features, **options):
        path = tmp_path / "town.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))
        return load_footprints(path, ORIGIN, **options)

    return load


def body(item):
    return trimesh.Trimesh(item.vertex_m, item.face, process=False)


def edges_pair_up(item):
    """Whether every edge is there as often one way as the other: the surface is closed, its sides consistent."""
    edge = np.concatenate([item.face[:, pair].astype(int) for pair in ([0, 1], [1, 2], [2, 0])])
    count = len(item.vertex_m)
    return (np.sort(edge @ [count, 1]) == np.sort(edge @ [1, count])).all()


def test_a_footprint_becomes_a_closed_block_where_it_stands(footprints):
    scene = footprints(polygon(SQUARE, height=12), material="brick")
    (house,) = scene.objects
    assert (house.name, house.material, list(scene.materials)) == ("building-0", "brick", ["brick"])
    assert (house.vertex_m.dtype, house.face.dtype) == (np.float64, np.int32)
    assert house.vertex_m.min(0) == pytest.approx([0, 0, 0], abs=1e-6)
    assert house.vertex_m.max(0) == pytest.approx([20, 10, 12], abs=1e-6)
    assert len(house.face) == 12
    assert body(house).is_watertight
    assert body(house).volume == pytest.approx(20 * 10 * 12)  # positive: the sides face outwards


def test_winding_and_closing_of_the_rings_do_not_matter(footprints):
    rings = (closed(SQUARE), lon_lat(SQUARE), closed(SQUARE[::-1]), lon_lat(SQUARE[::-1]))
    for ring in rings:
        (house,) = footprints(feature({"type": "Polygon", "coordinates": [ring]})).objects
        assert body(house).is_watertight
        assert body(house).volume == pytest.approx(2000)


def test_courtyards_stay_open(footprints):
    yard = [(5, 2), (15, 2), (15, 8), (5, 8)]
    (house,) = footprints(polygon(SQUARE, yard, height=10)).objects
    assert body(house).is_watertight
    assert body(house).volume == pytest.approx((200 - 60) * 10)
    assert body(house).area == pytest.approx(2 * (200 - 60) + (60 + 32) * 10)


def test_corners_on_a_straight_wall_leave_it_closed(footprints):
    turn = np.array([[math.cos(0.3), math.sin(0.3)], [-math.sin(0.3), math.cos(0.3)]])
    ring = np.array([(0, 0), (7, 0), (13, 0), (20, 0), (20, 10), (11, 10), (0, 10), (0, 1)]) @ turn
    (house,) = footprints(polygon(ring)).objects
    assert body(house).is_watertight
    assert body(house).volume == pytest.approx(2000)


def test_the_parts_of_a_multipolygon_are_one_object(footprints):
    parts = [[closed(np.add(SQUARE, [east, 0]))] for east in (0, 100)]
    scene = footprints(feature({"type": "MultiPolygon", "coordinates": parts}, height="3 m"))
    (houses,) = scene.objects
    assert body(houses).is_watertight
    assert body(houses).volume == pytest.approx(2 * 200 * 3)
    assert houses.vertex_m[:, 0].max() == pytest.approx(120)


def test_overlapping_footprints_stay_as_they_are(footprints):
    scene = footprints(polygon(SQUARE, height=5), polygon(np.add(SQUARE, 5), height=9))
    assert [item.name for item in scene.objects] == ["building-0", "building-1"]
    assert [body(item).volume for item in scene.objects] == pytest.approx([1000, 1800])


@pytest.mark.parametrize(
    ("properties", "bottom_m", "top_m"),
    [
        ({}, 0, 10),
        ({"height": 7}, 0, 7),
        ({"height": "7"}, 0, 7),
        ({"height": "7.5 m"}, 0, 7.5),
        ({"height": "7.5m", "building__levels": 9}, 0, 7.5),
        ({"height": None, "building__levels": "4"}, 0, 12),
        ({"height": " ", "building__levels": 2.5}, 0, 7.5),
        ({"height": 20, "min_height": "4 m"}, 4, 20),
        ({"min_height": 2}, 2, 10),
    ],
)
def test_heights_come_from_the_properties(footprints, properties, bottom_m, top_m):
    (house,) = footprints(polygon(SQUARE, **properties)).objects
    assert (house.vertex_m[:, 2].min(), house.vertex_m[:, 2].max()) == (bottom_m, top_m)


def test_the_default_height_is_the_callers(footprints):
    assert footprints(polygon(SQUARE), default_height_m=6.5).objects[0].vertex_m[:, 2].max() == 6.5


def test_what_has_no_area_is_passed_over_and_counts_in_the_names(footprints):
    point = feature({"type": "Point", "coordinates": [11.5, 48.1]})
    street = feature({"type": "LineString", "coordinates": lon_lat([(0, 0), (9, 9)])})
    scene = footprints(point, feature(None), street, polygon(SQUARE))
    assert [item.name for item in scene.objects] == ["building-3"]


def test_a_footprint_that_crosses_itself_is_mended(footprints):
    bow_tie = [(0, 0), (10, 10), (10, 0), (0, 10)]
    (house,) = footprints(polygon(bow_tie, height=4)).objects
    assert body(house).is_watertight
    assert body(house).volume == pytest.approx(2 * 25 * 4)


@given(st.lists(st.tuples(st.integers(-30, 30), st.integers(-30, 30)), min_size=3, max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
def test_whatever_the_ring_the_building_is_closed(footprints, ring):
    try:
        (house,) = footprints(polygon(ring)).objects
    except UserError as error:
        assert "feature 0: " in str(error)
    else:
        assert edges_pair_up(house)
        assert body(house).volume > 0


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (polygon([(0, 0), (9, 9)]), "a ring has fewer than three corners"),
        (polygon([(0, 0), (5, 5), (9, 9)]), "its footprint has no area"),
        (feature({"type": "Polygon", "coordinates": []}), "it has no coordinates"),
        (feature({"type": "Polygon"}), "it has no coordinates"),
        (feature({"type": "Polygon", "coordinates": [[]]}), "a ring has fewer than three corners"),
        (feature({"type": "Polygon", "coordinates": [[11.5, 48.1]]}), "a ring is no list of positions"),
        (feature({"type": "MultiPolygon", "coordinates": [closed(SQUARE)]}), "a ring is no list of positions"),
        (
            feature({"type": "Polygon", "coordinates": [[["11", "48"]] * 4]}),
            "a position is no pair of finite numbers",
        ),
        (
            feature({"type": "Polygon", "coordinates": [[*lon_lat(SQUARE), [math.nan, 48.1]]]}),
            "a position is no pair of finite numbers",
        ),
        (
            feature({"type": "Polygon", "coordinates": [[*lon_lat(SQUARE), [10**400, 48.1]]]}),
            "a position is no pair of finite numbers",
        ),
        (
            feature({"type": "Polygon", "coordinates": [[[691000, 5334000], [691010, 5334000], [691010, 5334010]]]}),
            "a position is no longitude and latitude in degrees",
        ),
        (polygon(np.add(SQUARE, [9990, 0])), "it lies more than 10 km from the origin"),
        (feature({"type": "GeometryCollection", "geometries": []}), "its geometry is of the type 'GeometryCollection'"),
        (feature("POLYGON"), "its geometry is no object"),
        ({"type": "building"}, "is no feature"),
        ("building", "is no feature"),
        (polygon(SQUARE, height="tall"), "its height is 'tall'"),
        (polygon(SQUARE, height="40 ft"), "its height is '40 ft'"),
        (polygon(SQUARE, height=-3), "its height is -3"),
        (polygon(SQUARE, height=math.nan), "its height is nan"),
        (polygon(SQUARE, height=True), "its height is True"),
        (polygon(SQUARE, height=1e9), "it is 1e+09 m high"),
        (polygon(SQUARE, height=0), "its height 0 m is not above its min_height 0 m"),
        (polygon(SQUARE, height=8, min_height=8), "its height 8 m is not above its min_height 8 m"),
        (polygon(SQUARE, min_height=11), "its height 10 m is not above its min_height 11 m"),
        ({**polygon(SQUARE), "properties": [1]}, "its properties are no object"),
    ],
)
def test_a_feature_that_is_wrong_is_named(footprints, bad, told):
    with pytest.raises(UserError) as error:
        footprints(polygon(SQUARE), bad)
    assert f"town.geojson: feature 1: {told}" in str(error.value)


def test_a_town_without_buildings_is_told(footprints):
    with pytest.raises(UserError, match="holds no objects"):
        footprints(feature({"type": "Point", "coordinates": [0, 0]}))


@pytest.mark.parametrize("origin", [(math.nan, 0.0), (95.0, 0.0), (48.0, 200.0)])
def test_an_origin_nowhere_on_earth_is_told(tmp_path, origin):
    with pytest.raises(UserError, match="is no origin of a frame"):
        load_footprints(tmp_path / "town.geojson", origin)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no JSON"),
        ('{"type": "FeatureCollection", "feat', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("\x00\xff", "is no JSON"),
        ("[]", "is no GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection"}', "is no GeoJSON FeatureCollection"),
        ('{"type": "Topology", "features": []}', "is no GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection", "features": []}', "holds no objects"),
    ],
)
def test_what_is_no_feature_collection_is_told(tmp_path, text, told):
    path = tmp_path / "town.geojson"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=told):
        load_footprints(path, ORIGIN)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["Polygon", "MultiPolygon", "Feature"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["type", "coordinates"]), inner),
    max_leaves=12,
)


@given(st.sampled_from(["geometry", "coordinates", "ring", "corner", "properties"]), json_values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
def test_any_damage_is_read_or_told(footprints, place, value):
    damaged = polygon(SQUARE)
    if place in damaged:
        damaged[place] = value
    elif place == "coordinates":
        damaged["geometry"]["coordinates"] = value
    elif place == "ring":
        damaged["geometry"]["coordinates"][0] = value
    else:
        damaged["geometry"]["coordinates"][0][1] = value
    try:
        scene = footprints(polygon(SQUARE), damaged)
    except UserError as error:
        assert "feature 1: " in str(error)
    else:
        assert all(np.isfinite(item.vertex_m).all() for item in scene.objects)
