"""The fields of our paths over Sionna RT's points of reflection: where a difference comes from these, it is gone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from twin.geometry.facets import Body
from twin.propagation.fields import polarisation_vectors, project, reflect, start
from twin.propagation.paths import SPEED_OF_LIGHT_MPS, Paths

__all__ = ["at_their_points"]


def _legs(points: Float[np.ndarray, "point 3"]) -> tuple[Float[np.ndarray, "leg"], Float[np.ndarray, "leg 3"]]:
    step = np.diff(points, axis=0)
    length = np.linalg.norm(step, axis=1)
    return length, step / length[:, None]


def _axes(k: Float[np.ndarray, "3"]) -> Float[np.ndarray, "2 3"]:
    """Theta and phi of a direction."""
    return np.array(polarisation_vectors(*k)).reshape(2, 3)


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
