"""Rays launched evenly over all directions."""

import math

from twin.compiled import inlined

__all__ = ["launched"]

_GOLDEN_RAD = math.pi * (3.0 - math.sqrt(5.0))


@inlined
def launched(number, count):  # type: ignore[no-untyped-def]
    """Unit vector of ray `number` of `count`: a spiral in golden angles from straight up to straight down."""
    z = 1.0 - (2.0 * number + 1.0) / count
    plan = math.sqrt(1.0 - z * z)
    return plan * math.cos(_GOLDEN_RAD * number), plan * math.sin(_GOLDEN_RAD * number), z
