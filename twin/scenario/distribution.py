"""Distributions in place of numbers: any number of a scenario file may be drawn once an episode."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from twin.errors import UserError

__all__ = ["DISTRIBUTIONS", "Distribution", "Place", "allowing_distributions", "field_name", "leaves", "replaced"]

DISTRIBUTIONS = {
    "uniform": "two numbers, low and high",
    "loguniform": "two positive numbers, low and high",
    "normal": "mean and deviation",
    "integers": "two whole numbers, low and high, both included",
    "choice": "a list of numbers",
}


@dataclass(frozen=True)
class Distribution:
    """A distribution of one number."""

    kind: str
    values: tuple[float, ...]

    @classmethod
    def parse(cls, raw: dict[str, Any], place: str, where: object) -> "Distribution":
        """The distribution that a file holds at `place`.

        Raises:
            UserError: it is none.
        """
        (kind, values), *rest = raw.items()
        numeric = isinstance(values, list) and all(type(v) in (int, float) and math.isfinite(v) for v in values)
        good = not rest and numeric and (len(values) >= 1 if kind == "choice" else len(values) == 2)
        if good and kind in ("uniform", "loguniform", "integers"):
            good = values[0] <= values[1] and (kind != "loguniform" or values[0] > 0)
            good = good and (kind != "integers" or all(float(v).is_integer() for v in values))
        if good and kind == "normal":
            good = values[1] >= 0
        if not good:
            raise UserError(f"{place} = {raw}: no distribution", where, f"{kind} takes {DISTRIBUTIONS[kind]}")
        return cls(kind, tuple(values))

    def extremes(self) -> tuple[float, float]:
        """The smallest and the largest number that can be drawn."""
        if self.kind == "normal":
            return self.values[0] - 3 * self.values[1], self.values[0] + 3 * self.values[1]
        return min(self.values), max(self.values)

    def draw(self, rng: np.random.Generator) -> float:
        """A number."""
        a, b = self.values[0], self.values[-1]
        if self.kind == "choice":
            return self.values[int(rng.integers(len(self.values)))]
        if self.kind == "integers":
            return int(rng.integers(int(a), int(b) + 1))
        if self.kind == "normal":
            low, high = self.extremes()
            return float(np.clip(rng.normal(a, b), low, high))
        if self.kind == "loguniform":
            return float(np.exp(rng.uniform(np.log(a), np.log(b))))
        return float(rng.uniform(a, b))


Place = tuple[str | int, ...]
"""Keys and numbers that lead to a field."""


def leaves(raw: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Leaves of nested dictionaries and lists; a dictionary whose only key names a distribution is a leaf."""
    if isinstance(raw, dict) and not (len(raw) == 1 and next(iter(raw)) in DISTRIBUTIONS):
        for key, value in raw.items():
            yield from leaves(value, (*place, key))
    elif isinstance(raw, list):
        for number, value in enumerate(raw):
            yield from leaves(value, (*place, number))
    else:
        yield place, raw


def replaced(raw: Any, values: dict[Place, float], place: Place = ()) -> Any:
    """`raw` with numbers in the places of distributions."""
    if place in values:
        return values[place]
    if isinstance(raw, dict):
        return {key: replaced(value, values, (*place, key)) for key, value in raw.items()}
    if isinstance(raw, list):
        return [replaced(value, values, (*place, number)) for number, value in enumerate(raw)]
    return raw


def field_name(place: Place) -> str:
    """A place as users read it: `site.bs_height_m`."""
    return ".".join(map(str, place)) or "the file"


def allowing_distributions(schema: Any) -> Any:
    """A JSON Schema with a distribution allowed wherever a number is."""
    if isinstance(schema, list):
        return [allowing_distributions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("number", "integer"):
        about = {key: schema[key] for key in ("title", "description", "default") if key in schema}
        plain = {key: value for key, value in schema.items() if key not in about}
        return {**about, "anyOf": [plain, {"$ref": "#/$defs/Distribution"}]}
    return {key: allowing_distributions(value) for key, value in schema.items()}
