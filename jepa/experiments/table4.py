"""Table IV of the paper: parameters, operations and latency of every module, the printed values beside ours.

A tokenizer is asked for one frame, everything else for one window. No recordings are needed: costs do not depend on
what is seen. Rows hold what one device measured; a directory may hold those of several.
"""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jepa.complexity import (
    FRAME_TOKENS,
    PAPER,
    PAPER_DEVICE,
    PAPER_SOURCE,
    UNITS,
    Printed,
    count_flops,
    latency_ms,
    profiled_flops,
    rounds_to,
)
from jepa.complexity.modules import Part, parts
from jepa.data.windows import T_OBS, T_WINDOW
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.rows import numbers_of_page
from jepa.experiments.results.store import RowStore, write_json
from jepa.tokens.tokenizers import TOKENIZERS
from twin.console import progress_bar
from twin.errors import UserError

__all__ = ["BUDGETS", "Budget", "run"]

FRAME_MS = 100.0
"""Between two frames."""


@dataclass(frozen=True)
class Budget:
    """What is measured.

    Attributes:
        repeats, warm_up: timed calls, and those before them.
        widths: of backbone and heads.
    """

    repeats: int
    warm_up: int
    widths: tuple[int, ...]


BUDGETS = {
    "quick": Budget(1, 0, (64,)),
    "default": Budget(20, 3, (64, 128, 256, 512)),
    "full": Budget(100, 10, (64, 128, 256, 512)),
}


def _measured(part: Part, device: torch.device, budget: Budget) -> dict[str, Any]:
    """Parameters, operations and latency of a part on a device."""
    inputs = [value.to(device) if value is not None else None for value in part.inputs]
    call = deepcopy(part.call)  # other parts ask the same network, on the device where it was made
    module = call.to(device) if isinstance(call, nn.Module) else None
    profiled = part.profiled
    if module is not None and profiled is None:
        profiled = profiled_flops(module, *inputs)
    counted = count_flops(call, *inputs)
    clock = latency_ms(call, *inputs, device=device, repeats=budget.repeats, warm_up=budget.warm_up)
    held = sum(parameter.numel() for parameter in module.parameters()) if module is not None else 0
    return {
        "parameters": held if part.parameters is None else part.parameters,
        "flops": counted.products,
        "other_flops": counted.others,
        "profiled_flops": profiled,
        "latency_ms": asdict(clock),
    }


def _devices() -> dict[str, torch.device]:
    """What there is to measure on, by its name."""
    threads = torch.get_num_threads()
    found = {f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}": torch.device("cpu")}
    if torch.cuda.is_available():
        found[torch.cuda.get_device_name()] = torch.device("cuda")
    return found


def _processor() -> str:
    """The name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Measure what is missing, print the table, write it to `out`.

    Raises:
        UserError: an unknown budget, recordings are named, or rows of another budget lie in `out`.
    """
    if budget not in BUDGETS:
        raise UserError(f"unknown budget {budget!r}", "--budget", f"choose from {', '.join(BUDGETS)}")
    if data:
        raise UserError("recordings are named", "--data", "leave it out: costs do not depend on what is seen")
    spent = BUDGETS[budget]
    store = RowStore(out / "table4-rows", {"name": budget, **asdict(spent), "widths": list(spent.widths)})
    found: dict[str, dict[str, dict[str, Any]]] = {}
    measured = parts(spent.widths)
    devices = _devices()
    with progress_bar() as bar:
        task = bar.add_task("modules", total=len(measured) * len(devices))
        for name, device in devices.items():
            rows = found[name] = {}
            for key, build in measured.items():
                row = store.row(f"{_slug(name)}/{_slug(key)}", partial(_row, build, device, spent))
                if row:
                    rows[key] = row
                bar.advance(task)
    page = _page(found, budget)
    (out / "table4.md").write_text(page)
    printed = {key: asdict(value) for key, value in PAPER.items()}
    numbers = numbers_of_page(budget, spent, devices=found, paper=printed, paper_device=PAPER_DEVICE)
    write_json(out / "table4.json", numbers)
    print(page)


def _row(build: Callable[[], Part], device: torch.device, budget: Budget) -> dict[str, Any]:
    """A row; an empty one for a function on a GPU."""
    part = build()
    if device.type != "cpu" and not isinstance(part.call, nn.Module):
        return {}
    return _measured(part, device, budget)


Devices = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By device and name: rows."""


def _page(found: Devices, budget: str) -> str:
    spent = BUDGETS[budget]
    lines = [
        "# Table IV",
        "",
        f"Budget `{budget}`: timed calls {spent.repeats}, calls before them {spent.warm_up}, widths "
        f"{', '.join(map(str, spent.widths))}. No recordings, random weights, batches of one.",
        "",
        NOTE,
        "",
        _table(found),
        "",
        *_sentences(next(iter(found.values()))),
        *_totals(found),
        "",
    ]
    return "\n".join(lines)


NOTE = f"""*Paper* columns are printed in {PAPER_SOURCE}, latencies there are of an {PAPER_DEVICE}. FLOPs are 2 x MAC of
every product that is computed for one frame (tokenizers) or one window (all else); blank where nothing is a product of
matrices. "Paper's way" counts the same module as the paper's figures come out: twice what the profiler `thop` counts,
norms with it and attention without; of the backbone, its layers on the {FRAME_TOKENS} tokens of a single frame, where
a prediction encodes {T_OBS} frames and predicts on {T_WINDOW}; of the paradigms it does not say what is counted:
ours are asked for one window from raw frames, the decoder for its five future frames. Latencies are medians, in
brackets the first and the last tenth of the calls."""


def _ordered(rows: Mapping[str, Any]) -> Iterator[str]:
    """Keys group by group: those of the paper in its order, then ours."""
    groups = dict.fromkeys(key.partition("/")[0] for key in [*PAPER, *rows])
    for group in groups:
        yield from dict.fromkeys(key for key in [*PAPER, *rows] if key.partition("/")[0] == group)


def _table(found: Devices) -> str:
    first = next(iter(found.values()))
    header = ["module", "parameters", "paper", "FLOPs", "paper's way", "paper", *(f"ms, {name}" for name in found)]
    body = []
    for key in _ordered(first):
        row, printed = first.get(key), PAPER.get(key, Printed(None, None, None))
        own = [_short(row[name]) if row else "" for name in ("parameters", "flops", "profiled_flops")]
        own[1] = "" if own[1] == "0" else own[1]
        cells = [_label(key), own[0], printed.parameters or "", own[1], own[2], printed.flops or ""]
        cells += [_clock(rows.get(key)) for rows in found.values()]
        cells.append("" if printed.latency_ms is None else f"{printed.latency_ms:g}")
        body.append(cells)
    return markdown_table([*header, "paper ms"], body)


def _label(key: str) -> str:
    """As in "beam: jepa, D = 64"."""
    group, name = key.split("/")
    model, _, width = name.rpartition("-")
    if name.isdigit():
        return f"{group.replace('_', ' ')}, D = {name}"
    return f"{group}: {model}, D = {width}" if width.isdigit() else f"{group}: {name.replace('_', ' ')}"


def _short(count: int | None) -> str:
    """As in "2.30 G"; small ones in full."""
    if count is None:
        return ""
    unit = max((name for name, size in UNITS.items() if count >= size), key=UNITS.__getitem__, default="")
    return f"{count / UNITS[unit]:.2f} {unit}" if unit else str(count)


def _clock(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    median, low, high = (_digits(row["latency_ms"][name]) for name in ("median_ms", "low_ms", "high_ms"))
    return f"{median} [{low}, {high}]"


def _digits(value: float) -> str:
    """Three of them, without an exponent."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _sentences(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which printed figures come out, and what is not measured."""
    printed = {key: PAPER[key] for key in rows if key in PAPER}
    parameters = {key: (rows[key]["parameters"], one.parameters) for key, one in printed.items()}
    flops = {key: (rows[key]["profiled_flops"], one.flops) for key, one in printed.items()}
    times = [
        f"{row['flops'] / row['profiled_flops']:.1f} times ({_label(key)})"
        for key, row in rows.items()
        if key.startswith("backbone/")
    ]
    absent = [_label(key) for key in PAPER if key not in rows and not key[-1].isdigit()]
    return [
        f"- parameters: {_agreement(parameters)}.",
        f"- FLOPs in the paper's way: {_agreement(flops)}.",
        f"- the operations that a prediction takes are more than the printed ones: {', '.join(times)}.",
        *([f"- not measured here: {'; '.join(absent)}."] if absent else []),
    ]


def _agreement(pairs: Mapping[str, tuple[int | None, str | None]]) -> str:
    """How many of our figures are the printed ones, and which are not."""
    compared = {key: (own, text) for key, (own, text) in pairs.items() if own is not None and text is not None}
    others = [
        f"{_label(key)} ({_short(own)}, printed {text})"
        for key, (own, text) in compared.items()
        if not rounds_to(own, text)
    ]
    found = f"{len(compared) - len(others)} of {len(compared)} come out as printed, to the last digit"
    return f"{found}; not {'; '.join(others)}" if others else found


def _totals(found: Devices) -> list[str]:
    """A prediction when a frame comes in: its tokens, the backbone, three heads."""
    lines = []
    for device, rows in found.items():
        for width in (64, 128, 256, 512):
            keys = [f"tokenizer/{name}" for name in TOKENIZERS] + [f"backbone/{width}"]
            keys += [f"{task}/jepa-{width}" for task in ("localization", "beam", "rssi")]
            if not all(key in rows for key in keys):
                continue
            spent_ms = sum(rows[key]["latency_ms"]["median_ms"] for key in keys)
            printed_ms = sum(PAPER[key].latency_ms or 0 for key in keys)
            lines.append(
                f"- one prediction at D = {width}, tokens of earlier frames kept: {_digits(spent_ms)} ms of the "
                f"{FRAME_MS:g} ms between frames on {device} (the paper's latencies sum to {printed_ms:.3g} ms)."
            )
    return lines
