"""Who is where at one instant."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Actors"]


@dataclass(frozen=True)
class Actors:
    """The actors of an instant, the UE first.

    Attributes:
        identity: 0 the UE, -1 no actor.
        kind: index into `VEHICLE_CLASSES`, -1 for no actor.
        box: centre x, y, z, length, width, height [m], heading [rad]; anything where there is no actor.
        velocity_mps: east, north, up.
    """

    identity: Int[np.ndarray, "actor"]
    kind: Int[np.ndarray, "actor"]
    box: Float[np.ndarray, "actor 7"]
    velocity_mps: Float[np.ndarray, "actor 3"]

    @staticmethod
    def none() -> "Actors":
        """An empty street."""
        return Actors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 7)), np.empty((0, 3)))
