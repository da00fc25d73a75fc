"""What the kernels fill: the paths of every link, strongest first."""

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
    """Row for a path of that power, the weaker ones moved down; -1 when all are stronger. Ties keep their order.

    The row's bounces are cleared.
    """
    size = rows.power.shape[1]
    if not power > 0.0:
        return -1
    count = rows.number[link]
    if count == size and power <= rows.power[link, size - 1]:
        return -1
    k = count if count < size else size - 1
    while k > 0 and rows.power[link, k - 1] < power:
        rows.power[link, k], rows.length[link, k] = rows.power[link, k - 1], rows.length[link, k - 1]
        rows.rate[link, k], rows.loss[link, k] = rows.rate[link, k - 1], rows.loss[link, k - 1]
        rows.transfer[link, k] = rows.transfer[link, k - 1]
        rows.departure[link, k], rows.arrival[link, k] = rows.departure[link, k - 1], rows.arrival[link, k - 1]
        rows.kind[link, k], rows.body[link, k] = rows.kind[link, k - 1], rows.body[link, k - 1]
        rows.facet[link, k], rows.vertex[link, k] = rows.facet[link, k - 1], rows.vertex[link, k - 1]
        k -= 1
    rows.number[link] = min(count + 1, size)
    rows.power[link, k] = power
    rows.kind[link, k], rows.body[link, k], rows.facet[link, k] = 0, -1, -1
    rows.vertex[link, k] = np.nan
    return k


def paths_of(rows: Rows, links: tuple[int, ...], wavelength_m: float) -> Paths:
    """The paths of links in that shape, between isotropic antennas of vertical polarisation."""
    valid = np.arange(rows.power.shape[1]) < rows.number[:, None]

    transfer = np.where(valid[..., None, None], rows.transfer, 0.0).astype(np.complex64)

    def shaped(array: np.ndarray) -> np.ndarray:
        return array.reshape(*links, *array.shape[1:])

    def angles(direction: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(direction, -1, 0)
        pair = np.stack([np.arctan2(y, x), np.arccos(np.clip(z, -1.0, 1.0))], axis=-1)
        return shaped(np.where(valid[..., None], pair, 0.0))

    return Paths(
        transfer=shaped(transfer),
        gain=shaped(transfer[..., 0, 0].copy()),
        delay_s=shaped(np.where(valid, rows.length / SPEED_OF_LIGHT_MPS, 0.0)),
        aod_rad=angles(rows.departure),
        aoa_rad=angles(rows.arrival),
        doppler_hz=shaped(np.where(valid, -rows.rate / wavelength_m, 0.0)),
        kind=shaped(np.where(valid[..., None], rows.kind, np.int8(-1))),
        body=shaped(np.where(valid[..., None], rows.body, np.int32(-1))),
        facet=shaped(np.where(valid[..., None], rows.facet, np.int32(-1))),
        vertices_m=shaped(np.where(valid[..., None, None], rows.vertex, np.nan)),
        blockage_db=shaped(rows.loss),
        valid=shaped(valid),
        line_of_sight=shaped(rows.clear),
        blocked=shaped(rows.blocked),
        enclosed=shaped(rows.enclosed),
    )
