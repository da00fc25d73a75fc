"""Table III of the paper: width, pretraining, cascade, modalities and masks, the paper's values beside ours.

"Without" a modality says that its history is hidden from the backbone and from the heads, which are trained so, on a
backbone that was pretrained with all modalities: the target-history-missing setting for position and power. The rows of
widths and masks each pretrain a backbone of their own. The end-to-end row is one supervised model a task.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jepa.experiments.on_twin.study import HEADS_AS_PUBLISHED, HeadSetup, Place, Study
from jepa.experiments.pages.tables import markdown_table
from jepa.experiments.results.comparison import Estimate, Verdict, of_paper
from jepa.experiments.results.rows import Ordering, Rows, apart, cells, estimates, judged, numbers_of_page
from jepa.experiments.results.store import write_json

__all__ = ["METRICS", "PAPER", "PAPER_DEFAULT", "PAPER_JEPA", "passes", "printed_cells", "run"]

METRICS = ("ade_m", "fde_m", "top1", "top3", "l1_rsrp_db", "rmse_db", "mae_db")
RANKS = {"rankme": "RankMe", "lda_rank": "LDA rank"}
COLUMNS = (*RANKS, *METRICS)
_PRINTED: dict[str, tuple[float | None, ...]] = {
    "D = 64": (7.7099, 3.9747, 0.0552, 0.0927, 0.4512, 0.7968, 0.1567, 0.4703, 0.2671),
    "D = 128": (28.0365, 7.7813, 0.0566, 0.0795, 0.4692, 0.8181, 0.1456, 0.4707, 0.2674),
    "D = 256": (13.3628, 6.7065, 0.0514, 0.0800, 0.4456, 0.8023, 0.1769, 0.4720, 0.2679),
    "D = 512": (7.9904, 3.1104, 0.0502, 0.0922, 0.4553, 0.7964, 0.1672, 0.4720, 0.2679),
    "untrained": (None, None, 0.0561, 0.1060, 0.2352, 0.4707, 0.9362, 0.4695, 0.2664),
    "end-to-end": (None, None, 0.0548, 0.1029, 0.4643, 0.8276, 0.1520, 0.4716, 0.2734),
    "without cascade": (None, None, None, None, 0.4539, 0.8018, 0.1925, 0.4715, 0.2689),
    "without position": (None, None, 3.0416, 3.3648, None, None, None, None, None),
    "without power": (None, None, None, None, 0.4082, 0.7365, 0.1925, 0.6077, 0.3916),
    "without vision": (None, None, 0.0712, 0.1215, 0.3941, 0.7542, 0.1787, 0.4718, 0.2677),
    "without radar": (None, None, 0.0790, 0.0961, 0.4535, 0.8102, 0.1699, 0.4716, 0.2679),
    "without LiDAR": (None, None, 0.0750, 0.0910, 0.4651, 0.8133, 0.1447, 0.4707, 0.2672),
    "without vision, radar": (None, None, 0.0827, 0.1322, 0.3735, 0.7406, 0.2085, 0.4695, 0.2669),
    "without vision, LiDAR": (None, None, 0.0859, 0.1290, 0.3814, 0.7500, 0.1797, 0.4690, 0.2662),
    "without radar, LiDAR": (None, None, 0.2771, 0.2641, 0.3885, 0.7463, 0.2544, 0.4718, 0.2677),
    "ratio 0.25": (25.2351, 8.3193, 0.0601, 0.0832, 0.4664, 0.8144, 0.1469, 0.4692, 0.2681),
    "ratio 0.75": (25.6966, 7.7024, 0.0520, 0.0737, 0.4699, 0.8140, 0.1434, 0.4716, 0.2671),
    "random mask": (14.2474, 7.2604, 0.0601, 0.0860, 0.4562, 0.8119, 0.1548, 0.4666, 0.2665),
    "checkerboard": (18.1985, 6.0647, 0.0650, 0.0911, 0.4597, 0.8045, 0.1472, 0.4696, 0.2673),
}
PAPER = {
    name: {column: value for column, value in zip(COLUMNS, row, strict=True) if value is not None}
    for name, row in _PRINTED.items()
}
"""What the paper prints: Scenario 32 under the leaky split; the names of the lower rows follow its text."""
PAPER_DEFAULT = "D = 128"
PAPER_JEPA = {metric: PAPER[PAPER_DEFAULT][metric] for metric in METRICS}
"""The metrics of the paper's default model."""


@dataclass(frozen=True)
class _Variant:
    """What a row changes: the backbone that it pretrains, and how the heads read it."""

    run: str = "jepa"
    settings: tuple[str, ...] = ()
    heads: HeadSetup = HEADS_AS_PUBLISHED


def _without(*modalities: str) -> _Variant:
    return _Variant(heads=HeadSetup(missing=modalities))


def _variants(study: Study) -> dict[str, _Variant]:
    base = study.budget.width
    found = {
        f"D = {width}": _Variant() if width == base else _Variant(f"jepa-D{width}", (f"model.width={width}",))
        for width in study.budget.widths
    }
    return {
        **found,
        "untrained": _Variant(heads=HeadSetup(backbone="random")),
        "without cascade": _Variant(heads=HeadSetup(cascade=False)),
        "without position": _without("gps"),
        "without power": _without("rf"),
        "without vision": _without("camera"),
        "without radar": _without("radar"),
        "without LiDAR": _without("lidar"),
        "without vision, radar": _without("camera", "radar"),
        "without vision, LiDAR": _without("camera", "lidar"),
        "without radar, LiDAR": _without("lidar", "radar"),
        "ratio 0.25": _Variant("jepa-r0.25", ("mask.ratio=0.25",)),
        "ratio 0.75": _Variant("jepa-r0.75", ("mask.ratio=0.75",)),
        "random mask": _Variant("jepa-random-mask", ("mask.kinds={random: 1.0}",)),
        "checkerboard": _Variant("jepa-checkerboard", ("mask.kinds={checkerboard: 1.0}",)),
        "fusion tokens": _Variant("jepa-fusion", ("model.fusion_tokens=4",)),
    }


def _row(study: Study, variant: _Variant, key: str, place: Place) -> dict[str, Any]:
    run = study.pretrained(place, variant.run, variant.settings)
    return study.judged(place, key, run, variant.heads)


def run(out: Path, data: Sequence[Path] = (), budget: str = "default") -> None:
    """Compute the rows that are missing, print the table and the paper's claims, write both to `out`.

    Raises:
        UserError: an unknown budget, or rows of another one in `out`.
    """
    study = Study(out, data, budget)
    found = {
        name: study.collected(_key(name), partial(_row, study, variant, name))
        for name, variant in _variants(study).items()
    }
    found["end-to-end"] = study.end_to_end()
    found["best"] = study.collected("best", study.best)
    found["best, untrained"] = study.collected(
        "best-untrained", partial(study.best, setup=HeadSetup(backbone="random"))
    )
    values = {name: {**_ranks(rows), **estimates(rows, METRICS)} for name, rows in found.items()}
    base = f"D = {study.budget.width}"
    claims = [
        *judged({"": found[base], **found}, CLAIMS, {"": PAPER[PAPER_DEFAULT], **PAPER}),
        *_rank_claims(values, base),
    ]
    page = "\n".join(
        [
            "# Table III",
            "",
            study.describe(),
            "",
            passes(study),
            "",
            NOTE,
            "",
            _table(values),
            "",
            "## What the paper claims",
            "",
            *(f"- {one}" for one in claims),
            "",
        ]
    )
    (out / "table3.md").write_text(page)
    numbers = numbers_of_page(study.name, study.budget, rows=found, values=values, paper=PAPER, claims=claims)
    write_json(out / "table3.json", numbers)
    print(page)


NOTE = """Under each of our rows stands the paper's, where it has one: measured on Scenario 32 under a split in which
test windows share frames with training windows. The unit of its RSSI errors is unknown: they are not to be compared. In
brackets: 95 % intervals over whole drives. RankMe and LDA rank are those of the predicted tokens of the powers, meaned
over the five steps; of several folds and seeds they are means, the ends of their intervals too. The views of the LDA
rank change gain and noise of the powers, shift and noise of the positions. The last rows are none of the paper's.
"Fusion tokens": four tokens a frame read its modalities in the first layer and go on alone. "Best": the preset of that
name, which reads power and position alone, on a pretrained backbone and on random weights. Claims end with the paper's
own difference where it prints both numbers, of D = 128 where the model that varies nothing is meant."""
HEADER = ("setting", "RankMe", "LDA", "ADE m", "FDE m", "top-1", "top-3", "L1 diff dB", "RSSI RMSE dB", "RSSI MAE dB")


def passes(study: Study) -> str:
    """How long everything is trained."""
    budget = study.budget
    whole = budget.epochs + budget.supervised_epochs
    return (
        f"Passes over the training windows: {budget.epochs} of a pretrained backbone ({budget.best_epochs} with the "
        f"preset `best`), then {budget.head_epochs} of the heads on frozen latents; multi-task and each model of "
        f"end-to-end {whole} of both."
    )


def printed_cells(row: Mapping[str, float], columns: Iterable[str]) -> list[str]:
    """A row of the paper as a table repeats it."""
    return [f"{row[column]:g}" if column in row else "" for column in columns]


def _table(values: Mapping[str, Mapping[str, Estimate]]) -> str:
    body = []
    for name in [*PAPER, *(name for name in values if name not in PAPER)]:
        own = values.get(name, {})
        title = name if own else f"{name} (not at this budget)"
        body.append([title, *cells(own, RANKS, 2), *cells(own, METRICS)])
        if name in PAPER:
            body.append(["*paper*", *printed_cells(PAPER[name], COLUMNS)])
    return markdown_table(HEADER, body)


def _ranks(rows: Rows) -> dict[str, Estimate]:
    """Ranks of the latents: means over folds and seeds of the value and of the ends of its interval."""
    found = [row["representation"] for seeds in rows for row in seeds if "representation" in row]
    sequences = sum(len(seeds[0]["windows"]) for seeds in rows)
    return {name: _rank([one[name] for one in found], sequences) for name in RANKS if found}


def _rank(found: Sequence[Mapping[str, Any]], sequences: int) -> Estimate:
    ends = [one["ci95"] for one in found]
    interval = None
    if all(ends):
        interval = (float(np.mean([low for low, _ in ends])), float(np.mean([high for _, high in ends])))
    return Estimate(float(np.mean([one["value"] for one in found])), interval, sequences)


CLAIMS: tuple[Ordering, ...] = (
    ("the pretrained backbone finds the best beam more often than the untrained", "top1", "", "untrained", "higher"),
    ("the pretrained backbone loses less power than the untrained", "l1_rsrp_db", "", "untrained", "lower"),
    ("the cascade helps to find the best beam", "top1", "", "without cascade", "higher"),
    ("the cascade loses less power", "l1_rsrp_db", "", "without cascade", "lower"),
    *(
        (f"the beam needs power more than {name.removeprefix('without ')}", "top1", "without power", name, "lower")
        for name in ("without vision", "without radar", "without LiDAR", "without position")
    ),
    *(
        (f"RSSI needs power more than {name.removeprefix('without ')}", "mae_db", "without power", name, "higher")
        for name in ("without vision", "without radar", "without LiDAR", "without position")
    ),
    *(
        (
            f"localization needs position more than {name.removeprefix('without ')}",
            "ade_m",
            "without position",
            name,
            "higher",
        )
        for name in ("without vision", "without radar", "without LiDAR", "without power")
    ),
    *(
        (f"temporal blocks find the best beam more often than the {name}", "top1", "", name, "higher")
        for name in ("random mask", "checkerboard")
    ),
    *(
        (f"temporal blocks locate better than the {name}", "ade_m", "", name, "lower")
        for name in ("random mask", "checkerboard")
    ),
    ("a higher mask ratio finds the best beam more often", "top1", "ratio 0.75", "ratio 0.25", "higher"),
    ("a higher mask ratio locates better", "ade_m", "ratio 0.75", "ratio 0.25", "lower"),
)
"""What the paper says of its table; a row without a name is that of the model that varies nothing."""


HIGHER_RANKS = ("random mask", "checkerboard")
"""Masks than which temporal blocks have higher ranks, as the paper says."""


@dataclass(frozen=True)
class _RankClaim:
    """That one rank is higher than another, and what is to be held of it."""

    text: str
    verdict: Verdict
    first: Estimate
    second: Estimate
    paper: float | None

    def __str__(self) -> str:
        return f"{self.text}: {self.verdict}, {self.first.text(2)} and {self.second.text(2)}{of_paper(self.paper)}"

    def as_json(self) -> dict[str, Any]:
        return {
            "claim": self.text,
            "verdict": self.verdict,
            "values": [self.first.as_json(), self.second.as_json()],
            "paper": self.paper,
        }


def _rank_claims(values: Mapping[str, Mapping[str, Estimate]], base: str) -> Iterator[_RankClaim]:
    """Ranks are no means over sequences: two differ where their intervals lie apart."""
    for name in HIGHER_RANKS:
        for rank, title in RANKS.items():
            own, other = values[base][rank], values[name][rank]
            verdict: Verdict = "undecided"
            if own.interval and other.interval:
                if own.interval[0] > other.interval[1]:
                    verdict = "holds"
                elif own.interval[1] < other.interval[0]:
                    verdict = "does not hold"
            text = f"temporal blocks have a higher {title} than the {name}"
            yield _RankClaim(text, verdict, own, other, apart(PAPER, rank, PAPER_DEFAULT, name))


def _key(name: str) -> str:
    """A row's name in paths."""
    return "jepa-" + name.lower().replace(" = ", "").replace(", ", "-").replace(" ", "-")
