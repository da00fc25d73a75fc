"""Figures of the experiments as PNG files: plain arrays in, no state kept, the same input gives the same bytes.

Each kind has a function that builds the figure (`..._figure`) and one that writes it. The colours are told apart by the
colour-blind (Okabe and Ito), and dashes and markers tell the same. What cannot be drawn, such as NaN, is a `UserError`,
and so is that matplotlib (the extra `figures`) is not installed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jepa.data.windows import T_PRED
from jepa.experiments.pages.canvas import (
    Caption,
    Interval,
    blank_figure,
    checked_interval,
    checked_numbers,
    label_ends,
    logarithmic,
    looks_of,
    of_several_sizes,
    own_style,
    refuse_none,
    save_figure,
    scale_of_sizes,
)
from twin.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Caption",
    "against_horizon",
    "against_horizon_figure",
    "bars",
    "bars_figure",
    "cdf",
    "cdf_figure",
    "mismatch",
    "mismatch_figure",
    "saved_drives",
    "saved_drives_figure",
]

DECADES = 100.0
"""A logarithmic axis of a distribution begins at most so far below the best curve's end."""
NEAR, FAR = 4, 16
"""Beam mismatches from here on are tails, from there on one bar."""
FAR_APART = 6.0
"""From this ratio of the largest to the smallest error on, curves against the horizon stand on a logarithmic axis."""
BAND = 0.13
"""Opacity of intervals."""
LEGEND_COLUMNS, LEGEND_ROW_IN = 4, 0.2


def cdf_figure(curves: Mapping[str, ArrayLike], xlabel: str, caption: Caption) -> "Figure":
    """Share of the windows whose error is at most x (paper, Fig. 4). The legend is sorted by the median.

    The axis ends where all but the worst curves have reached 95 %. Where the medians are of several sizes it is
    logarithmic, and every curve is on it.

    Args:
        curves: by model, the error of each window.
        xlabel: what the error is, with its unit.
    """
    refuse_none(curves)
    errors = {model: np.sort(checked_numbers(model, values)[0]) for model, values in curves.items()}
    looks = looks_of(list(errors), caption)
    with own_style():
        figure = blank_figure(3.5, caption)
        axes = figure.add_subplot()
        for model in sorted(errors, key=lambda model: float(np.median(errors[model]))):
            found = errors[model]
            share = np.arange(1, len(found) + 1) / len(found)
            look = looks[model]
            name = f"{model} ({np.median(found):.3g})"
            axes.plot(
                found, share, drawstyle="steps-post", color=look.color, linestyle=look.linestyle, label=name, gid=model
            )
        ends = [np.quantile(found, 0.95) for found in errors.values()]
        if of_several_sizes(np.array([np.median(found) for found in errors.values()])):
            first = min(float(np.quantile(found, 0.02)) for found in errors.values())
            axes.set_xlim(max(first, min(ends) / DECADES), 1.3 * max(ends))
            logarithmic(axes, "x")
        else:
            axes.set_xlim(0, 1.1 * min(max(ends), 2.5 * float(np.median(ends))))
        axes.set_ylim(0, 1.01)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("share of windows")
        figure.legend(loc="outside right center", title="model (median)", alignment="left", title_fontsize=9)
    return figure


def cdf(path: Path, curves: Mapping[str, ArrayLike], xlabel: str, caption: Caption) -> None:
    """Write `cdf_figure`."""
    with own_style():
        save_figure(cdf_figure(curves, xlabel, caption), path)


def against_horizon_figure(
    panels: Mapping[str, Mapping[str, Interval]], caption: Caption, *, shares: bool = False
) -> "Figure":
    """Metrics at each of the five future steps, with intervals as bands (paper, Figs. 5, 6, 9).

    A panel whose errors are far apart has a logarithmic axis.

    Args:
        panels: by the label of the vertical axis: by model, values, lower and upper ends, five each.
        shares: the values are shares of all: their axes are linear, and begin at zero.
    """
    refuse_none(panels)
    for curves in panels.values():
        refuse_none(curves)
    models = list(dict.fromkeys(model for curves in panels.values() for model in curves))
    looks = looks_of(models, caption)
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    steps = np.arange(1, T_PRED + 1)
    with own_style():
        height_in = 3.4 if len(panels) == 1 else 2.4 * rows + LEGEND_ROW_IN * -(-len(models) // LEGEND_COLUMNS)
        figure = blank_figure(height_in, caption)
        for place, (label, curves) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(rows, columns, place)
            drawn = []
            for model, given in curves.items():
                value, low, high = checked_interval(f"{label}, {model}", given, T_PRED)
                drawn.append(value)
                look = looks[model]
                axes.fill_between(steps, low, high, color=look.color, alpha=BAND, linewidth=0)
                axes.plot(steps, value, **look._asdict(), label=model, gid=model)
            axes.set_xticks(steps)
            axes.set_xlabel("future step")
            axes.set_ylabel(label)
            axes.margins(x=0.04)
            if shares:
                axes.set_ylim(bottom=0)
            elif of_several_sizes(np.concatenate(drawn), FAR_APART):
                logarithmic(axes, "y")
        if len(panels) == 1:
            ends = {model: (T_PRED, float(np.asarray(given[0])[-1])) for model, given in curves.items()}
            label_ends(figure, axes, ends, looks)
        else:
            handles = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
            figure.legend(
                [handles[model] for model in models], models, loc="outside lower center", ncols=LEGEND_COLUMNS
            )
    return figure


def against_horizon(
    path: Path, panels: Mapping[str, Mapping[str, Interval]], caption: Caption, *, shares: bool = False
) -> None:
    """Write `against_horizon_figure`."""
    with own_style():
        save_figure(against_horizon_figure(panels, caption, shares=shares), path)


def bars_figure(
    models: Mapping[str, Interval], xlabel: str, caption: Caption, paper: Mapping[str, float] | None = None
) -> "Figure":
    """One number a model, with its interval; a diamond where the paper prints one (paper, Fig. 7, Table III).

    Args:
        paper: by model, the paper's value, which is of other data and, mostly, of a leaky split.
    """
    refuse_none(models)
    looks = looks_of(list(models), caption)
    numbers = {model: [float(end[0]) for end in checked_interval(model, given, 1)] for model, given in models.items()}
    printed = dict(paper or {})
    unknown = [model for model in printed if model not in models]
    if unknown:
        raise UserError(f"the paper's {unknown[0]} is not among the models", "figure", "leave it out")
    with own_style():
        figure = blank_figure(0.75 + 0.34 * len(models) + 0.25 * bool(printed), caption)
        axes = figure.add_subplot()
        for place, (model, (value, low, high)) in enumerate(numbers.items()):
            axes.barh(place, value, height=0.62, color=looks[model].color, alpha=0.85, gid=model)
            axes.plot([low, high], [place, place], color="#222222", linewidth=1.3, marker="|", markersize=6)
            text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            axes.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", size=9)
        places = [list(models).index(model) for model in printed]
        handles = axes.plot(list(printed.values()), places, "D", color="white", gid="paper")
        handles[0].set(markeredgecolor="#222222", markersize=6)
        axes.set_yticks(range(len(models)), list(models))
        axes.set_ylim(len(models) - 0.45, -0.55)
        ends = [0.0, *(end for found in numbers.values() for end in found), *printed.values()]
        axes.set_xlim(1.04 * min(ends), 1.04 * max(ends))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(xlabel)
        if printed:
            figure.legend(handles, ["printed in the paper"], loc="outside lower right", handlelength=1)
    return figure


def bars(
    path: Path,
    models: Mapping[str, Interval],
    xlabel: str,
    caption: Caption,
    paper: Mapping[str, float] | None = None,
) -> None:
    """Write `bars_figure`."""
    with own_style():
        save_figure(bars_figure(models, xlabel, caption, paper), path)


def mismatch_figure(models: Mapping[str, ArrayLike], caption: Caption) -> "Figure":
    """Share of the predictions whose beam is 0, 1, ... beams from the best one (paper, Fig. 8).

    Small mismatches and tails stand side by side, each on its own scale; the last bar is everything from 16 on.

    Args:
        models: by model, the shares of 0, 1, ... 63, which sum to one.
    """
    refuse_none(models)
    looks = looks_of(list(models), caption)
    with own_style():
        figure = blank_figure(3.2 + LEGEND_ROW_IN * -(-len(models) // LEGEND_COLUMNS), caption)
        near, far = figure.subplots(1, 2, width_ratios=(1, 1.9))
        for number, (model, given) in enumerate(models.items()):
            share = checked_numbers(model, given)[0]
            if len(share) != 64 or (share < 0).any() or not np.isclose(share.sum(), 1, atol=1e-6):
                raise UserError("needs 64 shares that sum to one", f"figure, {model}", "divide counts by their sum")
            drawn = np.append(share[:FAR], share[FAR:].sum())
            width = 0.84 / len(models)
            place = np.arange(FAR + 1) - 0.42 + width * (number + 0.5)
            for axes, part in ((near, slice(0, NEAR)), (far, slice(NEAR, FAR + 1))):
                axes.bar(place[part], drawn[part], width, color=looks[model].color, label=model, gid=model)
        near.set_xticks(range(NEAR))
        far.set_xticks(range(NEAR, FAR + 1), [*map(str, range(NEAR, FAR)), f"{FAR}+"])
        near.set_ylabel("share of predictions")
        near.set_title("near", loc="left")
        far.set_title("tail (own scale)", loc="left")
        for axes in (near, far):
            axes.grid(axis="x", visible=False)
            axes.set_xlabel("|predicted beam - best beam|")
        figure.legend(*near.get_legend_handles_labels(), loc="outside lower center", ncols=LEGEND_COLUMNS)
    return figure


def mismatch(path: Path, models: Mapping[str, ArrayLike], caption: Caption) -> None:
    """Write `mismatch_figure`."""
    with own_style():
        save_figure(mismatch_figure(models, caption), path)


def saved_drives_figure(
    models: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
    ylabel: str,
    caption: Caption,
) -> "Figure":
    """A metric over the number of real drives in training, on a logarithmic axis that begins with none.

    Args:
        models: by model, numbers of drives in rising order, values, lower and upper ends. The largest number of all
            models is labelled "all".
    """
    refuse_none(models)
    looks = looks_of(list(models), caption)
    drives = {model: checked_numbers(model, *given)[0] for model, given in models.items()}
    for model, numbers in drives.items():
        if (np.diff(numbers) <= 0).any() or numbers[0] < 0:
            raise UserError("numbers of drives do not rise", f"figure, {model}", "sort them, each once")
    every = sorted({float(number) for numbers in drives.values() for number in numbers})
    positive = [number for number in every if number > 0]
    if not positive:
        raise UserError("no model was trained on any drive", "figure", "use bars")
    with own_style():
        figure = blank_figure(3.4, caption)
        axes = figure.add_subplot()
        for model, (_, *given) in models.items():
            value, low, high = checked_interval(model, (given[0], given[1], given[2]))
            look = looks[model]
            axes.fill_between(drives[model], low, high, color=look.color, alpha=BAND, linewidth=0)
            axes.plot(drives[model], value, **look._asdict(), label=model, gid=model)
        axes.set_xscale("symlog", base=2, linthresh=positive[0], linscale=0.5)
        names = [f"{number:g}" for number in every]
        names[-1] = f"all ({names[-1]})"
        axes.set_xticks(every, names)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("real drives in training")
        axes.set_ylabel(ylabel)
        axes.margins(x=0.03)
        scale_of_sizes(axes, np.concatenate([np.asarray(end, float) for _, *given in models.values() for end in given]))
        ends = {model: (float(drives[model][-1]), float(np.asarray(given[1])[-1])) for model, given in models.items()}
        label_ends(figure, axes, ends, looks)
    return figure


def saved_drives(
    path: Path,
    models: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
    ylabel: str,
    caption: Caption,
) -> None:
    """Write `saved_drives_figure`."""
    with own_style():
        save_figure(saved_drives_figure(models, ylabel, caption), path)
