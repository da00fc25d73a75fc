"""The fields of our paths as Sionna RT evaluates them: its diffraction coefficient, its points of reflection.

They show where a difference comes from: with the same coefficient, or at the same points, it must be gone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from twin.geometry.facets import Body
from twin.propagation.diffraction import SIONNA, wedge_transfer
from twin.propagation.fields import polarisation_vectors, project, propagation_phase, reflect, start
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Interaction, Paths

__all__ = ["at_their_points", "with_sionnas_coefficient"]


def _legs(points: Float[np.ndarray, "point 3"]) -> tuple[Float[np.ndarray, "leg"], Float[np.ndarray, "leg 3"]]:
    step = np.diff(points, axis=0)
    length = np.linalg.norm(step, axis=1)
    return length, step / length[:, None]


def _axes(k: Float[np.ndarray, "3"]) -> Float[np.ndarray, "2 3"]:
    """Theta and phi of a direction."""
    return np.array(polarisation_vectors(*k)).reshape(2, 3)


def with_sionnas_coefficient(
    paths: Paths,
    bs_m: Float[np.ndarray, "link 3"],
    ue_m: Float[np.ndarray, "link 3"],
    bodies: Sequence[Body],
    carrier_hz: float,
) -> Paths:
    """Single-edge paths with the coefficient that Sionna evaluates, see `twin.propagation.diffraction.SIONNA`."""
    transfer = paths.transfer.copy()
    wavelength_m = SPEED_OF_LIGHT_MPS / carrier_hz
    field, matrix = np.empty((2, 3), np.complex128), np.empty((2, 2), np.complex128)
    for link, path in np.argwhere(paths.valid & (paths.kind[..., 0] == Interaction.DIFFRACTION)):
        body, wedge = bodies[paths.body[link, path, 0]], paths.facet[link, path, 0]
        (before, after), (k_in, k_out) = _legs(np.array([bs_m[link], paths.vertices_m[link, path, 0], ue_m[link]]))
        eta, thickness_m = body.material.permittivity(carrier_hz), body.material.thickness_m
        wedges = body.wedges
        dyad = wedge_transfer(
            tuple(wedges.direction[wedge]), tuple(wedges.normal_0[wedge]), tuple(wedges.normal_n[wedge]), tuple(k_in),
            tuple(k_out), before, after, eta, thickness_m, eta, thickness_m, wavelength_m, 1.0, 1.0, SIONNA,
        )  # fmt: skip
        start(field, k_in[0], k_in[1], k_in[2])
        field[:] = field @ np.array(dyad).T
        total = before + after
        spreading = wavelength_m / (4.0 * np.pi) / np.sqrt(before * after * total)
        amplitude = spreading * propagation_phase(total, wavelength_m)
        project(field, k_out[0], k_out[1], k_out[2], amplitude, matrix)
        transfer[link, path] = matrix
    return replace(paths, transfer=transfer)


def at_their_points(
    ours: Paths,
    theirs: Paths,
    pair: Int[np.ndarray, "pair 3"],
    bs_m: Float[np.ndarray, "link 3"],
    ue_m: Float[np.ndarray, "link 3"],
    bodies: Sequence[Body],
    carrier_hz: float,
) -> Paths:
    """Our reflected paths of some pairs, with the transfer matrix over the points of theirs and the same delay.

    The points of theirs do not quite reflect: after each, the field keeps its components along theta and phi while its
    direction turns from the mirrored one to that of the next leg.
    """
    transfer = ours.transfer.copy()
    wavelength_m = SPEED_OF_LIGHT_MPS / carrier_hz
    field, matrix = np.empty((2, 3), np.complex128), np.empty((2, 2), np.complex128)
    for link, i, j in pair:
        bounces = np.flatnonzero(ours.kind[link, i] > 0)
        length, k = _legs(np.vstack([bs_m[link], theirs.vertices_m[link, j, bounces], ue_m[link]]))
        start(field, k[0, 0], k[0, 1], k[0, 2])
        for number, bounce in enumerate(bounces):
            body = bodies[ours.body[link, i, bounce]]
            normal = body.facets.normal[ours.facet[link, i, bounce]]
            eta = body.material.permittivity(carrier_hz)
            reflect(
                field, k[number, 0], k[number, 1], k[number, 2], normal[0], normal[1], normal[2], eta,
                body.material.thickness_m, 1.0, 0.0, wavelength_m,
            )  # fmt: skip
            mirrored = k[number] - 2.0 * (k[number] @ normal) * normal
            field[:] = field @ _axes(mirrored).T @ _axes(k[number + 1])
        turn = np.exp(-2j * np.pi * carrier_hz * ours.delay_s[link, i])
        amplitude = wavelength_m / (4.0 * np.pi * length.sum()) * turn
        project(field, k[-1, 0], k[-1, 1], k[-1, 2], amplitude, matrix)
        transfer[link, i] = matrix
    return replace(ours, transfer=transfer)
