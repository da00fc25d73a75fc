"""Meshes keep the faces of their file: the same triangles, in the same order, or a line that says what is wrong."""

import struct

import numpy as np
import pytest
import trimesh
from beartype import beartype
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped

from twin.errors import UserError
from twin.geometry.mesh_files import load_mesh_file, read_obj, read_ply
from twin.geometry.scene_objects import check_mesh

CORNERS = [(0.0, 0.0, 0.0), (4.0, 0.0, 0.0), (4.0, 3.0, 0.0), (0.0, 3.0, 0.5), (9.0, 9.0, 9.0)]
FACES = [(2, 3, 0), (0, 1, 2), (0, 0, 1)]
"""Not sorted, and the last is degenerate."""

damage = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)


def header(encoding, vertices, faces, extra=""):
    lines = ["ply", f"format {encoding} 1.0", "comment made by hand", f"element vertex {vertices}"]
    lines += [f"property float {axis}" for axis in "xyz"] + extra.split("\n") * bool(extra)
    return "\n".join([*lines, f"element face {faces}", "property list uchar int vertex_indices", "end_header\n"])


def ascii_ply(corners=CORNERS, faces=FACES):
    rows = [" ".join(map(str, row)) for row in [*corners, *((len(face), *face) for face in faces)]]
    return (header("ascii", len(corners), len(faces)) + "\n".join(rows) + "\n").encode()


def binary_ply(order="<", faces=FACES):
    name = "binary_little_endian" if order == "<" else "binary_big_endian"
    body = b"".join(struct.pack(f"{order}3f", *corner) for corner in CORNERS)
    body += b"".join(struct.pack(f"{order}B{len(face)}i", len(face), *face) for face in faces)
    return header(name, len(CORNERS), len(faces)).encode() + body


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("data", [ascii_ply(), binary_ply("<"), binary_ply(">"), ascii_ply().replace(b"\n", b"\r\n")])
def test_a_ply_is_read_as_it_was_written(tmp_path, data):
    vertex, face = read_ply(written(tmp_path / "a.ply", data))
    assert (vertex.dtype, face.dtype) == (np.float64, np.int32)
    assert vertex.tolist() == [list(corner) for corner in CORNERS]
    assert face.tolist() == [list(corners) for corners in FACES]


def test_texture_coordinates_colours_and_other_elements_change_no_vertex(tmp_path):
    text = header("ascii", 3, 1, "property float s\nproperty float t\nproperty uchar red").replace(
        "element face 1", "element strip 2\nproperty list uchar int of\nproperty float x\nelement face 1"
    )
    rows = "0 0 0 .1 .2 255\n1 0 0 .9 .9 255\n0 1 0 .1 .2 0\n2 7 7 1.5\n0 2.5\n3 2 1 0\n"
    vertex, face = read_ply(written(tmp_path / "a.ply", text + rows))
    assert vertex.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert face.tolist() == [[2, 1, 0]]


@pytest.mark.parametrize("make", [lambda faces: ascii_ply(faces=faces), lambda faces: binary_ply(faces=faces)])
def test_larger_faces_become_fans_in_their_place(tmp_path, make):
    quads = read_ply(written(tmp_path / "a.ply", make([(0, 1, 2, 3), (1, 2, 3, 4)])))[1]
    assert quads.tolist() == [[0, 1, 2], [0, 2, 3], [1, 2, 3], [1, 3, 4]]
    mixed = read_ply(written(tmp_path / "a.ply", make([(3, 4, 0), (0, 1, 2, 3, 4), (2, 1, 0)])))[1]
    assert mixed.tolist() == [[3, 4, 0], [0, 1, 2], [0, 2, 3], [0, 3, 4], [2, 1, 0]]


def test_an_obj_keeps_its_order_over_objects_groups_and_materials(tmp_path):
    text = """# by hand
        mtllib nowhere.mtl
        o first
        v 0 0 0
        v 1 0 0 1.0
        v 1 1 0
        v 0 1 0
        vt 0 0
        vn 0 0 1
        usemtl brick
        f 1/1/1 2/1/1 3//1 \\
          4
        o second
        usemtl glass
        f -1 -2 -3
        usemtl brick
        f 2 3 4
    """
    vertex, face = read_obj(written(tmp_path / "a.obj", text))
    assert vertex.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert face.tolist() == [[0, 1, 2], [0, 2, 3], [3, 2, 1], [1, 2, 3]]


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "off", "glb", "gltf"])
def test_every_format_holds_the_same_house(tmp_path, suffix):
    house = trimesh.creation.box(extents=(10, 6, 4))
    house.apply_translation((100, 50, 2))
    if suffix in ("glb", "gltf"):  # y is up there
        house.apply_transform([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    if suffix == "gltf":
        for name, data in trimesh.Scene(house).export(file_type="gltf").items():
            written(tmp_path / ("house.gltf" if name == "model.gltf" else name), data)
    else:
        written(tmp_path / f"house.{suffix}", house.export(file_type=suffix))
    scene = load_mesh_file(tmp_path / f"house.{suffix}", "brick")
    (item,) = scene.objects
    assert (item.name, item.material, list(scene.materials)) == ("house", "brick", ["brick"])
    assert item.vertex_m.min(0) == pytest.approx([95, 47, 0], abs=1e-5)
    assert item.vertex_m.max(0) == pytest.approx([105, 53, 4], abs=1e-5)
    assert len(item.face) == 12
    assert trimesh.Trimesh(item.vertex_m, item.face).volume == pytest.approx(240, rel=1e-5)


def test_a_scene_graph_is_one_object_for_each_node_where_it_stands(tmp_path):
    graph = trimesh.Scene()
    for name, along in (("left", -20.0), ("right", 30.0)):
        graph.add_geometry(
            trimesh.creation.box(extents=(2, 2, 2)),
            geom_name=f"box of {name}",
            node_name=name,
            transform=trimesh.transformations.translation_matrix((along, 1, -7)),
        )
    path = written(tmp_path / "two.glb", graph.export(file_type="glb"))
    centres = {item.name: item.vertex_m.mean(0).round(6).tolist() for item in load_mesh_file(path, "glass").objects}
    assert centres == {"left": [-20, 7, 1], "right": [30, 7, 1]}


def test_shapes_are_what_is_annotated(tmp_path):
    path = written(tmp_path / "a.ply", binary_ply())
    vertex, face = read_ply(path)
    assert jaxtyped(typechecker=beartype)(check_mesh)(path, vertex, face)[1].dtype == np.int32


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "without a header"),
        (b"solid nothing\n", "without a header"),
        (ascii_ply()[:-4], "no whole PLY file"),
        (binary_ply()[:-4], "cut short"),
        (binary_ply() + b"\0", "longer than its header says"),
        (ascii_ply(corners=[(0, 0, "nan"), *CORNERS[1:]]), "vertex 0 is not finite"),
        (ascii_ply(corners=[*CORNERS[:4], (0, "1e999", 0)]), "vertex 4 is not finite"),
        (ascii_ply(corners=[(0, 0, "here"), *CORNERS[1:]]), "no whole PLY file"),
        (ascii_ply(faces=[(0, 1, 2), (0, 1, 5)]), "face 1 names a vertex that does not exist (there are 5)"),
        (binary_ply(faces=[(0, 1, -1)]), "face 0 names a vertex that does not exist"),
        (ascii_ply(faces=[(0, 1, 1.5)]), "impossible indices"),
        (ascii_ply(faces=[(0, 1), (1, 2)]), "fewer than three corners"),
        (ascii_ply(faces=[(0, 1, 2), (1, 2)]), "fewer than three corners"),
        (ascii_ply(faces=[]), "holds no faces"),
        (header("ascii", 10**15, 1).encode() + b"0 0 0\n", "cut short"),
        (header("binary_little_endian", 0, 10**15).encode() + b"\3\0\0", "cut short"),
        (ascii_ply().replace(b"float x", b"list uchar float x"), "no whole PLY file"),
        (ascii_ply().replace(b"float x", b"quaternion x"), "unknown type 'quaternion'"),
        (ascii_ply().replace(b"float x", b"float y"), "no whole PLY file"),
        (ascii_ply().replace(b"list uchar int", b"int"), "no whole PLY file"),
        (ascii_ply().replace(b"ascii", b"gzip"), "header line 'format gzip 1.0'"),
    ],
)
def test_a_damaged_ply_is_one_line_that_names_it(tmp_path, data, told):
    with pytest.raises(UserError, match=r"damaged\.ply: ") as error:
        read_ply(written(tmp_path / "damaged.ply", data))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("v 0 0 0\nv 1 0\n", "line 2 is no 'v'"),
        ("v 0 0 0\nf 1 1 one\n", "line 2 is no 'f'"),
        ("v 0 0 0\nf 0 1 1\n", "line 2 is no 'f'"),
        ("v 0 0 0\nf 1 1\n", "line 2 is no 'f'"),
        ("v 0 0 0\nf 1 1 99999999999999999999\n", "line 2 is no 'f'"),
        ("v 0 0 0\nf 1 1 2\n", "face 0 names a vertex that does not exist"),
        ("v 0 0 nan\nf 1 1 1\n", "vertex 0 is not finite"),
        ("v 0 0 0\n", "holds no faces"),
        ("", "holds no faces"),
    ],
)
def test_a_damaged_obj_is_one_line_that_names_it(tmp_path, text, told):
    with pytest.raises(UserError, match=r"damaged\.obj: ") as error:
        read_obj(written(tmp_path / "damaged.obj", text))
    assert told in str(error.value)


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "off", "glb", "gltf"])
def test_what_is_no_mesh_is_said(tmp_path, suffix):
    with pytest.raises(UserError, match="no such file"):
        load_mesh_file(tmp_path / f"missing.{suffix}", "concrete")
    with pytest.raises(UserError, match=r"is no|cannot be read|holds no"):
        load_mesh_file(written(tmp_path / f"damaged.{suffix}", b"\x00\xff not a mesh"), "concrete")


@damage
@given(cut=st.integers(0, 10**6), at=st.integers(0, 10**6), byte=st.integers(0, 255), binary=st.booleans())
def test_any_damage_to_a_ply_is_read_or_told(tmp_path, cut, at, byte, binary):
    data = bytearray(binary_ply() if binary else ascii_ply())
    data[at % len(data)] = byte
    path = written(tmp_path / "damaged.ply", bytes(data[: 1 + cut % len(data)] if cut % 2 else data))
    try:
        vertex, face = read_ply(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(vertex).all()
        assert 0 <= face.min() <= face.max() < len(vertex)
