"""What a scenario's ground, buildings and scenery become, wherever they come from, and that both backends trace it."""

import json

import numpy as np
import pytest
import trimesh

from twin.errors import UserError
from twin.geometry.coordinates import geodetic_deg
from twin.geometry.scene import build_scene
from twin.scenario import Template, load_scenario
from twin.simulator import Simulator

BOX = """<scene version="2.1.0">
  <bsdf type="itu-radio-material" id="wall"><string name="type" value="{itu}"/>
    <float name="thickness" value="0.2"/></bsdf>
  <bsdf type="radio-material" id="gate"><float name="relative_permittivity" value="3.5"/>
    <float name="conductivity" value="0.2"/></bsdf>
  <shape type="ply" id="mesh-house"><string name="filename" value="house.ply"/><ref id="wall" name="bsdf"/></shape>
  <shape type="ply" id="mesh-shed"><string name="filename" value="shed.ply"/><ref id="gate" name="bsdf"/></shape>
</scene>"""


def street(**fields):
    """The street canyon without its buildings and traffic, with fields replaced."""
    raw = {**load_scenario("street_canyon").raw, "buildings": [], "traffic": {"arrivals_per_minute": 0}}
    return {**raw, **fields}


def scene(folder, **fields):
    scenario, _ = Template(street(**fields), folder / "scenario.yaml").draw(0, 0)
    return {body.name: body for body in build_scene(scenario, folder).bodies}


def placed_box(folder, name, size, corner):
    box = trimesh.creation.box(size)
    box.apply_translation(np.array(corner) + np.array(size) / 2)
    box.export(folder / name)


def test_a_street_stands_on_a_ground_that_reaches_beyond_it(tmp_path):
    bodies = scene(tmp_path, buildings=load_scenario("street_canyon").raw["buildings"])
    assert list(bodies) == ["ground", *(f"buildings.{n}" for n in range(6))]
    ground = bodies["ground"]
    assert (ground.vertex_m[:, 2] == 0).all()
    assert ground.vertex_m.min() < -250
    assert ground.material.relative_permittivity == 3.18
    for name, body in bodies.items():
        if name != "ground":
            assert body.closed
            assert body.vertex_m[:, 2].min() == 0


def test_a_building_stands_where_the_street_coordinates_say(tmp_path):
    building = {"along_m": 20, "across_m": 30, "length_m": 8, "depth_m": 6, "height_m": 11, "material": "glass"}
    site = {**load_scenario("street_canyon").raw["site"], "street_heading_deg": 90, "street_distance_m": 12}
    body = scene(tmp_path, buildings=[building], site=site)["buildings.0"]
    # A street that runs north lies west of the base station: along is north, across is west.
    np.testing.assert_allclose(body.vertex_m.min(axis=0), [-42 - 3, 20 - 4, 0], atol=1e-9)
    np.testing.assert_allclose(body.vertex_m.max(axis=0), [-42 + 3, 20 + 4, 11], atol=1e-9)


def test_a_mitsuba_scene_brings_its_own_materials(tmp_path):
    placed_box(tmp_path, "house.ply", (10, 8, 6), (5, 20, 0))
    placed_box(tmp_path, "shed.ply", (3, 3, 3), (-9, 20, 0))
    (tmp_path / "block.xml").write_text(BOX.format(itu="plasterboard"))
    bodies = scene(tmp_path, scenery=[{"file": "block.xml", "across_m": -12}])
    house, shed = bodies["scenery.0.house"], bodies["scenery.0.shed"]
    np.testing.assert_allclose(house.vertex_m.min(axis=0), [5, 20, 0], atol=1e-6)
    assert house.material.relative_permittivity == pytest.approx(2.73)
    assert house.material.conductivity_s_per_m == pytest.approx(0.0085 * 60**0.9395)
    assert house.material.thickness_m == 0.2
    assert shed.material.conductivity_s_per_m == 0.2


def test_a_material_of_the_scenario_replaces_one_of_the_file(tmp_path):
    placed_box(tmp_path, "house.ply", (10, 8, 6), (5, 20, 0))
    placed_box(tmp_path, "shed.ply", (3, 3, 3), (-9, 20, 0))
    (tmp_path / "block.xml").write_text(BOX.format(itu="brick"))
    with pytest.raises(UserError, match=r"brick.*1-40 GHz.*60 GHz"):
        scene(tmp_path, scenery=[{"file": "block.xml"}])
    materials = {
        **load_scenario("street_canyon").raw["materials"],
        "wall": {"relative_permittivity": 3.9, "conductivity_s_per_m": 0.05},
    }
    bodies = scene(tmp_path, scenery=[{"file": "block.xml"}], materials=materials)
    assert bodies["scenery.0.house"].material.relative_permittivity == 3.9


def test_footprints_stand_where_their_longitudes_and_latitudes_are(tmp_path):
    site = load_scenario("street_canyon").raw["site"]
    corners = np.array([[30.0, 25.0], [42.0, 25.0], [42.0, 33.0], [30.0, 33.0], [30.0, 25.0]])
    ring = geodetic_deg(corners, np.array([site["latitude_deg"], site["longitude_deg"]]))[:, ::-1].tolist()
    feature = {
        "type": "Feature",
        "properties": {"height": 9},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    (tmp_path / "town.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    bodies = scene(tmp_path, scenery=[{"file": "town.geojson", "material": "concrete"}])
    (body,) = (body for name, body in bodies.items() if name.startswith("scenery"))
    np.testing.assert_allclose(body.vertex_m.min(axis=0), [30, 25, 0], atol=1e-6)
    np.testing.assert_allclose(body.vertex_m.max(axis=0), [42, 33, 9], atol=1e-6)
    assert body.closed


@pytest.mark.parametrize(
    ("scenery", "message"),
    [
        ({"along_m": 3}, "scenery.0 needs either file or builtin"),
        ({"file": "a.ply", "builtin": "box"}, "scenery.0 needs either file or builtin"),
        ({"file": "nowhere.xml"}, "nowhere.xml"),
        ({"file": "a.docx"}, "kind of scene"),
        ({"file": "a.ply", "material": "cheese"}, r"scenery.0.material = 'cheese' is not in materials"),
    ],
)
def test_scenery_that_cannot_be_is_a_users_error(tmp_path, scenery, message):
    with pytest.raises(UserError, match=message) as error:
        scene(tmp_path, scenery=[scenery])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("material", "message"),
    [
        ({}, "materials.asphalt is not described"),
        ({"relative_permittivity": 3.0}, "materials.asphalt is not described"),
        ({"itu": "chese"}, "chese"),
        ({"itu": "glas", "relative_permittivity": 6.0, "conductivity_s_per_m": 0.1}, "use glass"),
        ({"itu": "brick"}, r"materials\.asphalt, material 'brick': its constants hold for 1-40 GHz"),
        ({"itu": "wet_ground"}, r"wet_ground.*P\.2040"),
    ],
)
def test_a_material_that_does_not_hold_at_the_carrier_is_a_users_error(tmp_path, material, message):
    with pytest.raises(UserError, match=message):
        scene(tmp_path, materials={**load_scenario("street_canyon").raw["materials"], "asphalt": material})


def test_a_ue_that_drives_into_scenery_is_a_users_error_not_a_dark_link(tmp_path):
    placed_box(tmp_path, "block.ply", (20, 60, 9), (-10, -30, 0.0))
    raw = street(scenery=[{"file": "block.ply", "along_m": 30}])
    with pytest.raises(UserError, match=r"the UE, or else the base station, is inside a solid in frame \d+"):
        Simulator(Template(raw, tmp_path / "scenario.yaml"), 0).paths()


def test_a_ue_in_a_house_of_a_real_city_is_warned_of(tmp_path):
    """Its houses are open below and not closed, and none of them is said to be solid."""
    raw = street(scenery=[{"builtin": "etoile"}], ground=None)
    with pytest.warns(UserWarning, match=r"no path in frame \d+, where the .* has surfaces on all sides"):
        Simulator(Template(raw, tmp_path / "scenario.yaml"), 0).paths()


@pytest.mark.parametrize("field", ["diffuse", "roughness"])
def test_what_sionna_does_not_trace_is_refused_and_what_it_leaves_out_is_recorded(tmp_path, field, sionna_rt):
    raw = street()
    plain = Simulator(Template(raw, tmp_path / "scenario.yaml"), 0, backend="sionna")
    if field == "diffuse":
        assert plain.run(1).manifest.scenario["propagation"]["blockage"] == "none"
    if field == "diffuse":
        raw["propagation"] = {"diffuse": 1}
    else:
        raw["materials"] = {**raw["materials"], "asphalt": {**raw["materials"]["asphalt"], "roughness_m": 1e-3}}
    with pytest.raises(UserError, match=f"does not trace .*{field}"):
        Simulator(Template(raw, tmp_path / "scenario.yaml"), 0, backend="sionna")


def test_a_measured_pattern_has_no_slant(tmp_path):
    raw = street()
    raw["radio"] = {**raw["radio"], "antenna": {"pattern": "measured", "file": "a.npz", "slant_deg": 45}}
    with pytest.raises(UserError, match=r"radio\.antenna\.slant_deg"):
        Template(raw, tmp_path / "scenario.yaml")


def test_both_backends_trace_a_scenario_with_scenery_and_traffic(tmp_path, sionna_rt):
    placed_box(tmp_path, "tower.stl", (9, 9, 30), (25, 22, 0))
    raw = {**load_scenario("street_canyon").raw, "scenery": [{"file": "tower.stl"}], "frames": 40}
    raw["propagation"] = {"order": 2, "diffraction": 0, "blockage": "none", "max_paths": 40, "rays": 100_000}
    template = Template(raw, tmp_path / "scenario.yaml")
    ours, theirs = (Simulator(template, 0, 1, backend) for backend in ("numba", "sionna"))
    frames = slice(20, 23)
    one, other = ours.paths(frames.start, frames.stop), theirs.paths(frames.start, frames.stop)
    np.testing.assert_array_equal(one.line_of_sight, other.line_of_sight)
    for t in range(3):
        mine, yours = ({*map(tuple, p.body[t, p.valid[t]])} for p in (one, other))
        assert len(mine ^ yours) <= 0.05 * len(mine | yours), "the same bodies mirror"
    strongest = np.abs(one.gain[:, 0]) / np.abs(other.gain[:, 0])
    np.testing.assert_allclose(strongest, 1.0, rtol=1e-3)
    assert theirs.run(2).manifest.backend == "sionna"
