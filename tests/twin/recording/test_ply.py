"""The coordinates of a PLY file come out whoever wrote it and however, or the file is refused."""

import itertools
import struct

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.recording.ply import ply_points

POINTS = np.array([[1.5, -2.0, 0.25], [4.0, 5.0, -6.0], [-7.5, 80.0, 9.0]])
CODES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"}
CODES |= {"int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I"}
CODES |= {"float32": "f", "float64": "d"}
XYZ = {"x": "float", "y": "double", "z": "float32"}
FOUR = {**XYZ, "ring": "uchar"}


def ply(kinds=XYZ, form="ascii", before="", after="", body_before=b"", body_after=b"", count=3, newline="\n"):
    """Three vertices: x, y, z of POINTS, and 7 for whatever else they have."""
    head = ["ply", f"format {form} 1.0", "comment a test", "obj_info none", *before.split("\n")]
    head += [f"element vertex {count}", *(f"property {kind} {name}" for name, kind in kinds.items())]
    head += [*after.split("\n"), "end_header"]
    rows = [[point["xyz".index(name)] if name in XYZ else 7 for name in kinds] for point in POINTS]
    body = b"".join((" ".join(map(str, row)) + newline).encode() for row in rows)
    if form != "ascii":
        record = ("<" if "little" in form else ">") + "".join(map(CODES.get, kinds.values()))
        body = b"".join(struct.pack(record, *row) for row in rows)
    return (newline.join(line for line in head if line) + newline).encode() + body_before + body + body_after


FORMS = ("ascii", "binary_little_endian", "binary_big_endian")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", list(itertools.permutations("xyz")))
def test_coordinates_go_by_their_names(form, order):
    kinds = {"intensity": "ushort", order[0]: "double", "ring": "uchar", order[1]: "float", order[2]: "double"}
    np.testing.assert_array_equal(ply_points(ply(kinds, form)), POINTS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", CODES)
def test_vertices_may_have_properties_of_every_type(form, kind):
    np.testing.assert_array_equal(ply_points(ply({"a": kind, **XYZ, "b": kind}, form)), POINTS)


def test_whole_numbers_are_coordinates_too():
    packed = b"".join(struct.pack("<hhh", *row) for row in [(1, 2, -3), (4, 5, 6)])
    head = ply(dict.fromkeys("xyz", "short"), count=2).partition(b"end_header\n")[0]
    head = head.replace(b"ascii", b"binary_little_endian")
    np.testing.assert_array_equal(ply_points(head + b"end_header\n" + packed), [[1, 2, -3], [4, 5, 6]])


@pytest.mark.parametrize("file_format", ["binary", "ascii"])
def test_a_file_as_another_program_writes_it(file_format):
    written = trimesh.PointCloud(POINTS).export(file_type="ply", encoding=file_format)
    np.testing.assert_array_equal(ply_points(written), POINTS)


def test_a_mesh_gives_its_vertices():
    box = trimesh.creation.box()
    for encoding in ("binary", "ascii"):
        np.testing.assert_allclose(ply_points(box.export(file_type="ply", encoding=encoding)), box.vertices)


def test_lines_may_end_as_on_windows():
    np.testing.assert_array_equal(ply_points(ply(newline="\r\n")), POINTS)


@pytest.mark.parametrize("form", FORMS)
def test_what_stands_before_and_after_the_vertices_is_left_out(form):
    packed = struct.pack("<ff" if "little" in form else ">ff", 3.0, 4.0)
    row = b"3.0 4.0\n" if form == "ascii" else packed
    camera = "element camera 1\nproperty float a\nproperty float b"
    written = ply(form=form, before=camera, body_before=row, after=camera.replace("camera", "stars"), body_after=row)
    np.testing.assert_array_equal(ply_points(written), POINTS)


@pytest.mark.parametrize("form", FORMS)
def test_a_cloud_of_no_points_is_one_without_returns(form):
    head = (
        f"ply\nformat {form} 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    assert ply_points(head.encode()).shape == (0, 3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 2, 4, 10**14])
def test_a_wrong_count_is_refused(form, count):
    with pytest.raises(ValueError, match="instead of"):
        ply_points(ply(form=form, count=count))


@pytest.mark.parametrize("form", FORMS)
def test_a_file_cut_anywhere_is_refused(form):
    whole = ply(FOUR, form)
    for length in range(len(whole) - (form == "ascii")):  # the last line's end tells nothing
        with pytest.raises(ValueError, match=r"\w"):
            ply_points(whole[:length])


WRONG = {
    "another file": (b"solid x\n", "no PLY"),
    "no end of the header": (ply().replace(b"end_header", b"end"), "end"),
    "no format": (ply().replace(b"format ascii 1.0\n", b""), "format"),
    "another format": (ply().replace(b"ascii", b"utf8"), "'format utf8 1.0' cannot be read"),
    "another version": (ply().replace(b"1.0", b"2.0"), "cannot be read"),
    "no z": (ply().replace(b" z", b" w"), "no x, y and z"),
    "two z": (ply().replace(b" y", b" z"), "no x, y and z"),
    "no vertices": (ply().replace(b"vertex", b"point"), "no vertices"),
    "an unknown type": (ply().replace(b"double", b"quad"), "cannot be read"),
    "a count that is none": (ply(count="many"), "cannot be read"),
    "a negative count": (ply(count=-3), "cannot be read"),
    "a property of nothing": (ply(before="property float x"), "cannot be read"),
    "lists in the vertices": (ply({**XYZ}).replace(b"end_h", b"property list uchar int i\nend_h"), "no x, y and z"),
    "words": (ply().replace(b"1.5", b"one"), "not of numbers"),
    "a short line": (ply().replace(b"1.5 ", b""), "cut or not of numbers"),
    "a number too many": (ply(FOUR).replace(b"property uchar ring\n", b""), "4 numbers a vertex instead of 3"),
    "a header without end": (b"ply\nformat ascii 1.0\n" + b"comment x\n" * 10_000 + b"end_header\n", "does not end"),
    "binary lists before": (
        ply(form="binary_little_endian", before="element face 1\nproperty list uchar int i", body_before=b"\0"),
        "before the vertices",
    ),
}


@pytest.mark.parametrize(("content", "reason"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_cloud_is_refused_with_a_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        ply_points(content)


@settings(max_examples=300, deadline=None)
@given(
    form=st.sampled_from(FORMS),
    edits=st.lists(st.tuples(st.integers(0, 250), st.integers(0, 3), st.binary(max_size=4)), max_size=4),
)
def test_a_damaged_file_gives_points_or_is_refused(form, edits):
    content = bytearray(ply(FOUR, form))
    for at, remove, put in edits:
        content[at : at + remove] = put
    try:
        points = ply_points(bytes(content))
    except ValueError as fault:
        assert str(fault)
    else:
        assert points.shape[1:] == (3,)


@settings(max_examples=200, deadline=None)
@given(tail=st.binary(max_size=300), header=st.booleans())
def test_any_bytes_give_points_or_are_refused(tail, header):
    content = b"ply\nformat ascii 1.0\n" * header + tail
    try:
        assert ply_points(content).shape[1:] == (3,)
    except ValueError as fault:
        assert str(fault)
