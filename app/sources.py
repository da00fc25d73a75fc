"""What the dashboard may show: the datasets and runs below two directories, by name, and what is damaged there."""

from dataclasses import dataclass, field
from pathlib import Path

from jepa.evaluation.predictions import Predictions, PredictionsManifest, load_predictions
from jepa.runs.directory import RunDescription, find_runs
from twin.errors import UserError
from twin.recording import Catalogue, Recording, content_hash, dataset_hash, read_manifest, scan

__all__ = ["Sources", "find_sources", "load_recording", "load_run_predictions", "predictions_hash", "runs_for"]


@dataclass(frozen=True)
class Sources:
    """Datasets and runs by the names that the page shows; paths never come from a browser."""

    datasets: dict[str, Catalogue] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, tuple[Path, RunDescription]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def find_sources(data: Path, runs: Path) -> Sources:
    """Look for datasets in `data` (itself or its children) and for runs in `runs`."""
    found = Sources()
    if not data.is_dir():
        found.problems.append(f"No data directory {data}: run `make demo`, or name one with --data.")
    else:
        for path in [data, *sorted(child for child in data.iterdir() if child.is_dir())]:
            if path.name.startswith(".") or (path / "manifest.json").exists():
                continue
            _add_dataset(found, path)
        if not found.datasets:
            found.problems.append(f"{data} holds no recordings: make some with `twin generate` or `twin import`.")
    if not runs.is_dir():
        found.problems.append(f"No runs directory {runs}: train with `jepa pretrain`, or name one with --runs.")
    else:
        catalogue = find_runs(runs)
        found.runs.update({Path(path).resolve().name: (Path(path), run) for path, run in catalogue.runs.items()})
        found.problems.extend(f"Run {Path(path).resolve().name}: {reason}." for path, reason in catalogue.damaged)
        if not found.runs:
            found.problems.append(f"{runs} holds no runs: train with `jepa pretrain` or `jepa baseline`.")
    return found


def _add_dataset(found: Sources, path: Path) -> None:
    catalogue = scan(path)
    episodes = [entry.name for entry in catalogue.episodes]
    if episodes or catalogue.damaged:
        found.datasets[path.name] = catalogue
        found.paths[path.name] = path
        found.problems.extend(f"Recording {path.name}/{name}: {reason}." for name, reason in catalogue.damaged)


def runs_for(sources: Sources, dataset: str, recording: str) -> list[str]:
    """The runs that have predictions for a recording."""
    return [name for name in sources.runs if _predictions(sources, dataset, recording, name)]


def _predictions(sources: Sources, dataset: str, recording: str, run: str) -> Path | None:
    """Where the predictions of a run for a recording lie: of its dataset as it is, or as it was once."""
    root = sources.runs[run][0] / "predictions"
    own = root / dataset_hash(sources.datasets[dataset].episodes) / recording
    if own.is_dir():
        return own
    wanted = next(content_hash(e.manifest) for e in sources.datasets[dataset].episodes if e.name == recording)
    for path in sorted(root.glob(f"*/{recording}")):
        try:
            if read_manifest(path, PredictionsManifest).episode_content_hash == wanted:
                return path
        except UserError:
            continue
    return None


def predictions_hash(sources: Sources, dataset: str, recording: str, run: str) -> str:
    """Identity of the stored predictions of a run for a recording; empty without any."""
    path = _predictions(sources, dataset, recording, run) if run in sources.runs else None
    return "" if path is None else content_hash(read_manifest(path, PredictionsManifest))


def load_recording(sources: Sources, dataset: str, name: str) -> Recording:
    """A recording of the catalogue, all arrays read and checked.

    Raises:
        UserError: it is not there or damaged.
    """
    for entry in sources.datasets[dataset].episodes:
        if entry.name == name:
            recording = entry.open()
            for array in recording.arrays:
                recording.arrays[array]
            return recording
    raise UserError("no such recording", f"{dataset}/{name}", "choose another one")


def load_run_predictions(sources: Sources, dataset: str, recording: Recording, run: str) -> Predictions:
    """The predictions of a run for a recording.

    Raises:
        UserError: they are not there, damaged, or of another recording of that name.
    """
    path = _predictions(sources, dataset, recording.name, run)
    if path is None:
        raise UserError("has no predictions for it", sources.runs[run][0], "run jepa predict for this run and dataset")
    predictions = load_predictions(path)
    if predictions.manifest.episode_content_hash != content_hash(recording.manifest):
        raise UserError("are for another recording of that name", path, "predict again")
    return predictions
