"""The page of `levers`: what each changes at every site, and what pretraining is worth under it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jepa.experiments.on_sites.changes import LEVERS, backbone_of, control_of, slug
from jepa.experiments.on_sites.sites import sums_at, values_at
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.comparison import Estimate, difference, mean

__all__ = ["Results"]

SHOWN = {"l1_rsrp_db": "power lost, dB", "ade_m": "displacement error, m", "top1": "top-1"}
NOTE = """Judged on validation drives. In each cell: the mean; what the lever changes against the first row of its table
(in all rows but that one); what pretraining changes against random weights under the same lever. In brackets: 95 %
intervals over drives; a star: the interval excludes zero."""


@dataclass(frozen=True)
class Results:
    """All rows of the experiment.

    Attributes:
        rows: by their keys.
        sites: names of the datasets.
        levers: names of those that were tried.
        budget, described: name of the budget, and what it says.
    """

    rows: Mapping[str, Mapping[str, Any]]
    sites: Sequence[str]
    levers: Sequence[str]
    budget: str
    described: Mapping[str, Any]

    def page(self) -> str:
        """By metric, a table of the levers that are compared with the same one."""
        described = ", ".join(f"{key} {value}" for key, value in self.described.items() if key != "levers")
        lines = ["# Levers", "", f"Budget `{self.budget}`: {described}.", "", self._steps(), "", NOTE, ""]
        bases = dict.fromkeys(LEVERS[name].base for name in self.levers)
        for base in bases:
            names = [base, *(name for name in self.levers if LEVERS[name].base == base and name != base)]
            heads = "" if base == "none" else f", {base}"
            for metric, title in SHOWN.items():
                body = [[name, *(self._cell(site, name, metric, base) for site in self.sites)] for name in names]
                table = markdown_table(["lever", *self.sites], body)
                lines += [f"## {title[0].upper()}{title[1:]}{heads}", "", table, ""]
        return "\n".join(lines)

    def numbers(self) -> dict[str, Any]:
        """What the page prints, and the rows."""
        compared = {
            site: {name: {metric: self._compared(site, name, metric) for metric in SHOWN} for name in self.levers}
            for site in self.sites
        }
        return {"rows": self.rows, "values": values_at(self.rows, self.sites), "levers": compared}

    def _steps(self) -> str:
        """Whole epochs do not come out at the same number of optimiser steps."""
        own = dict.fromkeys(map(backbone_of, self.levers))
        found = [self.rows[f"twin/seed-0/{slug(name)}-pretraining"]["steps"] for name in own]
        return f"Optimiser steps of pretraining on the twin: {min(found):,} to {max(found):,}, in whole epochs."

    def _compared(self, site: str, name: str, metric: str) -> dict[str, Estimate]:
        """A lever's mean, and its differences to its base and to its control; empty where there is no such metric."""
        base = LEVERS[name].base
        own, other, control = (
            sums_at(self.rows, site, model, metric)
            for model in (f"{slug(name)}_pretrained", f"{slug(base)}_pretrained", f"{slug(control_of(name))}_random")
        )
        if own is None or other is None or control is None:
            return {}
        against_base = {} if name == base else {f"against {base}": difference(own, other)}
        return {"mean": mean(own), **against_base, "against random weights": difference(own, control)}

    def _cell(self, site: str, name: str, metric: str, base: str) -> str:
        compared = self._compared(site, name, metric)
        if not compared:
            return ""
        shown = ["against random weights"] if name == base else [f"against {base}", "against random weights"]
        starred = (f"{compared[key].text(sign=True)}{'*' if compared[key].excludes(0.0) else ''}" for key in shown)
        return "; ".join([f"{compared['mean'].value:.3f}", *starred])
