"""What the figures have in common: caption, colours, style, checks of what is drawn, names beside lines, PNG files."""

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from twin.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "Caption",
    "Interval",
    "Look",
    "blank_figure",
    "check_that_figures_can_be_drawn",
    "checked_interval",
    "checked_numbers",
    "label_ends",
    "logarithmic",
    "looks_of",
    "of_several_sizes",
    "own_style",
    "refuse_none",
    "save_figure",
    "scale_of_sizes",
]

WIDTH_IN, DPI = 8.0, 160
"""A page of GitHub shows some 830 of these 1280 pixels."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#6B6B6B", "#6A2C91", "#8C510A")
DASHES = ("-", (0, (5, 1.5)), (0, (4, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#222222",
    "axes.titlesize": 10.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "legend.handlelength": 2.6,
}
LEADER = {"arrowstyle": "-", "lw": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5)}
STEEP = 5.0
"""From this ratio of the largest to the smallest value on, an axis of positive values is logarithmic."""
LONG = 500.0
"""Ratio of the ends of a logarithmic axis from which on it names powers of ten alone."""

Interval = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Values, and the lower and upper ends of their intervals."""


@dataclass(frozen=True)
class Caption:
    """What stands above a figure.

    Attributes:
        title: what is shown.
        protocol: how the numbers were made: split, part, budget, seeds, what the intervals are.
        order: all models of a report, whose colours then stay the same from figure to figure; none: as they are drawn.
    """

    title: str
    protocol: str
    order: Sequence[str] = ()


class Look(NamedTuple):
    """How a model is drawn, in matplotlib's words."""

    color: str
    linestyle: Any
    marker: str


def looks_of(models: Sequence[str], caption: Caption) -> dict[str, Look]:
    """How each model is drawn, by its place in the order, where that is given.

    Raises:
        UserError: a model is not in the order, or there are too many.
    """
    places = list(caption.order or models)
    unknown = [model for model in models if model not in places]
    if unknown:
        raise UserError(f"{unknown[0]} has no place in the order of models", "figure", "name all models there")
    if len(places) > len(COLOURS) * len(DASHES):
        raise UserError(f"{len(places)} models cannot be told apart", "figure", f"draw {len(COLOURS)} or fewer")
    found = {}
    for model in models:
        k = places.index(model)
        found[model] = Look(COLOURS[k % len(COLOURS)], DASHES[(k // 3 + k // 9) % 3], MARKERS[k % len(MARKERS)])
    return found


def checked_numbers(name: str, *arrays: ArrayLike) -> list[Float[np.ndarray, "value"]]:
    """Arrays of one length, all finite.

    Raises:
        UserError: they are not.
    """
    found = [np.atleast_1d(np.asarray(array, dtype=float)) for array in arrays]
    if any(array.shape != found[0].shape or array.ndim != 1 or not array.size for array in found):
        shapes = ", ".join(str(array.size) for array in found)
        raise UserError(
            f"lengths {shapes} do not fit each other", f"figure, {name}", "give as many of each, at least one"
        )
    if not all(np.isfinite(array).all() for array in found):
        raise UserError(
            "holds numbers that are not finite", f"figure, {name}", "leave the model out, or evaluate it again"
        )
    return found


def checked_interval(name: str, given: Interval, length: int | None = None) -> list[Float[np.ndarray, "value"]]:
    """Values, lower and upper ends; `length` of each, where only one length will do."""
    value, low, high = checked_numbers(name, *given)
    if length is not None and len(value) != length:
        raise UserError(f"{len(value)} values", f"figure, {name}", f"give {length}")
    if (low > high).any():
        raise UserError("an interval's lower end is above its upper one", f"figure, {name}", "give value, low, high")
    return [value, low, high]


def refuse_none(models: Mapping[str, Any]) -> None:
    """Refuse a figure of nothing.

    Raises:
        UserError: there is no model.
    """
    if not models:
        raise UserError("there is no model", "figure", "give at least one")


@contextmanager
def own_style() -> Iterator[None]:
    """Our own style, whatever the user's settings are, until the end of the block.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("matplotlib is not installed", "figures", "pip install 'jepa-msac-twin[figures]'") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        settings.update(STYLE)
        yield


def check_that_figures_can_be_drawn() -> None:
    """Say, before hours of work, that matplotlib is not installed.

    Raises:
        UserError: it is not.
    """
    with own_style():
        pass


def blank_figure(height_in: float, caption: Caption) -> "Figure":
    """An empty figure below its title and the line that says how the numbers were made."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    heading, small = textwrap.wrap(caption.title, 82), textwrap.wrap(caption.protocol, 112)
    top_in = 0.12 + 0.22 * len(heading) + 0.17 * len(small)
    height_in += top_in
    below_heading = (0.0, 0.0, 1.0, 1.0 - top_in / height_in)
    figure = Figure((WIDTH_IN, height_in), layout=ConstrainedLayoutEngine(rect=below_heading))
    figure.text(0.012, 1 - 0.08 / height_in, "\n".join(heading), va="top", weight="bold", size=11.5)
    below = 0.1 + 0.22 * len(heading)
    figure.text(0.012, 1 - below / height_in, "\n".join(small), va="top", size=8.5, color="#666666")
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, the same bytes every time."""
    found = io.BytesIO()
    figure.savefig(found, format="png", dpi=DPI, metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.getvalue())


def label_ends(
    figure: "Figure", axes: "Axes", ends: Mapping[str, tuple[float, float]], looks: Mapping[str, Look]
) -> None:
    """The name of each model beside the last point of its line, moved up or down until no two overlap."""
    figure.draw_without_rendering()  # places the axes
    size, a_point = 9.0, figure.dpi / 72
    placed = axes.transData.transform(list(ends.values()))
    heights = _apart(placed[:, 1], 1.25 * size * a_point, axes.bbox.y0, axes.bbox.y1)
    for (model, end), (x, y), height in zip(ends.items(), placed, heights, strict=True):
        colour = looks[model].color
        axes.annotate(
            model,
            end,
            xytext=((axes.bbox.x1 - x) / a_point + 14, (height - y) / a_point),
            textcoords="offset points",
            va="center",
            size=size,
            color=_darker(colour),
            annotation_clip=False,
            arrowprops={**LEADER, "color": colour},
        )


def scale_of_sizes(axes: "Axes", drawn: Float[np.ndarray, "value"]) -> None:
    """A logarithmic vertical axis for values of several sizes; else one that holds zero."""
    if of_several_sizes(drawn):
        logarithmic(axes, "y")
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def of_several_sizes(drawn: Float[np.ndarray, "value"], ratio: float = STEEP) -> bool:
    """Whether values are positive, and the largest is at least `ratio` times the smallest."""
    return bool(drawn.min() > 0 and drawn.max() >= ratio * drawn.min())


def logarithmic(axes: "Axes", which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers on it: at 1, 2 and 5, or at powers of ten where it is long."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set(**{f"{which}scale": "log"})
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    marks = (1.0, 2.0, 5.0) if high < LONG * low else (1.0,)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=marks))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _darker(colour: str) -> str:
    """The same hue, dark enough for letters."""
    return "#" + "".join(f"{int(0.78 * int(colour[k : k + 2], 16)):02x}" for k in (1, 3, 5))


def _apart(heights: Float[np.ndarray, "label"], gap: float, bottom: float, top: float) -> Float[np.ndarray, "label"]:
    """Heights at least `gap` apart, in the same order, and otherwise as near to the wanted ones as can be."""
    ranked = np.argsort(heights, kind="stable")
    wanted = heights[ranked] - gap * np.arange(len(heights))
    blocks: list[tuple[float, int]] = []
    for height in wanted:
        blocks.append((float(height), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (first, some), (second, more) = blocks[-2:]
            blocks[-2:] = [((first * some + second * more) / (some + more), some + more)]
    placed = np.concatenate([np.full(count, height) for height, count in blocks])
    placed = np.clip(placed, bottom, max(bottom, top - gap * (len(heights) - 1)))
    found = np.empty_like(heights)
    found[ranked] = placed + gap * np.arange(len(heights))
    return found
