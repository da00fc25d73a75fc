"""The page of `transfer`: what every cell lost, how many drives were saved, and what is to be held of the goal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from jepa.experiments.on_sites.sites import METRICS, sums_at
from jepa.experiments.pages.drawing import Caption, saved_drives
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.comparison import Claim, Sums, claim, difference, mean

__all__ = ["ALL", "Count", "Results"]

Count = int | str
"""A number of real drives, or `ALL`."""
Curve = tuple[list[float], list[float], list[float], list[float]]
ALL = "all"
"""The last column: all training drives of a fold."""
FEW, MANY = 4, 16
"""The goal: the twin and so few drives do as well as so many without it."""
TOLERANCE = 0.05
"""As well: at most this share more power lost."""
LOSS = "l1_rsrp_db"
TWIN = "jepa_twin"
MODELS = (TWIN, "jepa_real", "jepa_others", "jepa_shuffled", "gru_twin", "gru_real")
RIVALS = ("jepa_real", "gru_real")
"""Trained on real drives of the site alone."""
KINDS = {"data": "twin data", "pretraining": "pretraining", "heads": "heads", "gru_cascade": "gru_cascade on the twin"}
"""What a row before the cells is, by the end of its key."""
CROWDED = 1.2
"""Two numbers of drives this near cannot stand side by side in a figure."""


@dataclass(frozen=True)
class Results:
    """The rows of all cells.

    Attributes:
        rows: by key, data and pretraining among them.
        counts: by site, the numbers of drives in rising order, `ALL` the last.
        name, spent: the budget.
    """

    rows: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, Sequence[Count]]
    name: str
    spent: Mapping[str, Any]

    @cached_property
    def _cells(self) -> dict[tuple[str, str], dict[str, Mapping[str, Any]]]:
        """The rows of each site and model of one number of drives."""
        found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
        for key, row in self.rows.items():
            if "windows" in row and key.count("/") == 3:
                site, *_, cell = key.split("/")
                found.setdefault((site, cell), {})[key] = row
        return found

    def sums(self, site: str, model: str, count: Count, metric: str = LOSS) -> Sums | None:
        """A metric of a cell, or None where there is no such cell."""
        cell = f"{model}_{count}"
        return sums_at(self._cells.get((site, cell), {}), site, cell, metric)

    def drives(self, site: str, count: Count) -> float:
        """How many drives a column is trained with: all are not as many in every fold."""
        if isinstance(count, int):
            return count
        found = [rows for (where, cell), rows in self._cells.items() if where == site and cell.endswith(f"_{count}")]
        return float(np.mean([row["drives"] for rows in found for row in rows.values()]))

    def column(self, site: str, count: Count) -> str:
        """The head of a column."""
        return str(count) if isinstance(count, int) else f"{ALL} ({self.drives(site, count):.3g})"

    def models(self, site: str) -> list[str]:
        """The models of a site."""
        return [model for model in MODELS if self.sums(site, model, ALL)]

    def goals(self, site: str) -> list[Claim]:
        """Whether the twin with few drives is as good as each rival with many; none where there are not so few."""
        few = self.sums(site, TWIN, FEW)
        many = MANY if MANY in self.counts[site] else ALL
        found = []
        for rival in RIVALS:
            theirs = self.sums(site, rival, many)
            if few and theirs:
                text = f"{site}: the twin with {FEW} drives is as good as {rival} with {self.column(site, many)}"
                allowed = Sums((1 + TOLERANCE) * theirs.sums, theirs.windows)
                verdict = claim(text, difference(few, allowed), "lower")
                found.append(replace(verdict, difference=difference(few, theirs)))
        return found

    def reached_with(self, site: str, rival: str) -> Count | None:
        """The smallest number of drives with which a rival loses no more, in the mean, than the twin with few."""
        goal = self.sums(site, TWIN, FEW)
        for count in self.counts[site]:
            theirs = self.sums(site, rival, count)
            if goal and theirs and mean(theirs).value <= mean(goal).value:
                return count
        return None

    def saved(self, site: str, rival: str) -> str:
        """How many drives that saves."""
        count = self.reached_with(site, rival)
        more = "more than " if count is None else ""
        used = self.drives(site, ALL if count is None else count)
        return f"{more}{used - FEW:.3g}"

    def page(self) -> str:
        """Everything as Markdown."""
        spent = ", ".join(f"{key} {value}" for key, value in self.spent.items())
        lines = ["# Real drives that pretraining saves", "", f"Budget `{self.name}`: {spent}.", "", self.steps(), ""]
        lines += [self.cost(), "", NOTE, "", "## The goal", "", self._goal_table(), ""]
        lines += [f"- {goal}" for site in self.counts for goal in self.goals(site)]
        for site in self.counts:
            models = self.models(site)
            rivals = [model for model in models if model != TWIN]
            lines += ["", f"## {site}", "", f"![{site}]({figure_name(site)})", ""]
            lines += ["Power lost, dB [95 % interval] (top-1), by the number of real drives:", ""]
            lines += [self._table(site, {model: partial(self._loss, site, model) for model in models}), ""]
            lines += ["Difference in power lost, dB, paired by sequence (a star: its interval excludes zero):", ""]
            pairs = {f"{TWIN} - {rival}": partial(self._difference, site, rival) for rival in rivals}
            lines += [self._table(site, pairs), "", "Displacement error, m / RSSI error, dB:", ""]
            lines += [self._table(site, {model: partial(self._other_tasks, site, model) for model in models})]
        return "\n".join([*lines, ""])

    def _table(self, site: str, cells: Mapping[str, Callable[[Count], str]]) -> str:
        counts = self.counts[site]
        body = [[name, *(cell(count) for count in counts)] for name, cell in cells.items()]
        return markdown_table(["real drives", *(self.column(site, count) for count in counts)], body)

    def _goal_table(self) -> str:
        header = ["site", f"{TWIN} with {FEW} drives loses, dB"]
        for rival in RIVALS:
            header += [f"{rival} loses no more with", "drives saved"]
        body = []
        for site in self.counts:
            goal = self.sums(site, TWIN, FEW)
            if goal:
                body.append([site, mean(goal).text()])
                for rival in RIVALS:
                    count = self.reached_with(site, rival)
                    body[-1] += ["none" if count is None else self.column(site, count), self.saved(site, rival)]
        return markdown_table(header, body)

    def _loss(self, site: str, model: str, count: Count) -> str:
        loss, top1 = (self.sums(site, model, count, metric) for metric in (LOSS, "top1"))
        return f"{mean(loss).text()} ({mean(top1).value:.3f})" if loss and top1 else ""

    def _difference(self, site: str, rival: str, count: Count) -> str:
        """Negative: the twin loses less."""
        mine, theirs = (self.sums(site, model, count) for model in (TWIN, rival))
        if not mine or not theirs:
            return ""
        found = difference(mine, theirs)
        return f"{found.text(sign=True)}{'*' if found.excludes(0.0) else ''}"

    def _other_tasks(self, site: str, model: str, count: Count) -> str:
        ade, mae = (self.sums(site, model, count, metric) for metric in ("ade_m", "mae_db"))
        return f"{mean(ade).value:.3f} / {mean(mae).value:.3f}" if ade and mae else ""

    def steps(self) -> str:
        """Optimiser steps of every pretraining, which makes whole epochs."""
        found = {key.split("/")[0]: row["steps"] for key, row in self.rows.items() if key.endswith("/pretraining")}
        parts = ", ".join(f"{source} {steps:,}" for source, steps in found.items())
        return f"Optimiser steps of pretraining, in whole epochs: {parts}."

    def cost(self) -> str:
        """Core time by kind of row."""
        spent = self._cost()
        parts = ", ".join(f"{kind} {seconds / 60:.0f}" for kind, seconds in spent.items())
        return f"Cost: {sum(spent.values()) / 60:.0f} minutes of one core ({parts})."

    def _cost(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for key, row in self.rows.items():
            kind = key.rsplit("/", 1)[1]
            kind = "adapting" if "windows" in row and kind.startswith(MODELS) else KINDS[kind]
            found[kind] = found.get(kind, 0.0) + row["seconds"]
        return found

    def draw(self, out: Path) -> None:
        """Write the figure of each site."""
        for site, counts in self.counts.items():
            every = self.drives(site, ALL)
            drawn = [count for count in counts if count == ALL or self.drives(site, count) * CROWDED <= every]
            curves = {model: self._curve(site, model, drawn) for model in self.models(site)}
            protocol = f"Test parts of the split folds (folds {len(self.spent['folds'])}), budget {self.name}, seeds "
            protocol += (
                f"{self.spent['seeds']}, {self.spent['adapt_steps']} steps in every cell; bands: 95 % intervals "
            )
            protocol += "over whole drives"
            caption = Caption(f"{site}: power lost with few real drives and with many", protocol, MODELS)
            saved_drives(out / figure_name(site), curves, "power lost, dB", caption)

    def _curve(self, site: str, model: str, counts: Sequence[Count]) -> Curve:
        columns = []
        for count in counts:
            found = self.sums(site, model, count)
            if found:
                estimate = mean(found)
                columns.append(
                    (self.drives(site, count), estimate.value, *(estimate.interval or (estimate.value,) * 2))
                )
        drives, values, low, high = (list(column) for column in zip(*columns, strict=True))
        return drives, values, low, high

    def as_json(self) -> dict[str, Any]:
        """All numbers of the page, and the rows that they are of."""
        sites = {}
        for site, counts in self.counts.items():
            cells = {
                model: {str(count): self._numbers(site, model, count) for count in counts}
                for model in self.models(site)
            }
            sites[site] = {
                "drives": self.drives(site, ALL),
                "cells": cells,
                "goals": [goal.as_json() for goal in self.goals(site)],
                "saved": {rival: self.saved(site, rival) for rival in RIVALS if self.sums(site, TWIN, FEW)},
            }
        spent = {"name": self.name, **self.spent}
        return {"budget": spent, "seconds": self._cost(), "sites": sites, "rows": self.rows}

    def _numbers(self, site: str, model: str, count: Count) -> dict[str, Any]:
        found = {metric: self.sums(site, model, count, metric) for _, metric in METRICS}
        return {metric: mean(sums).as_json() for metric, sums in found.items() if sums}


def figure_name(site: str) -> str:
    """The file that holds the figure of a site."""
    return f"saved_drives_{site}.png"


NOTE = f"""`jepa` is the model of `best`: a frozen backbone, with heads that are trained with it before they are adapted
to the site. `twin` was pretrained on the twin's `drive_by`, `others` on the other sites, `shuffled` on the same twin
with the frames of each drive in any order; `real` has random weights and heads trained on the drives of the site alone.
`gru` is `gru_cascade`, pretrained on the same twin or on nothing. Every cell has as many optimiser steps, few drives or
many: with all drives that is few passes.
As good: at most {100 * TOLERANCE:g} % more power lost. That holds where all of the 95 % interval of the difference to
{100 + 100 * TOLERANCE:g} % of the other's loss lies below zero, does not hold where all of it lies above, and is else
undecided; the difference that is printed is the plain one. Drives are saved by the means: as many as the other needs
to lose no more, less {FEW}."""
