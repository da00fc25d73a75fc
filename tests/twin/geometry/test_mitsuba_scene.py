"""A Mitsuba scene becomes the objects and materials that Sionna sees in it, or a line that says what is wrong."""

import math

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.errors import UserError
from twin.geometry.mitsuba_scene import load_mitsuba_scene
from twin.geometry.scene_objects import SceneMaterial

TRIANGLE = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
TRIANGLE += "element face 1\nproperty list uchar int vertex_index\nend_header\n1 0 0\n0 2 0\n0 0 3\n3 0 1 2\n"
CORNERS = np.array([[1.0, 0, 0], [0, 2, 0], [0, 0, 3]])
FILE = '<string name="filename" value="meshes/triangle.ply"/>'
WALL = f'<shape type="ply" id="mesh-wall">{FILE}<ref id="mat-itu_brick" name="bsdf"/></shape>'
BRICK = '<bsdf type="diffuse" id="mat-itu_brick"/>'


@pytest.fixture
def scene(tmp_path):
    """Writes the elements of a scene beside a mesh and loads it."""
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "triangle.ply").write_text(TRIANGLE)

    def load(elements, before=""):
        path = tmp_path / "scene.xml"
        path.write_text(f'{before}<scene version="2.1.0">{elements}</scene>')
        return load_mitsuba_scene(path, "concrete")

    return load


def moved(scene, steps):
    """Where the corners of the triangle are after a transform."""
    shape = f'<shape type="ply">{FILE}<transform name="to_world">{steps}</transform></shape>'
    return scene(shape).objects[0].vertex_m


def test_a_shape_has_its_name_mesh_and_material(scene):
    loaded = scene(BRICK + WALL)
    (wall,) = loaded.objects
    assert (wall.name, wall.material) == ("wall", "mat-itu_brick")
    assert wall.vertex_m.tolist() == CORNERS.tolist()
    assert wall.face.tolist() == [[0, 1, 2]]
    assert loaded.materials == {"mat-itu_brick": SceneMaterial(itu="brick")}


def test_cameras_lights_and_looks_are_passed_over(scene):
    loaded = scene(
        '<integrator type="path"/><sensor type="perspective"><transform name="to_world">'
        '<lookat origin="1 1 1" target="0 0 0" up="0 0 1"/></transform></sensor><emitter type="constant"/>'
        + WALL
        + BRICK  # after the shape that refers to it
    )
    assert [item.name for item in loaded.objects] == ["wall"]


@pytest.mark.parametrize(
    ("bsdf", "material"),
    [
        (
            '<bsdf type="itu-radio-material" id="NAME"><string name="type" value="wet_ground"/>'
            '<float name="thickness" value="0.25"/></bsdf>',
            SceneMaterial(itu="wet_ground", thickness_m=0.25),
        ),
        (
            '<bsdf type="radio-material" id="NAME"><float name="relative_permittivity" value="3.5"/>'
            '<float name="conductivity" value="1e-2"/><float name="thickness" value="0.2"/></bsdf>',
            SceneMaterial(relative_permittivity=3.5, conductivity_s_per_m=0.01, thickness_m=0.2),
        ),
        (
            '<bsdf type="twosided" id="NAME"><bsdf type="itu-radio-material"><string name="type" value="wood"/>'
            "</bsdf></bsdf>",
            SceneMaterial(itu="wood"),
        ),
        (
            '<bsdf type="twosided"><bsdf type="diffuse" id="NAME"><rgb name="color" value="1 0 0"/></bsdf></bsdf>',
            SceneMaterial(),
        ),
    ],
)
def test_a_material_is_told_by_its_bsdf(scene, bsdf, material):
    bsdf = bsdf.replace("NAME", "mine")
    reference = f'<shape type="ply">{FILE}<ref id="mine"/></shape>'
    inline = f'<shape type="ply">{FILE}{bsdf}</shape>'
    for loaded in (scene(bsdf + reference), scene(inline)):
        assert loaded.materials == {"mine": material}
        assert loaded.objects[0].material == "mine"


@pytest.mark.parametrize("name", ["mat-itu_glass", "itu_glass", "itu-glass", "mat-itu-glass"])
def test_an_id_names_an_itu_material_whatever_the_bsdf_is(scene, name):
    bsdf = f'<bsdf type="principled" id="{name}"><float name="thickness" value="0.01"/></bsdf>'
    loaded = scene(bsdf + f'<shape type="ply">{FILE}<ref id="{name}" name="bsdf"/></shape>')
    assert loaded.materials == {name: SceneMaterial(itu="glass", thickness_m=0.01)}


def test_a_shape_without_a_material_has_the_one_asked_for(scene):
    loaded = scene(BRICK + f'<shape type="ply">{FILE}</shape>')
    assert loaded.objects[0].material == "concrete"
    assert loaded.materials == {"concrete": SceneMaterial()}


def test_the_steps_of_a_transform_follow_each_other(scene):
    assert moved(scene, '<translate x="1"/><scale value="2"/>') == pytest.approx(2 * (CORNERS + [1, 0, 0]))
    assert moved(scene, '<scale value="2"/><translate x="1"/>') == pytest.approx(2 * CORNERS + [1, 0, 0])


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ('<translate value="1, 2, 3"/>', CORNERS + [1, 2, 3]),
        ('<translate y="-4.5"/>', CORNERS + [0, -4.5, 0]),
        ('<scale x="2" z="5"/>', CORNERS * [2, 1, 5]),
        ('<scale value="2 3 4"/>', CORNERS * [2, 3, 4]),
        ('<rotate z="1" angle="90"/>', CORNERS[:, [1, 0, 2]] * [-1, 1, 1]),
        ('<rotate value="0 0 7" angle="90"/>', CORNERS[:, [1, 0, 2]] * [-1, 1, 1]),
        ('<rotate x="1" y="1" z="1" angle="120"/>', CORNERS[:, [2, 0, 1]]),
        ('<matrix value="0 1 0 7  1 0 0 8  0 0 1 9  0 0 0 1"/>', CORNERS[:, [1, 0, 2]] + [7, 8, 9]),
        ('<matrix value="0 1 0 1 0 0 0 0 1"/>', CORNERS[:, [1, 0, 2]]),
    ],
)
def test_each_step_of_a_transform_moves_as_in_mitsuba(scene, step, expected):
    assert moved(scene, step) == pytest.approx(expected, abs=1e-12)


@given(st.tuples(*[st.floats(-10, 10)] * 3).filter(lambda axis: math.hypot(*axis) > 0.1), st.floats(-720, 720))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_a_rotation_leaves_its_axis_and_all_lengths(scene, axis, angle_deg):
    x, y, z = axis
    turned = moved(scene, f'<rotate x="{x}" y="{y}" z="{z}" angle="{angle_deg}"/>')
    assert np.linalg.norm(turned, axis=1) == pytest.approx([1, 2, 3])
    assert turned @ axis == pytest.approx(CORNERS @ axis, abs=1e-9)


def test_the_rectangle_and_the_cube_are_mitsubas(scene):
    loaded = scene('<shape type="rectangle" id="floor"/><shape type="cube" id="block"/>')
    floor, block = (trimesh.Trimesh(item.vertex_m, item.face, process=False) for item in loaded.objects)
    assert floor.bounds.tolist() == [[-1, -1, 0], [1, 1, 0]]
    assert floor.area == 4
    assert floor.face_normals.tolist() == [[0, 0, 1]] * 2
    assert block.bounds.tolist() == [[-1, -1, -1], [1, 1, 1]]
    assert (block.volume, block.area, len(block.vertices)) == (8, 24, 24)
    sides = [[0, -1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 0, -1]]
    assert block.face_normals.tolist() == [side for side in sides for _ in range(2)]
    assert block.faces[:2].tolist() == [[0, 1, 2], [3, 0, 2]]


def test_defaults_stand_for_what_they_name_and_the_first_counts(scene):
    loaded = scene(
        '<default name="folder" value="meshes"/><default name="folder" value="nowhere"/><default name="up" value="5"/>'
        '<shape type="ply"><string name="filename" value="$folder/triangle.ply"/>'
        '<transform name="to_world"><translate z="$up"/></transform></shape>'
    )
    assert loaded.objects[0].vertex_m == pytest.approx(CORNERS + [0, 0, 5])


def test_a_mesh_may_lie_outside_the_folder_and_be_an_obj(scene, tmp_path):
    (tmp_path / "elsewhere.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n")
    loaded = scene('<shape type="obj"><string name="filename" value="meshes/../elsewhere.obj"/></shape>')
    assert loaded.objects[0].face.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ("", "holds no objects"),
        (WALL, "shape 'wall' refers to the bsdf 'mat-itu_brick', which is not there"),
        (f'<shape type="ply" id="a">{FILE}<ref id="concrete"/></shape>', "refers to the bsdf 'concrete'"),
        (f'{BRICK}{WALL}<shape type="ply" id="wall">{FILE}</shape>', "two objects of the name 'wall'"),
        ('<shape type="sphere" id="ball"/>', "shape 'ball' is of the type 'sphere'"),
        ('<shape type="merge" id="all"/>', "shape 'all' is of the type 'merge'"),
        ('<shape id="what"/>', "shape 'what' is of the type ''"),
        ('<shape type="ply" id="empty"/>', "shape 'empty' names no file"),
        (WALL.replace("triangle", "missing").replace("ref", "was"), "missing.ply: no such file"),
        (f'<shape type="ply">{FILE}<ref id="a"/><ref id="b"/></shape>', "has 2 materials"),
        (f'<shape type="ply">{FILE}<bsdf type="diffuse"/></shape>', "bsdf without an id"),
        (BRICK + BRICK + WALL, "two bsdfs of the id 'mat-itu_brick'"),
        ('<bsdf type="itu-radio-material" id="m"/>' + WALL, "bsdf 'm' has no ITU type"),
        ('<bsdf type="radio-material" id="m"><float name="conductivity" value="much"/></bsdf>', "conductivity 'much'"),
        (WALL.replace("meshes", "$where"), "uses $where, which has no default before"),
        ('<include filename="other.xml"/>' + BRICK + WALL, "<include>, which is not supported"),
    ],
)
def test_what_is_wrong_in_a_scene_is_one_line(scene, elements, told):
    with pytest.raises(UserError) as error:
        scene(elements)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "step",
    [
        '<lookat origin="0 0 0" target="1 0 0" up="0 0 1"/>',
        '<rotate angle="90"/>',
        '<rotate z="1"/>',
        '<scale value="two"/>',
        '<scale value="2" x="3"/>',
        '<translate x="nan"/>',
        '<translate value="1 2"/>',
        '<matrix value="1 2 3"/>',
        '<matrix value="1 0 0 0  0 1 0 0  0 0 1 0  0 0 1 0"/>',
    ],
)
def test_a_step_that_is_not_understood_is_named(scene, step):
    name = step[1:].split(" ")[0]
    with pytest.raises(UserError, match=f"shape 'shape-0' has a <{name}> that is not understood"):
        moved(scene, step)


def test_a_transform_beyond_all_numbers_is_told(scene):
    with pytest.raises(UserError, match="vertex 0 is not finite"):
        moved(scene, '<scale value="1e200"/><scale value="1e200"/>')


def test_a_document_type_is_refused_before_its_entities_grow(scene):
    bomb = "<!DOCTYPE scene [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]>"
    for declared in (bomb, "<!DOCTYPE scene>", '<!DOCTYPE scene SYSTEM "http://nowhere.invalid/x.dtd">'):
        with pytest.raises(UserError, match="declares a document type"):
            scene(BRICK + WALL, before=declared)


@pytest.mark.parametrize(
    "data", [b"", b"<scene>", b"\xff\xfe\x00", b"<?xml version='1.0' encoding='klingon'?><scene/>"]
)
def test_what_is_no_xml_is_told(tmp_path, data):
    path = tmp_path / "scene.xml"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"scene\.xml: is no XML"):
        load_mitsuba_scene(path, "concrete")


def test_another_document_a_folder_and_nothing_are_told(tmp_path):
    (tmp_path / "page.xml").write_text("<html/>")
    with pytest.raises(UserError, match="its root is <html>"):
        load_mitsuba_scene(tmp_path / "page.xml", "concrete")
    with pytest.raises(UserError, match="no such file"):
        load_mitsuba_scene(tmp_path / "missing.xml", "concrete")
    with pytest.raises(UserError, match="cannot be read"):
        load_mitsuba_scene(tmp_path, "concrete")


WHOLE = f'<scene version="2.1.0"><default name="h" value="5"/>{BRICK}{WALL}<shape type="cube" id="b">'
WHOLE += '<transform name="to_world"><scale value="2"/><rotate z="1" angle="3"/></transform></shape></scene>'


@given(at=st.integers(0, len(WHOLE) - 1), length=st.integers(0, 40), text=st.text(max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
def test_any_damage_to_a_scene_is_read_or_told(scene, tmp_path, at, length, text):
    path = tmp_path / "damaged.xml"
    path.write_bytes((WHOLE[:at] + text + WHOLE[at + length :]).encode("utf-8", "surrogatepass"))
    try:
        loaded = load_mitsuba_scene(path, "concrete")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(item.material in loaded.materials for item in loaded.objects)
