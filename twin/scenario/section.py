"""A section of scenario.yaml: unknown fields, NaN and infinities are refused."""

from pydantic import BaseModel, ConfigDict

__all__ = ["LARGEST_M", "Section"]

LARGEST_M = 10_000
"""Nothing of a scene lies or reaches further than this: the local frame is flat."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
