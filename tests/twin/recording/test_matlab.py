"""An array of a MATLAB file comes out as SciPy wrote it; a damaged or boundless file is refused, in bounded memory."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.recording.matlab import matlab_array

MIB = 1 << 20


def saved(compressed=False, **variables):
    file = io.BytesIO()
    scipy.io.savemat(file, variables, do_compression=compressed)
    return file.getvalue()


ARRAYS = {
    "points": np.arange(12.0).reshape(4, 3) / 7,
    "one number": np.array([[5.0]]),
    "a cube": np.arange(24.0).reshape(2, 3, 4) - 1j * np.arange(24.0).reshape(2, 3, 4) ** 2,
    "a single cube": (np.ones((2, 3, 4)) + 2j).astype(np.complex64),
    "small whole numbers": np.arange(6.0).reshape(2, 3),
    "no points": np.empty((0, 3)),
    **{
        kind: np.arange(6).reshape(2, 3).astype(kind) for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4")
    },
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_an_array_comes_out_as_it_was_saved(array, compressed):
    content = saved(compressed, first="some text", data=array, last=np.zeros(3))
    found = matlab_array(content, "data", MIB)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def big_endian(name, values):
    """A file as MATLAB on a big-endian machine writes it, with the numbers in one byte each."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    flags = element(6, struct.pack(">II", 6, 0))
    dims = element(5, struct.pack(">ii", *values.shape))
    numbers = element(2, values.astype("u1").tobytes(order="F"))
    matrix = flags + dims + element(1, name.encode()) + numbers
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + element(14, matrix)


def test_a_file_of_a_big_endian_machine():
    values = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(matlab_array(big_endian("data", values), "data", MIB), values)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_is_refused(compressed):
    whole = saved(compressed, data=np.arange(8.0).reshape(4, 2))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"\w"):
            matlab_array(whole[:length], "data", MIB)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"other": np.ones(3)}, "no variable 'data'"),
        ({"data": "text"}, "not an array of numbers"),
        ({"data": {"a": 1}}, "not an array of numbers"),
        ({"data": np.array([1, "a"], object)}, "not an array of numbers"),
        ({"data": scipy.sparse.eye(3)}, "not an array of numbers"),
        ({"data": np.zeros((200, 800))}, "more than 1 MiB"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_with_a_reason(variables, reason, compressed):
    with pytest.raises(ValueError, match=reason):
        matlab_array(saved(compressed, **variables), "data", MIB)


def test_other_formats_are_refused_with_a_reason():
    modern = bytearray(saved(data=np.ones(3)))
    modern[124:126] = b"\0\2"
    with pytest.raises(ValueError, match="save it with -v7"):
        matlab_array(bytes(modern), "data", MIB)
    old = io.BytesIO()
    scipy.io.savemat(old, {"data": np.ones(3)}, format="4")
    for content in (old.getvalue(), b"", b"x" * 1000):
        with pytest.raises(ValueError, match="no MATLAB 5 file"):
            matlab_array(content, "data", MIB)


def test_a_file_that_inflates_without_end_takes_no_memory():
    body = struct.pack("<IIIIII", 14, 1 << 30, 6, 8, 6, 0) + struct.pack("<IIii", 5, 8, 1 << 13, 1 << 14)
    body += struct.pack("<HH4s", 1, 4, b"data") + struct.pack("<II", 9, 1 << 30) + bytes(64 * MIB)
    squeezed = zlib.compress(body)
    content = saved(data=1)[:128] + struct.pack("<II", 15, len(squeezed)) + squeezed
    assert len(content) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 1 MiB"):
            matlab_array(content, "data", MIB)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


SEEDS = [saved(c, data=array, more="x") for c in (False, True) for array in (ARRAYS["a single cube"], ARRAYS["points"])]


@settings(max_examples=400, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(120, 420), st.integers(0, 4), st.binary(max_size=4)), max_size=4),
)
def test_a_damaged_file_gives_an_array_or_is_refused(seed, edits):
    content = bytearray(seed)
    for at, remove, put in edits:
        content[at : at + remove] = put
    try:
        array = matlab_array(bytes(content), "data", MIB)
    except ValueError as fault:
        assert str(fault)
    else:
        assert array.nbytes <= MIB


@settings(max_examples=200, deadline=None)
@given(tail=st.binary(max_size=300))
def test_any_bytes_give_an_array_or_are_refused(tail):
    for content in (tail, SEEDS[0][:128] + tail):
        with pytest.raises(ValueError, match=r"\w"):
            matlab_array(content, "data", MIB)
