"""From transfer matrices to gains: what the antennas at both ends make of the paths."""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from twin.propagation.paths import Paths
from twin.radio.antenna import AntennaPattern, field

__all__ = ["through_antennas"]


def through_antennas(
    paths: Paths,
    bs: AntennaPattern,
    ue: AntennaPattern,
    ue_heading_rad: Float[np.ndarray, "*link"] | float = 0.0,
) -> Paths:
    """The paths with gain alpha = F_rx . T F_tx, sorted by |alpha|^2 (3GPP TR 38.901, eq. 7.5-22).

    Args:
        paths: of any number of links.
        bs: element of the base station, mounted in the world.
        ue: antenna of the UE, mounted on a vehicle that heads east.
        ue_heading_rad: of the vehicle.
    """
    heading = np.broadcast_to(np.asarray(ue_heading_rad, np.float64), paths.line_of_sight.shape)[..., None]
    sent = field(bs, paths.aod_rad[..., 0], paths.aod_rad[..., 1])
    seen = field(ue, paths.aoa_rad[..., 0] - heading, paths.aoa_rad[..., 1])
    gain = np.einsum("...i,...ij,...j->...", seen, paths.transfer.astype(np.complex128), sent)
    order = np.argsort(-np.where(paths.valid, np.abs(gain), -1.0), axis=-1, kind="stable")

    def sorted_by_power(array: np.ndarray) -> np.ndarray:
        place = order.reshape(*order.shape, *[1] * (array.ndim - order.ndim))
        return np.take_along_axis(array, place, axis=order.ndim - 1)

    along_paths: dict[str, Any] = {
        name: sorted_by_power(getattr(paths, name))
        for name in (
            "transfer", "delay_s", "aod_rad", "aoa_rad", "doppler_hz", "kind", "body", "facet", "vertices_m",
            "blockage_db", "valid",
        )
    }  # fmt: skip
    return replace(paths, gain=sorted_by_power(gain).astype(np.complex64), **along_paths)
