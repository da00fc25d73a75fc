"""Two models on the same sequences: means, differences and ratios with 95 % intervals, and what they say of a claim.

Neighbouring windows share frames, so that whole sequences are drawn, never windows. Two models are compared on the same
draws: what a sequence adds to both falls out of their difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from jepa.evaluation.metrics import BOOTSTRAP_DRAWS, tail_share
from twin.errors import UserError

__all__ = [
    "FEWEST_SEQUENCES",
    "Claim",
    "Direction",
    "Estimate",
    "Sums",
    "Verdict",
    "claim",
    "difference",
    "mean",
    "of_paper",
    "ratio",
]

FEWEST_SEQUENCES = 6
"""With fewer no ordering is significant: when all n sequences agree, a two-sided sign test gives 2 / 2^n > 0.05."""
SEED = 17


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval over sequences.

    Attributes:
        interval: (low, high); None for a single sequence, which has no spread.
        sequences: how many there were.
    """

    value: float
    interval: tuple[float, float] | None
    sequences: int

    def root(self) -> "Estimate":
        """The square root of an estimate, of a mean square say."""
        ends = self.interval and (float(np.sqrt(self.interval[0])), float(np.sqrt(self.interval[1])))
        return Estimate(float(np.sqrt(self.value)), ends, self.sequences)

    def text(self, decimals: int = 3, sign: bool = False) -> str:
        """As in "0.123 [0.100, 0.150]"; with `sign` as in "+0.123"."""
        form = f"{'+' if sign else ''}.{decimals}f"
        ends = "one sequence" if self.interval is None else ", ".join(f"{end:{form}}" for end in self.interval)
        return f"{self.value:{form}} [{ends}]"

    def as_json(self) -> dict[str, Any]:
        """As an experiment's JSON has it."""
        return {
            "value": self.value,
            "ci95": self.interval and list(self.interval),
            "sequences": self.sequences,
        }

    def excludes(self, value: float) -> bool:
        """Whether the interval, of enough sequences, leaves a value out."""
        if self.interval is None or self.sequences < FEWEST_SEQUENCES:
            return False
        return not self.interval[0] <= value <= self.interval[1]


@dataclass(frozen=True)
class Sums:
    """A metric of a model: its sum over the windows of each sequence, and how many windows they are."""

    sums: Float[np.ndarray, "sequence"]
    windows: Int[np.ndarray, "sequence"]

    def __post_init__(self) -> None:
        if self.sums.shape != self.windows.shape or self.sums.ndim != 1 or not len(self.sums):
            raise ValueError(f"sums of shape {self.sums.shape} over windows of shape {self.windows.shape}")
        if (self.windows <= 0).any() or not np.isfinite(self.sums).all():
            raise ValueError("a sequence without windows, or a sum that is not finite")

    @classmethod
    def of(cls, places: Iterable[Sequence[Mapping[str, Any]]], metric: str) -> "Sums":
        """From the rows of a model: for each place, which is a fold or a scenario, those of its seeds.

        Seeds are averaged in each sequence, since they are no further sequences; places follow one another.

        Raises:
            UserError: there is no row, or the seeds of a place saw other windows.
        """
        sums, windows = [], []
        for seeds in places:
            found = [row["windows"] for row in seeds]
            if any(other != found[0] for other in found):
                raise UserError("rows of one place count other windows", metric, "compute them again on one dataset")
            sums.append(np.mean([row[metric] for row in seeds], axis=0))
            windows.append(found[0])
        if not sums:
            raise UserError("there is no row", metric, "compute some")
        return cls(np.concatenate(sums).astype(float), np.concatenate(windows).astype(int))


@cache
def _drawn(sequences: int) -> Int[np.ndarray, "draw sequence"]:
    """Which sequences each draw holds: the same for everything with as many sequences."""
    return np.random.default_rng(SEED).integers(0, sequences, (BOOTSTRAP_DRAWS, sequences))


def _estimate(above: Float[np.ndarray, "sequence"], below: Float[np.ndarray, "sequence"]) -> Estimate:
    """sum(above) / sum(below), and quantiles of the same over the draws."""
    value, count = float(above.sum() / below.sum()), len(above)
    if count == 1:
        return Estimate(value, None, 1)
    drawn, level = _drawn(count), tail_share(count)
    low, high = np.quantile(above[drawn].sum(1) / below[drawn].sum(1), [level, 1 - level])
    return Estimate(value, (float(low), float(high)), count)


def mean(model: Sums) -> Estimate:
    """Mean over windows."""
    return _estimate(model.sums, model.windows)


def _same_windows(first: Sums, second: Sums) -> None:
    if not np.array_equal(first.windows, second.windows):
        raise UserError("two models were not judged on the same windows", "comparison", "predict one part with both")


def difference(first: Sums, second: Sums) -> Estimate:
    """Mean of the first less mean of the second, paired by sequence.

    Raises:
        UserError: they were not judged on the same windows.
    """
    _same_windows(first, second)
    return _estimate(first.sums - second.sums, first.windows)


def ratio(first: Sums, second: Sums) -> Estimate:
    """Mean of the first over mean of the second, both of the same drawn sequences.

    Raises:
        UserError: they were not judged on the same windows, or the second is not positive in some draw.
    """
    _same_windows(first, second)
    if second.sums.sum() <= 0 or (second.sums[_drawn(len(second.sums))].sum(1) <= 0).any():
        raise UserError("a draw may divide by nothing", "comparison", "compare by the difference")
    return _estimate(first.sums, second.sums)


Direction = Literal["lower", "higher"]
Verdict = Literal["holds", "does not hold", "undecided"]


@dataclass(frozen=True)
class Claim:
    """An ordering that somebody claims, and what the measured difference says of it.

    Attributes:
        paper: the difference that the paper prints, if it does.
    """

    text: str
    verdict: Verdict
    difference: Estimate
    paper: float | None = None

    def __str__(self) -> str:
        measured = f"{self.difference.text(sign=True)}, {self.difference.sequences} sequences"
        return f"{self.text}: {self.verdict}, {measured}{of_paper(self.paper)}"

    def as_json(self) -> dict[str, Any]:
        """As an experiment's JSON has it: the value is the difference."""
        return {"claim": self.text, "verdict": self.verdict, **self.difference.as_json(), "paper": self.paper}


def of_paper(difference: float | None) -> str:
    """The end of a claim's line: the difference that the paper prints, if it does."""
    return "" if difference is None else f"; paper {difference:+g}"


def claim(text: str, difference: Estimate, direction: Direction, paper: float | None = None) -> Claim:
    """Whether the first model is `direction` than the second, by the sign of a difference whose interval excludes zero.

    "does not hold" says that the opposite was shown; what no interval shows, or of fewer than `FEWEST_SEQUENCES`
    sequences, is "undecided".
    """
    verdict: Verdict = "undecided"
    if difference.excludes(0.0):
        found = "lower" if difference.value < 0 else "higher"
        verdict = "holds" if found == direction else "does not hold"
    return Claim(text, verdict, difference, paper)
