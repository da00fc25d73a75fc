"""The tracer: the direct path and single specular reflections between a base station and a moving UE, in numba.

Candidates, images, fields. The ground, every triangle and every face of a box that both antennas see mirrors the
base station; a candidate is a path when its mirror point lies on the face and nothing hides either leg. A blocked
direct path is not dropped: it fades by the knife-edge loss of what is in its way (ITU-R P.526). Phases are formed in
float64. A frame is one iteration and writes its own rows, so results are the same for any number of threads.
"""

import math

import numpy as np
from jaxtyping import Float
from numba import njit, prange

from twin.geometry.scene import Scene, complex_permittivity
from twin.propagation.blockage import CLEAR_NU, box_hides, box_obstruction, knife_edge_db, triangle_hides
from twin.propagation.materials import VEHICLE_CONDUCTIVITY_S_PER_M, fresnel_coefficients
from twin.propagation.paths import DEFAULT_MAX_PATHS, Paths

__all__ = ["SPEED_OF_LIGHT_MPS", "trace"]

SPEED_OF_LIGHT_MPS = 299_792_458.0
_MIN_CLEARANCE_M = 1e-6
"""An antenna nearer to a face than this is not in front of it [m]."""


@njit(cache=True, error_model="numpy")
def _reflected(kx, ky, kz, nx, ny, nz, eta):  # type: ignore[no-untyped-def]
    """Coefficient of a vertically polarised wave going along k that bounces off a plane of normal n, seen vertically.

    The field theta(k) is split into s and p, reflected by Fresnel, and projected on theta(k_r) of the outgoing wave.
    """
    cosine = -(kx * nx + ky * ny + kz * nz)
    rx, ry, rz = kx + 2.0 * cosine * nx, ky + 2.0 * cosine * ny, kz + 2.0 * cosine * nz
    r_s, r_p = fresnel_coefficients(cosine, eta)
    sx, sy, sz = ky * nz - kz * ny, kz * nx - kx * nz, kx * ny - ky * nx
    size = math.sqrt(sx * sx + sy * sy + sz * sz)
    if size < 1e-9:  # straight onto the face: every tangential direction is s
        ux, uy, uz = _theta(kx, ky, kz)
        vx, vy, vz = _theta(rx, ry, rz)
        return r_s * (ux * vx + uy * vy + uz * vz)
    sx, sy, sz = sx / size, sy / size, sz / size
    ux, uy, uz = _theta(kx, ky, kz)
    vx, vy, vz = _theta(rx, ry, rz)
    in_s = ux * sx + uy * sy + uz * sz
    in_p = ux * (sy * kz - sz * ky) + uy * (sz * kx - sx * kz) + uz * (sx * ky - sy * kx)
    out_s = vx * sx + vy * sy + vz * sz
    out_p = vx * (sy * rz - sz * ry) + vy * (sz * rx - sx * rz) + vz * (sx * ry - sy * rx)
    return r_s * in_s * out_s + r_p * in_p * out_p


@njit(cache=True, error_model="numpy")
def _theta(kx, ky, kz):  # type: ignore[no-untyped-def]
    """Unit vector of growing zenith at direction k: the polarisation of a vertical antenna."""
    plan = math.sqrt(kx * kx + ky * ky)
    if plan < 1e-12:
        return 1.0, 0.0, 0.0
    return kz * kx / plan, kz * ky / plan, -plan


@njit(cache=True, error_model="numpy")
def _hidden(ax, ay, az, bx, by, bz, boxes, cosines, sines, present, skip, triangles, skip_triangle):  # type: ignore[no-untyped-def]
    for k in range(boxes.shape[0]):
        if present[k] and k != skip and box_hides(boxes[k], cosines[k], sines[k], ax, ay, az, bx, by, bz):
            return True
    for k in range(triangles.shape[0]):
        if k != skip_triangle and triangle_hides(triangles[k], ax, ay, az, bx, by, bz):
            return True
    return False


@njit(cache=True, error_model="numpy")
def _insert(found, power, row, values, gains, gain, paths):  # type: ignore[no-untyped-def]
    """Keep the path if it is among the strongest; rows are sorted by power, equal ones by when they came."""
    strength = gain.real * gain.real + gain.imag * gain.imag
    if strength == 0.0 or (found == paths and strength <= power[paths - 1]):
        return found
    k = found if found < paths else paths - 1
    while k > 0 and power[k - 1] < strength:
        power[k], gains[k], values[k] = power[k - 1], gains[k - 1], values[k - 1]
        k -= 1
    power[k], gains[k], values[k] = strength, gain, row
    return min(found + 1, paths)


_LENGTH, _KX, _KY, _KZ, _RX, _RY, _RZ, _RATE, _KIND, _OBJECT, _VX, _VY, _VZ = range(13)
_COLUMNS = 13


@njit(cache=True, error_model="numpy")
def _bounce(row, ax, ay, az, px, py, pz, bx, by, bz, nx, ny, nz, eta, wavelength, v, w, number):  # type: ignore[no-untyped-def]
    """Fill `row` with the path a - p - b off a face of normal n that moves at w, UE at v [m/s]; return its gain."""
    first = math.sqrt((px - ax) ** 2 + (py - ay) ** 2 + (pz - az) ** 2)
    second = math.sqrt((bx - px) ** 2 + (by - py) ** 2 + (bz - pz) ** 2)
    kx, ky, kz = (px - ax) / first, (py - ay) / first, (pz - az) / first
    rx, ry, rz = (bx - px) / second, (by - py) / second, (bz - pz) / second
    rate = v[0] * rx + v[1] * ry + v[2] * rz + w[0] * (kx - rx) + w[1] * (ky - ry) + w[2] * (kz - rz)
    length = first + second
    row[_LENGTH], row[_RATE], row[_KIND], row[_OBJECT] = length, rate, 1.0, number
    row[_KX], row[_KY], row[_KZ], row[_RX], row[_RY], row[_RZ] = kx, ky, kz, rx, ry, rz
    row[_VX], row[_VY], row[_VZ] = px, py, pz
    return _reflected(kx, ky, kz, nx, ny, nz, eta) * _free_space(length, wavelength)


@njit(cache=True, error_model="numpy")
def _free_space(length, wavelength):  # type: ignore[no-untyped-def]
    cycles = length / wavelength
    phase = -2.0 * math.pi * (cycles - math.floor(cycles))
    amplitude = wavelength / (4.0 * math.pi * length)
    return complex(amplitude * math.cos(phase), amplitude * math.sin(phase))


@njit(cache=True, parallel=True, error_model="numpy")
def _trace(  # type: ignore[no-untyped-def]
    bs, ue, ue_velocity, static, static_eta, triangles, triangle_eta, ground_eta, movers, mover_velocity, mover_eta,
    own, wavelength, gains, values, counts, clear, blocked, loss_db,
):  # fmt: skip
    frames, paths = gains.shape
    still, moving = static.shape[0], movers.shape[1]
    total = still + moving
    for t in prange(frames):
        ax, ay, az = bs[0], bs[1], bs[2]
        bx, by, bz = ue[t, 0], ue[t, 1], ue[t, 2]
        v = ue_velocity[t]
        boxes = np.empty((total, 7))
        cosines, sines = np.empty(total), np.empty(total)
        present = np.empty(total, np.bool_)
        for k in range(total):
            boxes[k] = static[k] if k < still else movers[t, k - still]
            present[k] = not np.isnan(boxes[k, 0])
            cosines[k], sines[k] = math.cos(boxes[k, 6]), math.sin(boxes[k, 6])
        own_row = still + own if own >= 0 else -1
        power = np.zeros(paths)
        row = np.zeros(_COLUMNS)
        zero = np.zeros(3)
        found = 0

        # The direct path, which the UE's own body never hides.
        loss, hidden_by_vehicle, hidden = 0.0, False, False
        for k in range(total):
            if not present[k] or k == own_row:
                continue
            nu = box_obstruction(boxes[k], cosines[k], sines[k], ax, ay, az, bx, by, bz, wavelength)
            if nu > CLEAR_NU:
                loss += knife_edge_db(nu)
                if nu > 0.0:
                    hidden = True
                    hidden_by_vehicle = hidden_by_vehicle or k >= still
        for k in range(triangles.shape[0]):
            if triangle_hides(triangles[k], ax, ay, az, bx, by, bz):
                hidden, loss = True, np.inf
        clear[t], blocked[t], loss_db[t] = not hidden, hidden_by_vehicle, loss
        length = math.sqrt((bx - ax) ** 2 + (by - ay) ** 2 + (bz - az) ** 2)
        kx, ky, kz = (bx - ax) / length, (by - ay) / length, (bz - az) / length
        row[:] = np.nan
        row[_LENGTH], row[_RATE], row[_KIND], row[_OBJECT] = length, v[0] * kx + v[1] * ky + v[2] * kz, 0.0, -1.0
        row[_KX], row[_KY], row[_KZ], row[_RX], row[_RY], row[_RZ] = kx, ky, kz, kx, ky, kz
        gain = _free_space(length, wavelength) * 10.0 ** (-loss / 20.0)
        found = _insert(found, power, row, values[t], gains[t], gain, paths)

        # The ground.
        if az > _MIN_CLEARANCE_M and bz > _MIN_CLEARANCE_M:
            share = az / (az + bz)
            px, py = ax + share * (bx - ax), ay + share * (by - ay)
            if not _hidden(ax, ay, az, px, py, 0.0, boxes, cosines, sines, present, -1, triangles, -1) and not _hidden(
                px, py, 0.0, bx, by, bz, boxes, cosines, sines, present, -1, triangles, -1
            ):
                gain = _bounce(
                    row, ax, ay, az, px, py, 0.0, bx, by, bz, 0.0, 0.0, 1.0, ground_eta, wavelength, v, zero, 0.0
                )
                found = _insert(found, power, row, values[t], gains[t], gain, paths)

        # Sides and roofs of boxes, in the box's own frame.
        for k in range(total):
            if not present[k] or k == own_row:
                continue
            c, s = cosines[k], sines[k]
            la = ((ax - boxes[k, 0]) * c + (ay - boxes[k, 1]) * s, (ay - boxes[k, 1]) * c - (ax - boxes[k, 0]) * s,
                  az - boxes[k, 2])  # fmt: skip
            lb = ((bx - boxes[k, 0]) * c + (by - boxes[k, 1]) * s, (by - boxes[k, 1]) * c - (bx - boxes[k, 0]) * s,
                  bz - boxes[k, 2])  # fmt: skip
            half = (0.5 * boxes[k, 3], 0.5 * boxes[k, 4], 0.5 * boxes[k, 5])
            eta = static_eta[k] if k < still else mover_eta
            w = zero if k < still else mover_velocity[t, k - still]
            for face in range(5):  # +x, -x, +y, -y, roof
                axis = face // 2
                sign = 1.0 if face % 2 == 0 else -1.0
                high_a, high_b = sign * la[axis] - half[axis], sign * lb[axis] - half[axis]
                if high_a <= _MIN_CLEARANCE_M or high_b <= _MIN_CLEARANCE_M:
                    continue
                share = high_a / (high_a + high_b)
                u = la[0] + share * (lb[0] - la[0]) if axis != 0 else sign * half[0]
                r = la[1] + share * (lb[1] - la[1]) if axis != 1 else sign * half[1]
                z = la[2] + share * (lb[2] - la[2]) if axis != 2 else half[2]
                if abs(u) > half[0] or abs(r) > half[1] or abs(z) > half[2]:
                    continue
                px, py, pz = boxes[k, 0] + u * c - r * s, boxes[k, 1] + u * s + r * c, boxes[k, 2] + z
                if _hidden(ax, ay, az, px, py, pz, boxes, cosines, sines, present, k, triangles, -1) or _hidden(
                    px, py, pz, bx, by, bz, boxes, cosines, sines, present, k, triangles, -1
                ):
                    continue
                if axis == 0:
                    nx, ny, nz = sign * c, sign * s, 0.0
                elif axis == 1:
                    nx, ny, nz = -sign * s, sign * c, 0.0
                else:
                    nx, ny, nz = 0.0, 0.0, 1.0
                number = k + 1.0 if k < still else k + 1.0 + triangles.shape[0]
                gain = _bounce(row, ax, ay, az, px, py, pz, bx, by, bz, nx, ny, nz, eta, wavelength, v, w, number)
                found = _insert(found, power, row, values[t], gains[t], gain, paths)

        # Triangles, from either side.
        for k in range(triangles.shape[0]):
            tri = triangles[k]
            ux, uy, uz = tri[1, 0] - tri[0, 0], tri[1, 1] - tri[0, 1], tri[1, 2] - tri[0, 2]
            wx, wy, wz = tri[2, 0] - tri[0, 0], tri[2, 1] - tri[0, 1], tri[2, 2] - tri[0, 2]
            nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
            area = math.sqrt(nx * nx + ny * ny + nz * nz)
            if area < 1e-12:
                continue
            nx, ny, nz = nx / area, ny / area, nz / area
            high_a = (ax - tri[0, 0]) * nx + (ay - tri[0, 1]) * ny + (az - tri[0, 2]) * nz
            high_b = (bx - tri[0, 0]) * nx + (by - tri[0, 1]) * ny + (bz - tri[0, 2]) * nz
            if high_a < 0.0:
                nx, ny, nz, high_a, high_b = -nx, -ny, -nz, -high_a, -high_b
            if high_a <= _MIN_CLEARANCE_M or high_b <= _MIN_CLEARANCE_M:
                continue
            mx, my, mz = ax - 2.0 * high_a * nx, ay - 2.0 * high_a * ny, az - 2.0 * high_a * nz
            if not triangle_hides(tri, mx, my, mz, bx, by, bz):
                continue
            share = high_a / (high_a + high_b)
            px, py, pz = mx + share * (bx - mx), my + share * (by - my), mz + share * (bz - mz)
            if _hidden(ax, ay, az, px, py, pz, boxes, cosines, sines, present, -1, triangles, k) or _hidden(
                px, py, pz, bx, by, bz, boxes, cosines, sines, present, -1, triangles, k
            ):
                continue
            gain = _bounce(
                row, ax, ay, az, px, py, pz, bx, by, bz, nx, ny, nz, triangle_eta[k], wavelength, v, zero,
                1.0 + still + k,
            )  # fmt: skip
            found = _insert(found, power, row, values[t], gains[t], gain, paths)
        counts[t] = found


def trace(
    scene: Scene,
    bs_position_m: Float[np.ndarray, "3"],
    ue_position_m: Float[np.ndarray, "T 3"],
    ue_velocity_mps: Float[np.ndarray, "T 3"],
    mover_box: Float[np.ndarray, "T A 7"],
    mover_velocity_mps: Float[np.ndarray, "T A 2"],
    carrier_hz: float,
    ue_mover: int | None = None,
    max_paths: int = DEFAULT_MAX_PATHS,
) -> Paths:
    """Direct path and first-order reflections of every frame.

    Args:
        scene: what stands still.
        bs_position_m: of the base station's antenna.
        ue_position_m: of the UE's antenna.
        ue_velocity_mps: of the UE, for the Doppler shift.
        mover_box: centre x, y, z, length, width, height [m], heading [rad] of each vehicle; NaN where there is none.
        mover_velocity_mps: of each vehicle, east and north.
        carrier_hz: carrier frequency.
        ue_mover: slot of the UE's own body among the movers. It neither hides the direct path nor reflects to its own
            antenna, but hides what comes from below.
        max_paths: P_max, strongest paths kept.
    """
    frames = len(ue_position_m)
    wavelength = SPEED_OF_LIGHT_MPS / carrier_hz
    gains = np.zeros((frames, max_paths), np.complex128)
    values = np.zeros((frames, max_paths, _COLUMNS))
    counts = np.zeros(frames, np.int64)
    clear, blocked = np.zeros(frames, np.bool_), np.zeros(frames, np.bool_)
    loss_db = np.zeros(frames)
    _trace(
        _plain(bs_position_m, np.float64),
        _plain(ue_position_m, np.float64),
        _plain(ue_velocity_mps, np.float64),
        _plain(scene.box, np.float64),
        _plain(scene.box_permittivity, np.complex128),
        _plain(scene.triangle_m, np.float64),
        _plain(scene.triangle_permittivity, np.complex128),
        complex(scene.ground_permittivity),
        _plain(mover_box, np.float64),
        np.pad(np.asarray(mover_velocity_mps, dtype=np.float64), ((0, 0), (0, 0), (0, 1))),
        complex_permittivity(1.0, VEHICLE_CONDUCTIVITY_S_PER_M, carrier_hz),
        -1 if ue_mover is None else ue_mover,
        wavelength,
        gains,
        values,
        counts,
        clear,
        blocked,
        loss_db,
    )
    return _as_paths(gains, values, counts, clear, blocked, loss_db, wavelength)


def _plain(values: np.ndarray, dtype: type) -> np.ndarray:
    """A writable copy in C order, so that the kernel is compiled once for whatever the caller has."""
    return np.array(values, dtype=dtype, order="C")


def _as_paths(
    gains: np.ndarray,
    values: np.ndarray,
    counts: np.ndarray,
    clear: np.ndarray,
    blocked: np.ndarray,
    loss_db: np.ndarray,
    wavelength: float,
) -> Paths:
    valid = np.arange(gains.shape[1]) < counts[:, None]

    def angles(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        pair = np.stack([np.arctan2(y, x), np.arccos(np.clip(z, -1.0, 1.0))], axis=-1)
        return np.where(valid[..., None], pair, 0.0)

    return Paths(
        gain=gains.astype(np.complex64),
        delay_s=values[..., _LENGTH] / SPEED_OF_LIGHT_MPS,
        aod_rad=angles(values[..., _KX], values[..., _KY], values[..., _KZ]),
        aoa_rad=angles(-values[..., _RX], -values[..., _RY], -values[..., _RZ]),
        doppler_hz=np.where(valid, -values[..., _RATE] / wavelength, 0.0),
        kind=np.where(valid, values[..., _KIND], -1.0).astype(np.int8)[..., None],
        object_id=np.where(valid, values[..., _OBJECT], -1.0).astype(np.int32)[..., None],
        vertices_m=np.where(valid[..., None], values[..., _VX : _VZ + 1], np.nan)[..., None, :],
        valid=valid,
        line_of_sight=clear,
        blocked=blocked,
        blockage_db=loss_db,
    )
