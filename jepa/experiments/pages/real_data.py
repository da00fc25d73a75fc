"""The page of `real-data`: what pretraining adds on the twin, then for real sites the goals, the power lost,
differences between models, and the other tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jepa.baselines import BASELINES, RADIO_BASELINES, InterpolationCeiling
from jepa.experiments.on_sites.sites import sums_at, values_at
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.comparison import Estimate, Sums, difference, ratio
from twin.errors import UserError

__all__ = ["BACKBONES", "KINDS", "RIVAL_ALONE", "TWIN", "Results"]

TWIN = "drive_by"
BACKBONES = ("pretrained", "random")
KINDS = ("jepa", "latents", "fused")
"""The preset `best`; the paper's heads on its latents alone; these on those of fusion tokens."""
SUMMED_UP = "twin_jepa_pretrained_1"
"""The model that the goals are about."""
RIVAL_ALONE = "site_gru_cascade"
"""The baseline `gru_cascade` with the inputs of `best`, trained on a site alone."""
RATIO = "ratio of power lost"
STAR = "Negative: the first loses less. A star: the interval excludes zero."
EXTRAPOLATED = ("constant_velocity", "least_squares_velocity", "kalman")
"""Plain ways to extrapolate positions."""
GOALS = f"""Best: the one of the baselines without the twin that loses least power on these very drives. Ratio: power
that `{SUMMED_UP}` loses over what the best loses, and over what `{RIVAL_ALONE}` loses, `gru_cascade` with the
inputs of `best`: what the twin and the backbone add to these. Displacement error: of `{SUMMED_UP}` less that of
each. A star: the interval excludes 1 (ratio) or 0."""


def _cost(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Core time by kind of row."""
    kinds = {"data": "twin data", "with-sites": "pretraining with the sites"}
    kinds |= {f"{heads}-pretraining": "pretraining" for heads in KINDS}
    kinds["jepa_paper"] = "the paper's recipe"
    sums: dict[str, float] = {}
    for key, row in rows.items():
        model = key.rsplit("/", 1)[1]
        kind = kinds.get(model, "on the twin" if key.startswith(f"{TWIN}/") else "baselines")
        kind = "adapting" if model.startswith("twin_") else kind
        sums[kind] = sums.get(kind, 0.0) + row["seconds"]
    parts = ", ".join(f"{kind} {seconds / 60:.0f}" for kind, seconds in sums.items())
    return f"Cost: {sum(sums.values()) / 60:.0f} minutes of one core ({parts})."


def _ratio(mine: Sums, theirs: Sums) -> Estimate | None:
    """Nothing where a few drives on which the rival loses nothing could be all that is drawn."""
    try:
        return ratio(mine, theirs)
    except UserError:
        return None


def _starred(found: Estimate | None, equal: float = 0.0) -> str:
    """An estimate with a star where its interval excludes the value of two that are equal."""
    return "" if found is None else f"{found.text(sign=equal == 0)}{'*' if found.excludes(equal) else ''}"


def _pairs(shares: Sequence[float]) -> list[tuple[str, str]]:
    """The preset `best` against everything, heads on latents alone against their controls; of these `fused` also
    against the control of `latents`, whose random weights mix no modalities and lose less."""
    found = [(SUMMED_UP, rival) for rival in ("gru_power_position", "gru_cascade", RIVAL_ALONE)]
    for share in (*sorted(shares, reverse=True), 0.0):
        for heads in KINDS:
            found.append((f"twin_{heads}_pretrained_{share:g}", f"twin_{heads}_random_{share:g}"))
        found.append((f"twin_fused_pretrained_{share:g}", f"twin_latents_random_{share:g}"))
        found += [(f"twin_{heads}_pretrained_{share:g}", f"twin_gru_cascade_{share:g}") for heads in ("jepa", "fused")]
    return found


@dataclass(frozen=True)
class Results:
    """The rows of all models. Of a sequence the seeds are averaged; the interval is over sequences."""

    rows: Mapping[str, Mapping[str, Any]]
    scenarios: Sequence[str]

    def page(self, budget: str, spent: Mapping[str, Any], seeds: int) -> str:
        """All tables.

        Args:
            budget, spent: its name, and what it is.
            seeds: how many are there.
        """
        split = f"{len(spent['folds'])} folds" if spent["folds"] else "split blocked"
        under = f"{split}, {seeds} seed{'s' if seeds > 1 else ''}"
        under += "" if seeds == spent["seeds"] else f" of {spent['seeds']}"
        lost = "power lost, dB [95 % interval] (top-1)"
        lines = [f"Budget `{budget}`: {', '.join(f'{key} {value}' for key, value in spent.items())}.", ""]
        lines += [_cost(self.rows), ""]
        lines += [f"### {TWIN}, held-out drives: {lost}", "", self.on_twin(), ""]
        lines += [f"### {under}: {lost}", "", self.losses(), ""]
        lines += [f"### {under}: against the best baseline", "", self.goals(), "", GOALS, ""]
        lines += [
            f"### {under}: difference in power lost, dB, paired by sequence",
            "",
            self.differences(),
            "",
            STAR,
            "",
        ]
        lines += [f"### {under}: displacement error, m / RSSI error, dB", "", self.other_tasks(), ""]
        return "\n".join(lines)

    @property
    def _models(self) -> list[str]:
        named = [key for key in self.rows if key.split("/")[0] in self.scenarios]
        return sorted({key.rsplit("/", 1)[1] for key in named}, key=_order)

    def _sums(self, scenario: str, model: str, metric: str) -> Sums | None:
        return sums_at(self.rows, scenario, model, metric)

    @cached_property
    def values(self) -> dict[str, dict[str, dict[str, Estimate]]]:
        """Every metric, by scenario and model; those on the twin among them."""
        return values_at(self.rows, [TWIN, *self.scenarios])

    def _value(self, scenario: str, model: str, metric: str) -> Estimate | None:
        return self.values[scenario].get(model, {}).get(metric)

    def _mean(self, scenario: str, model: str, metric: str) -> str:
        found = self._value(scenario, model, metric)
        return f"{found.value:.3f}" if found else ""

    def _loss(self, scenario: str, model: str) -> str:
        found = self._value(scenario, model, "l1_rsrp_db")
        return f"{found.text()} ({self._mean(scenario, model, 'top1')})" if found else ""

    def _difference(self, scenario: str, model: str, rival: str, metric: str = "l1_rsrp_db") -> Estimate | None:
        mine, theirs = (self._sums(scenario, name, metric) for name in (model, rival))
        return difference(mine, theirs) if mine and theirs else None

    def numbers(self) -> dict[str, Any]:
        """What the tables print: values, differences in power lost (by pair), and the goals, by scenario."""
        found = {scenario: self._differences(scenario) for scenario in self.scenarios}
        goals = {scenario: self._goals(scenario) for scenario in self.scenarios}
        return {"values": self.values, "differences": {TWIN: self._on_twin(), **found}, "goals": goals}

    def _on_twin(self) -> dict[str, Estimate | None]:
        pairs = [(f"{heads}_pretrained", f"{heads}_random") for heads in KINDS]
        return {f"{model} - {rival}": self._difference(TWIN, model, rival) for model, rival in pairs}

    def on_twin(self) -> str:
        """Frozen backbones and their controls on drives of the twin that nothing was trained on."""
        body = [
            [
                heads,
                *(self._loss(TWIN, f"{heads}_{backbone}") for backbone in BACKBONES),
                _starred(found),
            ]
            for heads, found in zip(KINDS, self._on_twin().values(), strict=True)
        ]
        return markdown_table(["heads", *BACKBONES, "difference"], body)

    def losses(self) -> str:
        """Power lost and top-1 of every model."""
        models = [model for model in self._models if any(self._loss(scenario, model) for scenario in self.scenarios)]
        body = [[model, *(self._loss(scenario, model) for scenario in self.scenarios)] for model in models]
        return markdown_table(["model", *self.scenarios], body)

    def _best(self, scenario: str) -> str | None:
        """The baseline without the twin that loses least."""
        found = {name: self._value(scenario, name, "l1_rsrp_db") for name in RADIO_BASELINES}
        losses = {name: one.value for name, one in found.items() if one}
        return min(losses, key=losses.__getitem__) if losses else None

    def _goals(self, scenario: str) -> dict[str, Any]:
        """The model against the best baseline of a site, and against plain ways to extrapolate positions."""
        best = self._best(scenario)
        return {
            "best": best,
            RATIO: self._ratio(scenario, best or ""),
            "difference in top-1": self._difference(scenario, SUMMED_UP, best or "", "top1"),
            f"{RATIO}, {RIVAL_ALONE}": self._ratio(scenario, RIVAL_ALONE),
            f"difference in top-1, {RIVAL_ALONE}": self._difference(scenario, SUMMED_UP, RIVAL_ALONE, "top1"),
            **{
                f"displacement error, {name}": self._difference(scenario, SUMMED_UP, name, "ade_m")
                for name in EXTRAPOLATED
            },
        }

    def _ratio(self, scenario: str, rival: str) -> Estimate | None:
        mine, theirs = (self._sums(scenario, name, "l1_rsrp_db") for name in (SUMMED_UP, rival))
        return _ratio(mine, theirs) if mine and theirs else None

    def goals(self) -> str:
        """The goals of all sites."""
        found = [self._goals(scenario) for scenario in self.scenarios]
        body = [["best", *(goals["best"] or "" for goals in found)]]
        for name in list(found[0])[1:]:
            equal = 1.0 if name.startswith(RATIO) else 0.0
            body.append([name, *(_starred(goals[name], equal) for goals in found)])
        return markdown_table(["", *self.scenarios], body)

    def _differences(self, scenario: str) -> dict[str, Estimate | None]:
        """Differences in power lost of a site, by pair."""
        shares = {float(model.rsplit("_", 1)[1]) for model in self._models if model.startswith("twin_")} - {0.0}
        return {f"{m} - {r}": self._difference(scenario, m, r) for m, r in _pairs(sorted(shares))}

    def differences(self) -> str:
        """Negative: the first loses less power. A star: the interval excludes zero."""
        found = [self._differences(scenario) for scenario in self.scenarios]
        body = [[pair, *(_starred(own[pair]) for own in found)] for pair in found[0]]
        return markdown_table(["pair", *self.scenarios], [row for row in body if any(row[1:])])

    def other_tasks(self) -> str:
        """Displacement and RSSI error of every model."""

        def cell(scenario: str, model: str) -> str:
            parts = [self._mean(scenario, model, metric) for metric in ("ade_m", "mae_db")]
            return " / ".join(part or "-" for part in parts)

        body = [[model, *(cell(scenario, model) for scenario in self.scenarios)] for model in self._models]
        return markdown_table(["model", *self.scenarios], body)


def _order(model: str) -> tuple[int, str]:
    """Baselines as they are registered, the rival of the site alone, the ceiling, the published recipe, then what knows
    the twin."""
    known = [*BASELINES, RIVAL_ALONE, InterpolationCeiling.name, "jepa_paper"]
    return (known.index(model), "") if model in known else (len(known), model)
