"""What the kernels fill: the paths of every link, strongest first."""

import math
from typing import NamedTuple

import numpy as np

from twin.compiled import inlined, leaf
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Interaction, Paths

__all__ = ["Rows", "empty_rows", "make_room", "paths_of", "set_bounce", "set_path"]


class Rows(NamedTuple):
    """Arrays whose first axis is the link and whose second the path.

    `number`: paths of each link.  `power`: half the squared Frobenius norm of the transfer matrix, by which paths are
    sorted.  `length`: of the path [m].  `departure`, `arrival`: azimuth and zenith in which the antennas see it [rad].
    `rate`: dL/dt [m/s].  `loss`: blockage [dB].  `kind`, `body`, `facet`, `vertex`: of each bounce.  `clear`,
    `blocked`, `enclosed`: of each link.
    """

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
        transfer=np.zeros((*shape, 2, 2), np.complex64),
        length=np.zeros(shape),
        departure=np.zeros((*shape, 2)),
        arrival=np.zeros((*shape, 2)),
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


@inlined
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
        for i in range(2):
            for j in range(2):
                rows.transfer[link, k, i, j] = rows.transfer[link, k - 1, i, j]
            rows.departure[link, k, i] = rows.departure[link, k - 1, i]
            rows.arrival[link, k, i] = rows.arrival[link, k - 1, i]
        for n in range(rows.kind.shape[2]):
            rows.kind[link, k, n], rows.body[link, k, n] = rows.kind[link, k - 1, n], rows.body[link, k - 1, n]
            rows.facet[link, k, n] = rows.facet[link, k - 1, n]
            for i in range(3):
                rows.vertex[link, k, n, i] = rows.vertex[link, k - 1, n, i]
        k -= 1
    rows.number[link] = min(count + 1, size)
    rows.power[link, k] = power
    for n in range(rows.kind.shape[2]):
        rows.kind[link, k, n], rows.body[link, k, n], rows.facet[link, k, n] = Interaction.NONE, -1, -1
        for i in range(3):
            rows.vertex[link, k, n, i] = np.nan
    return k


@inlined
def set_path(rows, link, row, transfer, length, loss, rate, kx, ky, kz, qx, qy, qz):  # type: ignore[no-untyped-def]
    """Keep what a path is but for its power and its bounces; it departs along k and arrives along q."""
    for i in range(2):
        for j in range(2):
            rows.transfer[link, row, i, j] = np.complex64(transfer[i, j])
    rows.length[link, row], rows.loss[link, row], rows.rate[link, row] = length, loss, rate
    _set_angles(rows.departure, link, row, kx, ky, kz)
    _set_angles(rows.arrival, link, row, -qx, -qy, -qz)


@inlined
def set_bounce(rows, link, row, bounce, kind, body, facet, x, y, z):  # type: ignore[no-untyped-def]
    """Keep a bounce: what happens, on which facet or edge of which body, and where."""
    rows.kind[link, row, bounce], rows.body[link, row, bounce], rows.facet[link, row, bounce] = kind, body, facet
    rows.vertex[link, row, bounce, 0], rows.vertex[link, row, bounce, 1] = x, y
    rows.vertex[link, row, bounce, 2] = z


@leaf
def _set_angles(angles, link, row, x, y, z):  # type: ignore[no-untyped-def]
    """Azimuth and zenith of a unit vector."""
    angles[link, row, 0], angles[link, row, 1] = math.atan2(y, x), math.acos(min(1.0, max(-1.0, z)))


def paths_of(rows: Rows, links: tuple[int, ...], wavelength_m: float) -> Paths:
    """The paths of links in that shape, between isotropic antennas of vertical polarisation."""
    valid = np.arange(rows.power.shape[1]) < rows.number[:, None]

    shut = rows.enclosed
    for array in (rows.transfer, rows.length, rows.departure, rows.arrival, rows.rate, rows.loss):
        array[shut] = 0
    for array in (rows.kind, rows.body, rows.facet):
        array[shut] = -1
    rows.vertex[shut] = np.nan

    def shaped(array: np.ndarray) -> np.ndarray:
        return array.reshape(*links, *array.shape[1:])

    return Paths(
        transfer=shaped(rows.transfer),
        gain=shaped(rows.transfer[..., 0, 0].copy()),
        delay_s=shaped(rows.length / SPEED_OF_LIGHT_MPS),
        aod_rad=shaped(rows.departure),
        aoa_rad=shaped(rows.arrival),
        doppler_hz=shaped((0.0 - rows.rate) / wavelength_m),
        kind=shaped(rows.kind),
        body=shaped(rows.body),
        facet=shaped(rows.facet),
        vertices_m=shaped(rows.vertex),
        blockage_db=shaped(rows.loss),
        valid=shaped(valid),
        line_of_sight=shaped(rows.clear),
        blocked=shaped(rows.blocked),
        enclosed=shaped(rows.enclosed),
    )
