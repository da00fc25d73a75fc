"""One numeric array out of a MATLAB 5 file (`save -v6`, `save -v7`), read within bounds.

A damaged file of a few hundred bytes makes `scipy.io.loadmat` crash the interpreter (SciPy 1.17), and one of a few
kilobytes can hold gigabytes in compressed form. Here no more than stated is ever inflated.

Layout: MathWorks, "MAT-File Format", chapter 1: 128 bytes of header, then elements, each a tag (type and number of
bytes) and its bytes, padded to 8; an array is an element of elements: flags, dimensions, name, real and imaginary part.
"""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

__all__ = ["matlab_array"]

COMPRESSED, MATRIX = 15, 14
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of the bytes of an element: whole numbers are often stored in a smaller type than the array's."""
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Classes of arrays that are numbers; the others are text, cells, structures, objects and sparse arrays."""
FLAG_COMPLEX = 0x08
MOST_DIMENSIONS = 8
LARGEST_NAME_BYTES = 512
"""What is inflated to find the name of a compressed array."""


def matlab_array(content: bytes, name: str, most_bytes: int) -> np.ndarray:
    """The array `name` of a MATLAB file, complex128 or complex64 where it is complex.

    Raises:
        ValueError: the content is no MATLAB 5 file, is cut, holds no numeric array of that name, or one of more than
            `most_bytes`.
    """
    header = content[:128]
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    version = struct.unpack(f"{order}H", header[124:126])[0] if order else 0
    if version == 0x0200:
        raise ValueError("a file of MATLAB 7.3, which is another format: save it with -v7")
    if order is None or version != 0x0100:
        raise ValueError("no MATLAB 5 file")
    for kind, body in _elements(memoryview(content)[128:], order):
        matrix = _matrix(kind, body, order, name, most_bytes)
        if matrix is not None and _name(matrix, order) == name:
            return _numbers(matrix, order, most_bytes)
    raise ValueError(f"no variable {name!r}")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and bytes of each element."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("cut")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # up to four bytes stand in the tag itself
            kind, size, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError("damaged")
        else:
            start = at + 8
            after = start + size + (0 if kind == COMPRESSED else -size % 8)
        if start + size > len(data):
            raise ValueError("cut")
        yield kind, data[start : start + size]
        at = after


def _matrix(kind: int, body: memoryview, order: str, name: str, most_bytes: int) -> memoryview | None:
    """The bytes of an array, inflated where it has that name and is compressed; None where the element is no array."""
    if kind != COMPRESSED:
        return body if kind == MATRIX else None
    try:
        beginning = zlib.decompressobj().decompress(body, LARGEST_NAME_BYTES)
        if len(beginning) < 8 or struct.unpack_from(f"{order}I", beginning)[0] != MATRIX:
            return None
        if _name(memoryview(beginning)[8:], order) != name:
            return None
        most = most_bytes + LARGEST_NAME_BYTES
        inflating = zlib.decompressobj()
        whole = inflating.decompress(body, most + 1)
    except zlib.error:
        raise ValueError("damaged") from None
    if len(whole) > most:
        raise ValueError(f"more than {most_bytes >> 20} MiB")
    if not inflating.eof:
        raise ValueError("cut")
    inner = next(_elements(memoryview(whole), order))
    return inner[1]


def _name(matrix: memoryview, order: str) -> str:
    """The third element of an array; the first three may be all that is there."""
    elements = _elements(matrix, order)
    try:
        _, _, name = next(elements), next(elements), next(elements)
    except (StopIteration, ValueError):
        return ""
    return bytes(name[1]).decode("latin-1")


def _numbers(matrix: memoryview, order: str, most_bytes: int) -> np.ndarray:
    flags, dims, _, *parts = _elements(matrix, order)
    if len(flags[1]) != 8 or len(dims[1]) % 4 or not 8 <= len(dims[1]) <= 4 * MOST_DIMENSIONS:
        raise ValueError("damaged")
    word = struct.unpack_from(f"{order}I", flags[1])[0]
    shape = struct.unpack(f"{order}{len(dims[1]) // 4}i", dims[1])
    is_complex = bool(word >> 8 & FLAG_COMPLEX)
    stored = CLASSES.get(word & 0xFF)
    if stored is None:
        raise ValueError("not an array of numbers")
    if min(shape) < 0 or math.prod(shape) * np.dtype(stored).itemsize * (1 + is_complex) > most_bytes:
        raise ValueError(f"an array of {' x '.join(map(str, shape))}, more than {most_bytes >> 20} MiB")
    if len(parts) != 1 + is_complex:
        raise ValueError("cut" if len(parts) <= is_complex else "damaged")
    values = [_part(part, order, math.prod(shape)).astype(stored) for part in parts]
    if not is_complex:
        return values[0].reshape(shape, order="F")
    both = np.empty(math.prod(shape), np.complex64 if stored == "f4" else np.complex128)
    both.real, both.imag = values
    return both.reshape(shape, order="F")


def _part(element: tuple[int, memoryview], order: str, count: int) -> np.ndarray:
    kind, data = element
    if kind not in NUMBERS:
        raise ValueError("damaged")
    dtype = np.dtype(order + NUMBERS[kind])
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"{len(data) // dtype.itemsize} numbers instead of {count}")
    return np.frombuffer(data, dtype)
