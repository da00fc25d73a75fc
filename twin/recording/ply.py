"""Points of a PLY file (G. Turk, "The PLY Polygon File Format", 1994): text or binary, of either byte order.

trimesh takes the coordinates of a text file by their place, not their name, and accepts one with too few or too many
lines. A measurement that was cut has to be noticed.
"""

import io
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

__all__ = ["ply_points"]

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
LARGEST_HEADER_BYTES = 1 << 16
_END = re.compile(rb"(?:^|\n)end_header[ \t]*\r?\n")


@dataclass
class _Element:
    """One kind of thing that the file holds; `has_lists` where its length varies."""

    name: str
    count: int
    properties: list[tuple[str, str]]
    has_lists: bool = False

    def record(self, order: str) -> np.dtype:
        """How one of them lies in a binary file, its properties unnamed."""
        return np.dtype([(f"f{k}", order + TYPES[kind]) for k, (_, kind) in enumerate(self.properties)])


def ply_points(content: bytes) -> Float64[np.ndarray, "point 3"]:
    """The coordinates x, y, z of the vertices, whatever else they have and in whatever order.

    What comes after the vertices is left out.

    Raises:
        ValueError: the content is no PLY file, its vertices have no x, y, z, or there are more or fewer of them than
            it says.
    """
    if not re.match(rb"ply[ \t]*\r?\n", content):
        raise ValueError("no PLY file")
    end = _END.search(content, 0, LARGEST_HEADER_BYTES)
    if end is None:
        raise ValueError("the header does not end")
    order, elements = _header(content[: end.start()].decode("latin-1"))
    names = [element.name for element in elements]
    if names.count("vertex") != 1:
        raise ValueError("no vertices")
    at = names.index("vertex")
    vertex = elements[at]
    columns = [name for name, _ in vertex.properties]
    if vertex.has_lists or any(columns.count(axis) != 1 for axis in "xyz"):
        raise ValueError("the vertices have no x, y and z")
    body = memoryview(content)[end.end() :]
    before, after = elements[:at], elements[at + 1 :]
    places = [columns.index(axis) for axis in "xyz"]
    if not order:
        return _from_text(body, before, vertex, after, places)
    return _from_binary(body, order, before, vertex, after, places)


def _header(text: str) -> tuple[str, list[_Element]]:
    """Byte order (empty for text) and elements."""
    order, elements = None, list[_Element]()
    for line in text.splitlines()[1:]:
        words = line.split()
        match words:
            case ["format", kind, "1.0"] if order is None and kind in ORDERS:
                order = ORDERS[kind]
            case ["element", name, count] if re.fullmatch("[0-9]{1,15}", count):
                elements.append(_Element(name, int(count), []))
            case ["property", "list", length, item, _] if elements and length in TYPES and item in TYPES:
                elements[-1].has_lists = True
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append((name, kind))
            case [] | ["comment", *_] | ["obj_info", *_]:
                pass
            case _:
                raise ValueError(f"the header line {line[:40]!r} cannot be read")
    if order is None:
        raise ValueError("the header names no format")
    return order, elements


def _from_text(
    body: memoryview, before: list[_Element], vertex: _Element, after: list[_Element], places: list[int]
) -> Float64[np.ndarray, "point 3"]:
    lines = [line for line in bytes(body).splitlines() if line.strip()]
    stated = sum(element.count for element in (*before, vertex, *after))
    if len(lines) != stated:
        raise ValueError(f"{len(lines)} lines instead of {stated}")
    first = sum(element.count for element in before)
    rows = lines[first : first + vertex.count]
    if not rows:
        return np.empty((0, 3))
    try:
        values = np.loadtxt(io.BytesIO(b"\n".join(rows)), comments=None, ndmin=2)
    except ValueError:
        raise ValueError("a line of the vertices is cut or not of numbers") from None
    if values.shape != (vertex.count, len(vertex.properties)):
        raise ValueError(f"{values.shape[1]} numbers a vertex instead of {len(vertex.properties)}")
    # the numbers of a float property are those that 32 bits hold, however many digits the text has
    kinds = [np.dtype(TYPES[vertex.properties[place][1]]) for place in places]
    return np.stack(
        [values[:, place].astype(kind).astype(np.float64) if kind.kind == "f" else values[:, place]
         for place, kind in zip(places, kinds, strict=True)],
        axis=1,
    )  # fmt: skip


def _from_binary(
    body: memoryview, order: str, before: list[_Element], vertex: _Element, after: list[_Element], places: list[int]
) -> Float64[np.ndarray, "point 3"]:
    if any(element.has_lists for element in before):
        raise ValueError("lists come before the vertices")
    record = vertex.record(order)
    first = _bytes(before, order)
    least = (
        first + vertex.count * record.itemsize + _bytes([element for element in after if not element.has_lists], order)
    )
    open_ended = any(element.has_lists for element in after)
    if len(body) < least or (len(body) > least and not open_ended):
        raise ValueError(f"{len(body)} bytes after the header instead of {least}")
    if not vertex.count:
        return np.empty((0, 3))
    points = np.frombuffer(body, record, vertex.count, first)
    return np.stack([points[f"f{place}"].astype(np.float64) for place in places], axis=1)


def _bytes(elements: list[_Element], order: str) -> int:
    return sum(element.count * element.record(order).itemsize for element in elements)
