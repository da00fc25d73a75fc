"""The comparison of the tracers as tables, and `PARITY.md`, which holds them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from twin.errors import UserError
from twin.propagation.parity.boundaries import boundaries
from twin.propagation.parity.comparison import Comparison, Density, compare_scene, densities, worst
from twin.propagation.parity.matching import Figures
from twin.propagation.parity.scenes import SCENES, parity_scene

__all__ = ["CARRIERS_GHZ", "RECEIVERS", "as_json", "compare", "tables", "update"]

CARRIERS_GHZ = (28.0, 60.0)
RECEIVERS = 200
"""Of each base station."""
FILE = Path(__file__).parent.with_name("PARITY.md")
BEGIN, END = "<!-- twin parity --update: begin -->", "<!-- twin parity --update: end -->"
DENSITY_SCENE = "munich"

Progress = Callable[[int, int], None]


def compare(
    names: Sequence[str] = (),
    carriers_ghz: Sequence[float] = CARRIERS_GHZ,
    receivers: int = RECEIVERS,
    progress: Progress | None = None,
) -> list[Comparison]:
    """Compare the tracers on scenes (all by default).

    Raises:
        UserError: an unknown scene, a carrier out of range, no receivers, or Sionna RT cannot run.
    """
    if receivers < 1:
        raise UserError(f"{receivers} is too small", "--receivers", "give at least 1")
    scenes = [parity_scene(name) for name in names or SCENES]
    done: list[Comparison] = []
    for scene in scenes:
        for carrier_ghz in carriers_ghz:
            if progress:
                progress(len(done), len(scenes) * len(carriers_ghz))
            done.append(compare_scene(scene, carrier_ghz * 1e9, receivers))
    return done


def as_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The worst of all comparisons, and each of them."""
    return {
        "receivers": min(comparison.receivers for comparison in comparisons),
        **worst([figures for comparison in comparisons for figures in comparison.orders]),
        "problems": [text for comparison in comparisons for text in comparison.problems],
        "comparisons": [comparison.as_json() for comparison in comparisons],
    }


def update(comparisons: Sequence[Comparison]) -> None:
    """Write the tables of comparisons, of densities and of boundaries into `PARITY.md` between its markers.

    Raises:
        UserError: the file has no such markers.
    """
    text = FILE.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise UserError("has lost the markers of its tables", FILE, "restore them")
    found = densities(SCENES[DENSITY_SCENE], CARRIERS_GHZ[0] * 1e9, RECEIVERS)
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    body = f"{tables(comparisons)}\n\n{_density_table(found)}\n\n{_boundary_table()}"
    FILE.write_text(f"{head}{BEGIN}\n\n{body}\n\n{END}{tail}", encoding="utf-8")


def tables(comparisons: Sequence[Comparison]) -> str:
    """What comparisons found, as Markdown."""
    parts = [_order_table(comparisons), _scene_table(comparisons)]
    if any(comparison.edges for comparison in comparisons):
        parts.append(_edge_table(comparisons))
    return "\n\n".join(parts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _spread(values: tuple[float, ...] | None) -> str:
    return "" if values is None else " / ".join(f"{value:.2g}" for value in values)


def _order_table(comparisons: Sequence[Comparison]) -> str:
    heads = (
        "scene", "GHz", "order", "ours", "theirs", "matched of ours %", "of theirs %", "delay ps", "angle deg",
        "matrix", "above 0.01", "matrix at the same points", "phase deg: 50 / 90 / 99 / 100 %", "of short paths",
    )  # fmt: skip

    def row(comparison: Comparison, figures: Figures) -> tuple[str, ...]:
        return (
            comparison.scene, f"{comparison.carrier_hz / 1e9:g}", figures.name, str(figures.ours), str(figures.theirs),
            _share(figures.matched_share_ours), _share(figures.matched_share_theirs),
            _number(figures.delay_error_ps_max), _number(figures.angle_error_deg_max),
            _number(figures.transfer_error_max), str(figures.far_matrices), _number(figures.same_points_error_max),
            _spread(figures.phase_error_deg), _number(figures.near_phase_error_deg_max),
        )  # fmt: skip

    return _table(heads, (row(c, f) for c in comparisons for f in c.orders))


def _scene_table(comparisons: Sequence[Comparison]) -> str:
    heads = (
        "scene", "GHz", "receivers", "base stations", "rays of Sionna", "only ours", "leg below 1 cm", "only theirs",
        "found with more rays", "unexplained", "seconds ours", "seconds theirs",
    )  # fmt: skip

    def row(comparison: Comparison) -> tuple[str, ...]:
        lost = comparison.unmatched
        counts = (lost.ours, lost.short_leg, lost.theirs, lost.found_denser, lost.unexplained)
        return (
            comparison.scene, f"{comparison.carrier_hz / 1e9:g}", str(comparison.receivers),
            str(len(SCENES[comparison.scene].stations_m)), f"{comparison.samples:,}", *(str(count) for count in counts),
            f"{comparison.seconds_ours:.1f}", f"{comparison.seconds_theirs:.1f}",
        )  # fmt: skip

    return _table(heads, (row(comparison) for comparison in comparisons))


def _edge_table(comparisons: Sequence[Comparison]) -> str:
    heads = (
        "scene", "GHz", "edges ours", "theirs", "matched of ours %", "of theirs %", "delay ps", "angle deg",
        "gain dB, with Sionna's coefficient: 50 / 90 / 99 / 100 %", "gain dB, with ours", "of those within 30 dB",
    )  # fmt: skip

    def row(comparison: Comparison, edges: Figures, alike: Figures) -> tuple[str, ...]:
        return (
            comparison.scene, f"{comparison.carrier_hz / 1e9:g}", str(alike.ours), str(alike.theirs),
            _share(alike.matched_share_ours), _share(alike.matched_share_theirs), _number(alike.delay_error_ps_max),
            _number(alike.angle_error_deg_max), _spread(alike.gain_error_db), _spread(edges.gain_error_db),
            _spread(edges.strong_gain_error_db),
        )  # fmt: skip

    return _table(heads, (row(c, c.edges, c.edges_alike) for c in comparisons if c.edges and c.edges_alike))


def _density_table(found: Sequence[Density]) -> str:
    heads = ("tracer", "rays", "slots", "receivers a solve", "paths found", "of", "%", "seconds")

    def row(density: Density) -> tuple[str, ...]:
        slots, together = density.hash_slots, density.together
        return (
            density.tracer, f"{density.rays:,}", "" if slots is None else f"{slots:,}",
            "" if together is None else str(together), str(density.found), str(density.paths),
            _share(density.found / density.paths), f"{density.seconds:.1f}",
        )  # fmt: skip

    return _table(heads, (row(density) for density in found))


def _boundary_table() -> str:
    heads = ("what ends", "what makes up for it", *(f"{ghz:g} GHz: V / H, dB" for ghz in CARRIERS_GHZ))
    columns = [boundaries(ghz * 1e9) for ghz in CARRIERS_GHZ]
    return _table(
        heads,
        [(row[0].name, row[0].continued, *(_spread(one.step_db) for one in row)) for row in zip(*columns, strict=True)],
    )
