"""Markdown tables, of any rows and of evaluation objects of several models."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["COLUMNS", "markdown_table", "report_table"]

COLUMNS = (
    ("ADE m", "localization", "ade_m"),
    ("FDE m", "localization", "fde_m"),
    ("top-1", "beam", "top1"),
    ("top-3", "beam", "top3"),
    ("power lost dB", "beam", "l1_rsrp_db"),
    ("RSSI MAE dB", "rssi", "mae_db"),
)
"""Of the table: title, task, metric."""


def report_table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a model, by its name, of what `evaluate` returned: values with their 95 % intervals."""
    body = [
        [name, *(_cell(report.get(task, {}).get(metric)) for _, task, metric in COLUMNS)]
        for name, report in reports.items()
    ]
    return markdown_table(["model", *(title for title, _, _ in COLUMNS)], body)


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return ""
    if metric["ci95"] is None:
        return f"{metric['value']:.3f}"
    low, high = metric["ci95"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A GitHub-flavoured Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
