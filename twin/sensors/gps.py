"""GPS: the position of the car with an error that wanders (first-order Gauss-Markov) and one that does not (white)."""

import numpy as np
from jaxtyping import Float

from twin.geometry.coordinates import geodetic_deg

__all__ = ["GpsSensor"]


class GpsSensor:
    """A receiver whose error on each horizontal axis is e_k + w_k [m].

    e_{k+1} = rho e_k + sigma sqrt(1 - rho^2) n, rho = exp(-dt / tau), starts in its stationary law N(0, sigma^2), so
    that its autocorrelation is sigma^2 exp(-|t| / tau); w_k ~ N(0, white^2).
    """

    def __init__(
        self,
        origin_deg: Float[np.ndarray, "2"],
        frame_interval_s: float,
        sigma_m: float,
        tau_s: float,
        white_m: float,
    ) -> None:
        self._origin_deg = np.asarray(origin_deg, dtype=np.float64)
        self._rho = float(np.exp(-frame_interval_s / tau_s)) if tau_s > 0.0 else 0.0
        self._sigma_m, self._white_m = sigma_m, white_m
        self._error_m: np.ndarray | None = None

    def measure(self, position_m: Float[np.ndarray, "2"], rng: np.random.Generator) -> Float[np.ndarray, "2"]:
        """Latitude and longitude [deg] that the receiver reports at the next frame, for a true east and north [m]."""
        draw = rng.standard_normal(4)
        if self._error_m is None:
            self._error_m = self._sigma_m * draw[:2]
        else:
            self._error_m = self._rho * self._error_m + self._sigma_m * np.sqrt(1.0 - self._rho**2) * draw[:2]
        return geodetic_deg(position_m + self._error_m + self._white_m * draw[2:], self._origin_deg)
