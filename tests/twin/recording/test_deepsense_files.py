"""Every file kind of both testbeds is read as what it holds, and a bad one is refused with a short reason."""

import io
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from twin.recording.deepsense_files import (
    LARGEST_FILE_BYTES,
    camera_jpeg,
    lidar_depth_m,
    lidar_points_m,
    radar_cube,
    radar_map_db,
)
from twin.sensors.images import decode_jpeg, encode_jpeg, resized

RNG = np.random.default_rng(3)
IMAGE = RNG.integers(0, 255, (54, 96, 3), np.uint8)
POINTS = RNG.normal(0, (20, 20, 2), (50, 3))
CUBE = (RNG.normal(size=(4, 256, 5)) + 1j * RNG.normal(size=(4, 256, 5))).astype(np.complex64)


def picture(image, form="JPEG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def mat(**variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables)
    return file.getvalue()


def table(points, header="x,y,z\n"):
    return (header + "".join(",".join(map(repr, map(float, row))) + "\n" for row in points)).encode()


@pytest.fixture
def put(tmp_path):
    """Writes a file and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def refused(read, path, reason):
    with pytest.raises(ValueError, match=reason) as fault:
        read(path)
    assert len(str(fault.value)) < 200
    assert "\n" not in str(fault.value)


# Camera


GREY = picture(np.full((224, 224, 3), 99, np.uint8))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_picture_becomes_the_whole_of_it_at_the_models_size(put, form):
    content = picture(IMAGE, form)
    stored = camera_jpeg(put(f"image.{form}", content)).tobytes()
    assert stored == encode_jpeg(resized(decode_jpeg(content)))
    assert decode_jpeg(stored).shape == (224, 224, 3)


def test_a_picture_of_the_models_size_loses_nothing(put):
    content = picture(np.kron(IMAGE[:28, :28], np.ones((8, 8, 1), np.uint8)), quality=71, progressive=True)
    assert camera_jpeg(put("image.jpg", content)).tobytes() == content


@pytest.mark.parametrize(
    "content",
    [
        picture(np.full((224, 224), 99, np.uint8)),
        picture(np.full((224, 224, 3), 99, np.uint8), "PNG"),
        GREY + b"more",
        GREY.replace(b"\xff\xda", 3 * (b"\xff\xfe\xff\xff" + 0xFFFD * b"x") + b"\xff\xda"),
    ],
    ids=["grey", "PNG", "bytes after the end", "comments longer than the pixels"],
)
def test_a_picture_of_the_models_size_in_another_form_is_written_anew(put, content):
    stored = camera_jpeg(put("image.jpg", content)).tobytes()
    assert stored != content
    np.testing.assert_allclose(decode_jpeg(stored), 99, atol=1)


@pytest.mark.parametrize(("form", "closing"), [("JPEG", 0), ("PNG", 20)])  # of a PNG: checksums and an empty chunk
def test_a_picture_cut_anywhere_is_refused(put, form, closing):
    content = picture(IMAGE, form)
    needed = len(content) - closing
    for length in (*range(0, needed, needed // 100), *range(needed - 20, needed)):
        refused(camera_jpeg, put("image.jpg", content[:length]), r"\w")
    assert camera_jpeg(put("image.jpg", content[:needed])).size


def png_of(width, height):
    """A PNG of zeros, which is small however large it is."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes((width // 8 + 1) * height)))
        + chunk(b"IEND", b"")
    )


def test_a_small_file_of_countless_pixels_is_refused(put):
    assert decode_jpeg(camera_jpeg(put("small.png", png_of(64, 64))).tobytes()).max() < 3
    refused(camera_jpeg, put("bomb.png", png_of(20_000, 20_000)), "more than 40000000")


# LiDAR


def test_points_come_from_every_kind_of_file(put, tmp_path):
    rows = "".join(f"{x!r} {y!r} {z!r}\n" for x, y, z in POINTS.tolist())
    head = f"ply\nformat ascii 1.0\nelement vertex {len(POINTS)}\n" + "".join(f"property double {a}\n" for a in "xyz")
    paths = [
        put("a.ply", (head + "end_header\n" + rows).encode()),
        put("a.PLY", (head + "end_header\n" + rows).encode()),
        put("a.mat", mat(data=POINTS)),
        put("b.mat", mat(data=np.c_[POINTS, np.ones(len(POINTS))])),
        put("a.csv", table(POINTS)),
        put("b.csv", table(POINTS, "")),
        put("c.csv", b"\xef\xbb\xbf" + table(POINTS[:, [2, 0, 1]], '"Z", x ,"Y"\r\n').replace(b"\n", b"\r\n")),
        put("d.csv", table(np.c_[np.ones(len(POINTS)), POINTS], "intensity,x,y,z\n")),
    ]
    for path in paths:
        np.testing.assert_array_equal(lidar_points_m(path), POINTS)


def test_words_in_other_columns_of_a_table_do_not_matter(put):
    path = put("a.csv", b"time,x,y,z,label\n10:00:01,1,2,3,car\n10:00:02,4,5,6,\n")
    np.testing.assert_array_equal(lidar_points_m(path), [[1, 2, 3], [4, 5, 6]])


def test_a_scan_in_one_plane_is_distances_and_angles(put):
    """As the earlier testbed gives it: 10 m ahead, 5 m to the left, nothing behind, 2 m to the right."""
    scan = np.array([[10.0, 0.0], [5.0, np.pi / 2], [0.0, np.pi], [2.0, -np.pi / 2]])
    points = lidar_points_m(put("a.mat", mat(data=scan)))
    np.testing.assert_allclose(points, [[10, 0, 0], [0, 5, 0], [0, 0, 0], [0, -2, 0]], atol=1e-12)
    image_m = lidar_depth_m(put("a.mat", mat(data=scan)))
    assert np.isfinite(image_m).sum() == 3
    assert np.flatnonzero(np.isfinite(image_m).any(axis=1)).tolist() == [32]  # the horizon
    assert (image_m[32, 128], image_m[32, 64], image_m[32, 192]) == (10, 5, 2)


EMPTY = b"ply\nformat ascii 1.0\nelement vertex 0\nproperty int x\nproperty int y\nproperty int z\nend_header\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.ply", EMPTY), ("a.mat", mat(data=np.zeros((216, 2)))), ("a.csv", b"x,y,z\n"), ("b.csv", b"")],
)
def test_a_frame_without_returns_is_one(put, name, content):
    image_m = lidar_depth_m(put(name, content))
    assert image_m.shape == (64, 256)
    assert np.isnan(image_m).all()


BAD_POINTS = {
    "NaN": ("a.csv", b"x,y,z\n1,2,nan\n", "not finite"),
    "infinite": ("a.mat", mat(data=np.full((5, 3), np.inf)), "not finite"),
    "a distance that is none": ("a.mat", mat(data=np.full((5, 2), np.nan)), "not finite"),
    "a negative distance": ("a.mat", mat(data=np.full((5, 2), -1.0)), "negative"),
    "far beyond": ("a.csv", b"x,y,z\n1,2,1e30\n", "out of range"),
    "no `data`": ("a.mat", mat(points=POINTS), "no variable 'data'"),
    "one column": ("a.mat", mat(data=np.ones((5, 1))), r"\(5, 1\) instead of"),
    "three dimensions": ("a.mat", mat(data=np.ones((5, 3, 2))), r"\(5, 3, 2\) instead of"),
    "complex": ("a.mat", mat(data=POINTS + 1j), "complex"),
    "no z": ("a.csv", b"x,y,w\n1,2,3\n", "no columns x, y and z"),
    "two columns": ("a.csv", b"1,2\n3,4\n", "not numbers"),
    "two z": ("a.csv", b"x,y,z,z\n1,2,3,4\n", "no columns"),
    "words": ("a.csv", b"x,y,z\n1,2,three\n", "not numbers"),
    "words for a header": ("a.csv", b"a,b,c\n1,2,3\n", "not numbers"),
    "a short line": ("a.csv", b"x,y,z,w\n1,2,3,4\n5,6,7\n", "different length"),
    "no text": ("a.csv", b"\xff\xfe\x00", "decode"),
    "another kind": ("a.pcd", b"# .PCD", "no .ply, .mat or .csv"),
    "no cloud": ("a.ply", b"hello", "no PLY"),
}


@pytest.mark.parametrize(("name", "content", "reason"), BAD_POINTS.values(), ids=BAD_POINTS.keys())
def test_points_that_are_none_are_refused(put, name, content, reason):
    refused(lidar_depth_m, put(name, content), reason)


# Radar


@pytest.mark.parametrize("dtype", ["<c8", ">c8", "<c16", ">c16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_cube_comes_from_every_kind_of_file(put, dtype, order):
    cube = np.array(CUBE, dtype, order=order)
    for path in (put("a.npy", npy(cube)), put("a.mat", mat(data=cube.astype("c16")))):
        found = radar_cube(path)
        assert found.dtype == np.complex64
        np.testing.assert_array_equal(found, CUBE)


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return os._exit, (99,)


def trap(**header):
    """A .npy file with a pickle in it, whatever its header says."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (4, 256, 5), **header})
    return file.getvalue() + pickle.dumps(Trap())


def with_value(value):
    cube = CUBE.copy()
    cube[1, 2, 3] = value
    return cube


BAD_CUBES = {
    "an object array": ("a.npy", trap(), "type object"),
    "an object in a shape": ("a.npy", trap(shape=()), "type object"),
    "a pickle": ("a.npy", pickle.dumps(Trap()), "no .npy"),
    "a pickle after the header of numbers": ("a.npy", trap(descr="<c8"), "bytes of samples instead of 40960"),
    "real numbers": ("a.npy", npy(CUBE.real), "type float32 instead"),
    "extended precision": ("a.npy", npy(CUBE.astype(np.clongdouble)), "type complex256 instead"),
    "three antennas": ("a.npy", npy(CUBE[:3]), r"\(3, 256, 5\) instead of \(4, 256, chirps\)"),
    "half the samples": ("a.npy", npy(CUBE[:, ::2]), r"\(4, 128, 5\) instead"),
    "one chirp without its axis": ("a.npy", npy(CUBE[..., 0]), r"\(4, 256\) instead"),
    "no chirps": ("a.npy", npy(CUBE[..., :0]), r"\(4, 256, 0\) instead"),
    "one number": ("a.npy", npy(np.complex64(1)), r"\(\) instead"),
    "NaN": ("a.npy", npy(with_value(np.nan)), "not finite"),
    "infinite": ("a.mat", mat(data=with_value(1j * np.inf)), "not finite"),
    "beyond single precision": ("a.npy", npy(CUBE.astype(complex) * 1e200), "finite"),
    "dead": ("a.npy", npy(CUBE * 0), "no signal"),
    "no `data`": ("a.mat", mat(cube=CUBE), "no variable 'data'"),
    "real numbers of MATLAB": ("a.mat", mat(data=CUBE.real), "type float32 instead"),
    "another shape of MATLAB": ("a.mat", mat(data=CUBE[:2]), r"\(2, 256, 5\) instead"),
    "another kind": ("a.npz", b"PK", "no .npy or .mat"),
    "empty": ("a.npy", b"", "no .npy"),
    "a header that does not end": ("a.npy", npy(CUBE)[:40], "no .npy"),
    "a header of thousands of brackets": ("a.npy", b"\x93NUMPY\1\0\x10\x27" + b"(" * 10_000, "no .npy"),
    "a shape of words": ("a.npy", npy(CUBE).replace(b"(4, 256, 5)", b"('4','5',)"), "no .npy"),
    "a negative shape": ("a.npy", npy(CUBE).replace(b"(4, 256, 5)", b"(4, 256,-5)"), "instead"),
    "more than its bytes": ("a.npy", npy(CUBE) + b"x", "bytes of samples instead of 40960"),
}


@pytest.mark.parametrize(("name", "content", "reason"), BAD_CUBES.values(), ids=BAD_CUBES.keys())
def test_a_cube_that_is_none_is_refused_and_nothing_is_unpickled(put, name, content, reason):
    refused(lambda path: radar_map_db(path, "chirp_mean"), put(name, content), reason)


def test_a_cube_cut_anywhere_is_refused(put):
    content = npy(CUBE)
    for length in (*range(200), *range(200, len(content), 997), len(content) - 1):
        refused(radar_cube, put("a.npy", content[:length]), r"\w")


# Every kind


READERS = {
    "jpg": (camera_jpeg, picture(IMAGE)),
    "png": (camera_jpeg, picture(IMAGE[:20, :20], "PNG")),
    "ply": (lidar_depth_m, EMPTY.replace(b"vertex 0", b"vertex 2") + b"1 2 3\n4 5 6\n"),
    "csv": (lidar_depth_m, table(POINTS[:5])),
    "mat": (lidar_depth_m, mat(data=POINTS[:5])),
    "npy": (lambda path: radar_map_db(path, "none"), npy(CUBE[..., :1])),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_is_missing_no_file_or_too_large_is_refused(tmp_path, kind):
    read = READERS[kind][0]
    refused(read, tmp_path / f"none.{kind}", "^missing$")
    (tmp_path / f"folder.{kind}").mkdir()
    refused(read, tmp_path / f"folder.{kind}", "no file")
    os.mkfifo(tmp_path / f"pipe.{kind}")
    refused(read, tmp_path / f"pipe.{kind}", "no file")
    with (tmp_path / f"large.{kind}").open("wb") as file:
        file.truncate(LARGEST_FILE_BYTES + 1)
    refused(read, tmp_path / f"large.{kind}", "too large")
    refused(read, tmp_path / ("n" * 300 + f".{kind}"), "cannot be read")


@pytest.mark.parametrize("kind", READERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_a_damaged_file_of_a_frame_is_read_or_refused(tmp_path, kind, data):
    read, whole = READERS[kind]
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content), 1200)))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    del content[data.draw(st.integers(len(content) // 2, 2 * len(content))) :]
    check(read, tmp_path / f"a.{kind}", bytes(content))


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400), kept=st.integers(0, 128))
def test_any_bytes_in_a_file_of_a_frame_are_read_or_refused(tmp_path, kind, content, kept):
    read, whole = READERS[kind]
    check(read, tmp_path / f"a.{kind}", whole[:kept] + content)


def check(read, path, content):
    path.write_bytes(content)
    try:
        found = read(path)
    except ValueError as fault:
        assert str(fault)
    else:
        assert found.dtype == np.uint8 or found.shape == (64, 256)
