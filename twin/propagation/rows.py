"""What the kernels fill: the paths of every link, in the order in which they are found, and `Paths` of it."""

from typing import NamedTuple

import numpy as np
from numba import njit

from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Paths

__all__ = ["Rows", "empty_rows", "make_room", "paths_of"]


class Rows(NamedTuple):
    """Arrays whose first axis is the link and whose second the path.

    `number`: paths of each link.  `power`: half the squared Frobenius norm of the transfer matrix, by which paths are
    sorted.  `length`: of the path [m].  `departure`, `arrival`: unit vectors in which the antennas see it.  `rate`:
    dL/dt [m/s].  `loss`: blockage [dB].  `kind`, `body`, `facet`, `vertex`: of each bounce.  `clear`, `blocked`,
    `enclosed`: of each link."""

    number: np.ndarray
    power: np.ndarray
    transfer: np.ndarray
    length: np.ndarray
    departure: np.ndarray
    arrival: np.ndarray
    rate: np.ndarray
    loss: np.ndarray
    kind: np.ndarray
    body: np.ndarray
    facet: np.ndarray
    vertex: np.ndarray
    clear: np.ndarray
    blocked: np.ndarray
    enclosed: np.ndarray


def empty_rows(links: int, paths: int, bounces: int) -> Rows:
    """Rows of that many links without any path."""
    shape = (links, paths)
    return Rows(
        number=np.zeros(links, np.int32),
        power=np.zeros(shape),
        transfer=np.zeros((*shape, 2, 2), np.complex128),
        length=np.zeros(shape),
        departure=np.zeros((*shape, 3)),
        arrival=np.zeros((*shape, 3)),
        rate=np.zeros(shape),
        loss=np.zeros(shape),
        kind=np.full((*shape, bounces), -1, np.int8),
        body=np.full((*shape, bounces), -1, np.int32),
        facet=np.full((*shape, bounces), -1, np.int32),
        vertex=np.full((*shape, bounces, 3), np.nan),
        clear=np.zeros(links, np.bool_),
        blocked=np.zeros(links, np.bool_),
        enclosed=np.zeros(links, np.bool_),
    )


@njit(cache=True, error_model="numpy")
def make_room(rows, link, power):  # type: ignore[no-untyped-def]
    """A free row of the link, or that of its weakest path; -1 when all are stronger. The row's bounces are cleared."""
    if not power > 0.0:
        return -1
    size = rows.power.shape[1]
    k = rows.number[link]
    if k < size:
        rows.number[link] = k + 1
    else:
        k = 0
        for other in range(1, size):
            if rows.power[link, other] < rows.power[link, k]:
                k = other
        if power <= rows.power[link, k]:
            return -1
    rows.power[link, k] = power
    for bounce in range(rows.kind.shape[2]):
        rows.kind[link, k, bounce], rows.body[link, k, bounce], rows.facet[link, k, bounce] = 0, -1, -1
        for axis in range(3):
            rows.vertex[link, k, bounce, axis] = np.nan
    return k


def paths_of(rows: Rows, links: tuple[int, ...], wavelength_m: float) -> Paths:
    """The paths of links in that shape, between isotropic antennas of vertical polarisation."""
    valid = np.arange(rows.power.shape[1]) < rows.number[:, None]
    order = np.argsort(-np.where(valid, rows.power, -1.0), axis=1, kind="stable")

    def shaped(array: np.ndarray) -> np.ndarray:
        return array.reshape(*links, *array.shape[1:])

    def along_paths(array: np.ndarray, padding: float | int) -> np.ndarray:
        picked = np.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), axis=1)
        picked[~valid] = padding
        return shaped(picked)

    def angles(direction: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(direction, -1, 0)
        pair = np.stack([np.arctan2(y, x), np.arccos(np.clip(z, -1.0, 1.0))], axis=-1)
        return along_paths(pair, 0.0)

    transfer = along_paths(rows.transfer.astype(np.complex64), 0.0)
    return Paths(
        transfer=transfer,
        gain=transfer[..., 0, 0].copy(),
        delay_s=along_paths(rows.length / SPEED_OF_LIGHT_MPS, 0.0),
        aod_rad=angles(rows.departure),
        aoa_rad=angles(rows.arrival),
        doppler_hz=along_paths(-rows.rate / wavelength_m, 0.0),
        kind=along_paths(rows.kind, -1),
        body=along_paths(rows.body, -1),
        facet=along_paths(rows.facet, -1),
        vertices_m=along_paths(rows.vertex, np.nan),
        blockage_db=along_paths(rows.loss, 0.0),
        valid=shaped(valid),
        line_of_sight=shaped(rows.clear),
        blocked=shaped(rows.blocked),
        enclosed=shaped(rows.enclosed),
    )
