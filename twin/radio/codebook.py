"""Codebooks: the beam weights f_i, one row a beam, each of unit norm, in order of azimuth."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Complex, Float

from twin.errors import UserError
from twin.radio.array import DEFAULT_ELEMENTS, ula_response

__all__ = [
    "DEFAULT_BEAMS",
    "DEFAULT_FIELD_OF_VIEW_RAD",
    "measured",
    "reversed_order",
    "uniform_angle",
    "uniform_sine",
    "with_phase_errors",
]

DEFAULT_BEAMS = 64
"""Beams of a sweep."""
DEFAULT_FIELD_OF_VIEW_RAD = np.pi / 2.0
"""Width of the sector that the beams cover, centred on broadside [rad]."""
_RETRIEVAL_STEPS = 300
"""Rounds of phase retrieval; measured patterns change by less than a thousandth after that."""
_PATTERN_FIT_LIMIT = 0.1
"""Relative error of the weights' pattern against the measured one above which a file is refused [1]."""


def _angles(beams: int, field_of_view_rad: float) -> Float[np.ndarray, "beam"]:
    if not 0.0 < field_of_view_rad <= np.pi:
        raise UserError(f"field of view {field_of_view_rad:g} rad", "codebook", "choose more than 0 and at most pi")
    return np.linspace(-field_of_view_rad / 2.0, field_of_view_rad / 2.0, beams)


def uniform_angle(
    beams: int = DEFAULT_BEAMS,
    elements: int = DEFAULT_ELEMENTS,
    field_of_view_rad: float = DEFAULT_FIELD_OF_VIEW_RAD,
) -> Complex[np.ndarray, "beam element"]:
    """Beams steered to angles from broadside phi_i spread evenly over the field of view, phi_0 = -fov/2 first."""
    return ula_response(np.sin(_angles(beams, field_of_view_rad)), elements)


def uniform_sine(
    beams: int = DEFAULT_BEAMS,
    elements: int = DEFAULT_ELEMENTS,
    field_of_view_rad: float = DEFAULT_FIELD_OF_VIEW_RAD,
) -> Complex[np.ndarray, "beam element"]:
    """Beams steered to sines u_i = sin(phi_i) spread evenly over the field of view: all of one width in u."""
    edge = np.sin(_angles(2, field_of_view_rad)[1])
    return ula_response(np.linspace(-edge, edge, beams), elements)


def measured(
    path: str | Path, beams: int = DEFAULT_BEAMS, elements: int = DEFAULT_ELEMENTS
) -> Complex[np.ndarray, "beam element"]:
    """Weights from an .npz file: `weights` (beams, elements), or patterns from which they are solved.

    Patterns are `pattern` (beams, angles), the response f_i^T a(phi) of each beam, over `azimuth_rad` (angles,) from
    broadside, or over `angle_deg` from one end of the array to the other (90 is broadside). Of complex patterns the
    weights are the least-squares solution. Real ones are magnitudes, what an anechoic chamber gives (the root of a
    power pattern): their phases are retrieved (Gerchberg and Saxton, Optik 35, 237, 1972), from those of a steered
    beam on. Rows get unit norm and keep the file's order.

    Raises:
        UserError: the file is missing or holds neither, has the wrong shape, or patterns that no such array can make.
    """
    remedy = f"store complex weights ({beams}, {elements}), or pattern ({beams}, angles) over azimuth_rad or angle_deg"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise UserError(f"not a readable codebook: {error}", path, remedy) from error
    if any(values.dtype.kind not in "iufc" for values in arrays.values()):
        raise UserError("holds something else than numbers", path, remedy)
    if "weights" in arrays:
        weights = arrays["weights"].astype(np.complex128)
    elif "pattern" in arrays and arrays.keys() & {"azimuth_rad", "angle_deg"}:
        azimuth_rad = arrays["azimuth_rad"] if "azimuth_rad" in arrays else np.radians(arrays["angle_deg"] - 90.0)
        weights = _solve_weights(arrays["pattern"], azimuth_rad, elements, path, remedy)
    else:
        raise UserError(f"holds {sorted(arrays)}", path, remedy)
    if weights.shape != (beams, elements):
        raise UserError(f"weights of shape {weights.shape}", path, remedy)
    norm = np.linalg.norm(weights, axis=-1, keepdims=True)
    if not np.isfinite(weights).all() or not (norm > 0).all():
        raise UserError("weights that are not finite, or a beam of zeros", path, remedy)
    return weights / norm


def _solve_weights(
    pattern: np.ndarray, azimuth_rad: np.ndarray, elements: int, path: str | Path, remedy: str
) -> Complex[np.ndarray, "beam element"]:
    if pattern.ndim != 2 or azimuth_rad.shape != pattern.shape[1:] or pattern.shape[1] < elements:
        raise UserError(f"pattern {pattern.shape} over azimuths {azimuth_rad.shape}", path, remedy)
    if not np.isfinite(pattern).all() or not np.isfinite(azimuth_rad).all():
        raise UserError("pattern that is not finite", path, remedy)
    response = ula_response(np.sin(azimuth_rad), elements)
    if np.iscomplexobj(pattern):
        weights = np.linalg.lstsq(response, pattern.T.astype(np.complex128), rcond=None)[0].T
        found = weights @ response.T
    elif (pattern < 0).any():
        raise UserError("magnitudes below zero", path, remedy)
    else:
        weights = _retrieved(pattern.astype(np.float64), response)
        found = np.abs(weights @ response.T)
    error = np.linalg.norm(found - pattern) / max(np.linalg.norm(pattern), np.finfo(float).tiny)
    if error > _PATTERN_FIT_LIMIT:
        raise UserError(f"pattern that {elements} elements miss by {error:.0%}", path, "store complex weights instead")
    return weights


def _retrieved(
    magnitude: Float[np.ndarray, "beam angle"], response: Complex[np.ndarray, "angle element"]
) -> Complex[np.ndarray, "beam element"]:
    """Weights whose patterns have nearly these magnitudes: phases and weights are fitted in turn."""
    solve = np.linalg.pinv(response).T
    weights = response[magnitude.argmax(axis=1)].conj()
    for _ in range(_RETRIEVAL_STEPS):
        weights = (magnitude * np.exp(1j * np.angle(weights @ response.T))) @ solve
    return weights


def with_phase_errors(
    weights: Complex[np.ndarray, "beam element"], phase_rad: Float[np.ndarray, "element"]
) -> Complex[np.ndarray, "beam element"]:
    """The weights of an array whose elements have fixed phase errors delta_n [rad]: f_n exp(j delta_n)."""
    return weights * np.exp(1j * phase_rad)


def reversed_order(weights: Complex[np.ndarray, "beam element"]) -> Complex[np.ndarray, "beam element"]:
    """The same beams numbered from the other end: DeepSense's index falls as the azimuth grows (counterclockwise)."""
    return weights[::-1].copy()
