"""Table III of the paper: width, pretraining, cascade, modalities and masks, the paper's values beside ours.

"Without" a modality says that its history is hidden from the backbone and from the heads, which are trained so, on a
backbone that was pretrained with all modalities: the target-history-missing setting for position and power. The rows of
widths and masks each pretrain a backbone of their own. The end-to-end row is one supervised model a task.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jepa.experiments.comparison import Claim, Estimate, claim, difference
from jepa.experiments.rows import Rows, metric_text, sums
from jepa.experiments.study import HEADS_AS_PUBLISHED, HeadSetup, Place, Study
from jepa.experiments.table import markdown_table, write_json

__all__ = ["METRICS", "PAPER", "PAPER_JEPA", "run"]

METRICS = ("ade_m", "fde_m", "top1", "top3", "l1_rsrp_db", "rmse_db", "mae_db")
PAPER: dict[str, tuple[float | None, ...]] = {
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
"""RankMe, LDA rank, then `METRICS`: Scenario 32 under the leaky split; the names of the lower rows follow its text."""
PAPER_JEPA = {metric: value or 0.0 for metric, value in zip(METRICS, PAPER["D = 128"][2:], strict=True)}
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
    base = f"D = {study.budget.width}"
    claims = [f"- {one}" for one in (*_claims(found, base), *_rank_claims(found, base))]
    page = "\n".join(
        [
            "# Table III",
            "",
            study.describe(),
            "",
            NOTE,
            "",
            _table(found),
            "",
            "## What the paper claims",
            "",
            *claims,
            "",
        ]
    )
    (out / "table3.md").write_text(page)
    write_json(out / "table3.json", {name: {"rows": rows, "paper": PAPER.get(name)} for name, rows in found.items()})
    print(page)


NOTE = """Under each of our rows stands the paper's, where it has one: measured on Scenario 32 under a split in which
test windows share frames with training windows. The unit of its RSSI errors is unknown: they are not to be compared. In
brackets: 95 % intervals over whole drives. RankMe and LDA rank are those of the predicted tokens of the powers, meaned
over the five steps; of several folds and seeds they are means, the ends of their intervals too. The views of the LDA
rank change gain and noise of the powers, shift and noise of the positions. The last rows are none of the paper's.
"Fusion tokens": four tokens a frame read its modalities in the first layer and go on alone. "Best": the preset of that
name, which reads power and position alone, on a pretrained backbone and on random weights."""
HEADER = ("setting", "RankMe", "LDA", "ADE m", "FDE m", "top-1", "top-3", "L1 diff dB", "RSSI RMSE dB", "RSSI MAE dB")


def _table(found: Mapping[str, Rows]) -> str:
    body = []
    for name in [*PAPER, *(name for name in found if name not in PAPER)]:
        rows = found.get(name)
        if rows:
            body.append([name, *_ranks(rows), *(metric_text(rows, metric) for metric in METRICS)])
        else:
            body.append([f"{name} (not at this budget)", *[""] * (len(METRICS) + 2)])
        if name in PAPER:
            body.append(["*paper*", *("" if value is None else f"{value:g}" for value in PAPER[name])])
    return markdown_table(HEADER, body)


def _ranks(rows: Rows) -> list[str]:
    return ["" if found is None else found.text(2) for found in (_rank(rows, name) for name in RANKS)]


def _rank(rows: Rows, name: str) -> Estimate | None:
    """A rank of the latents: means over folds and seeds of the value and of the ends of its interval."""
    found = [row["representation"][name] for seeds in rows for row in seeds if "representation" in row]
    if not found:
        return None
    ends = [one["ci95"] for one in found]
    interval = None
    if all(ends):
        interval = (float(np.mean([low for low, _ in ends])), float(np.mean([high for _, high in ends])))
    return Estimate(float(np.mean([one["value"] for one in found])), interval, sum(len(s[0]["windows"]) for s in rows))


CLAIMS: tuple[tuple[str, str, str, str, Literal["lower", "higher"]], ...] = (
    ("the pretrained backbone finds the best beam more often than the untrained", "top1", "", "untrained", "higher"),
    ("the pretrained backbone loses less power than the untrained", "l1_rsrp_db", "", "untrained", "lower"),
    ("the cascade helps to find the best beam", "top1", "", "without cascade", "higher"),
    ("the cascade loses less power", "l1_rsrp_db", "", "without cascade", "lower"),
    *(
        (f"the beam needs power more than {name.removeprefix('without ')}", "top1", "without power", name, "lower")
        for name in ("without vision", "without radar", "without LiDAR")
    ),
    *(
        (f"RSSI needs power more than {name.removeprefix('without ')}", "mae_db", "without power", name, "higher")
        for name in ("without vision", "without radar", "without LiDAR")
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
"""What the paper says of its table: text, metric, two rows (the first is the reference where it is empty), and how the
first compares with the second."""


RANKS = {"rankme": "RankMe", "lda_rank": "LDA rank"}
HIGHER_RANKS = ("random mask", "checkerboard")
"""Masks than which temporal blocks have higher ranks, as the paper says."""


def _rank_claims(found: Mapping[str, Rows], base: str) -> Iterator[str]:
    """Ranks are no means over sequences: two differ where their intervals lie apart."""
    for name in HIGHER_RANKS:
        for rank, title in RANKS.items():
            own, other = _rank(found[base], rank), _rank(found[name], rank)
            assert own is not None
            assert other is not None
            verdict = "undecided"
            if own.interval and other.interval:
                if own.interval[0] > other.interval[1]:
                    verdict = "holds"
                elif own.interval[1] < other.interval[0]:
                    verdict = "does not hold"
            text = f"temporal blocks have a higher {title} than the {name}"
            yield f"{text}: {verdict}, {own.text(2)} and {other.text(2)}"


def _claims(found: Mapping[str, Rows], base: str) -> list[Claim]:
    claims = []
    for text, metric, first, second, direction in CLAIMS:
        one, other = (sums(found[name or base], metric) for name in (first, second))
        if one is not None and other is not None:
            claims.append(claim(f"{text} ({metric})", difference(one, other), direction))
    return claims


def _key(name: str) -> str:
    """A row's name in paths."""
    return "jepa-" + name.lower().replace(" = ", "").replace(", ", "-").replace(" ", "-")
