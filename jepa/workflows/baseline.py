"""`jepa baseline`: a baseline, fitted, and its predictions as a run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jepa.baselines import BASELINES, Baseline, InterpolationCeiling
from jepa.baselines.base import option_of
from jepa.data.frames import IMAGE_SIZE, TARGETS, FrameStore
from jepa.data.splits import make_split
from jepa.evaluation.predictions import save_predictions
from jepa.runs.directory import RunDescription, write_description
from jepa.workflows.devices import pick_device
from jepa.workflows.parts import PREDICTED, parts_with_windows
from twin.errors import UserError
from twin.recording import new_directory

__all__ = ["baseline_run"]


def baseline_run(
    name: str,
    data: Sequence[Path],
    out: Path,
    *,
    split: str = "blocked",
    fold: int = 0,
    seed: int = 0,
    fraction: float = 1.0,
    parts: Sequence[str] = PREDICTED,
    image_size: int = IMAGE_SIZE,
    weights: Mapping[str, Path] | None = None,
    make: Callable[..., Baseline] | None = None,
    device: str = "auto",
) -> None:
    """Fit a baseline and write its predictions into a run directory.

    Args:
        image_size: side of the pictures, for baselines that look at them [pixels].
        weights: published ones to start from, by a name of `Baseline.weights`.
        make: another maker of the baseline, one that starts from weights fitted elsewhere, say.
        device: where its networks train, if it has any.

    Raises:
        UserError: no such baseline or device, it takes no such weights, or `out` exists.
    """
    if make is None and name not in BASELINES and name != InterpolationCeiling.name:
        known = ", ".join([*BASELINES, InterpolationCeiling.name])
        raise UserError(f"unknown baseline {name!r}", "jepa baseline", f"choose from {known}")
    weights = weights or {}
    if make is None:
        _check_weights(name, weights)
    if out.exists():
        raise UserError("exists", out, "choose another --out")
    place = pick_device(device)
    baseline = None if name == InterpolationCeiling.name else (make or BASELINES[name])(**weights)
    store = FrameStore.load(data, place, baseline.needs if baseline else TARGETS, image_size)
    divided = make_split(store, split, fold, seed).with_share(fraction, seed)
    if baseline is None:
        ceiling = InterpolationCeiling()
        ceiling.fit(store, divided.parts["train"], divided.parts["val"])
        outputs = {part: ceiling.predict(store, divided.parts[part]) for part in parts_with_windows(divided, parts)}
    else:
        baseline.label = name
        baseline.device = place
        samples = baseline.samples(store, divided)
        baseline.fit(samples["train"], samples["val"], seed)
        outputs = {part: baseline.predict(samples[part].history) for part in parts_with_windows(divided, parts)}
    with new_directory(out) as place_of_draft:
        draft = Path(place_of_draft)
        divided.save(draft / "split.json")
        write_description(draft, RunDescription.of("baseline", name, store, divided, seed=seed, fraction=fraction))
        save_predictions(draft, name, store, divided, outputs)


def _check_weights(name: str, weights: Mapping[str, Path]) -> None:
    """Refuse weights that a baseline has no network for.

    Raises:
        UserError: it has none, or a file is not there.
    """
    taken = BASELINES[name].weights if name in BASELINES else ()
    for key, path in weights.items():
        if key not in taken:
            those = ", ".join(known for known, baseline in BASELINES.items() if key in baseline.weights)
            raise UserError(f"{name} takes none", option_of(key), f"leave it out; {those} would take it")
        if not path.exists():
            raise UserError("no such file or directory", path, f"name the weights that {option_of(key)} loads")
