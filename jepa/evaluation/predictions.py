"""Predictions: one format for the model, the baselines and policies; metrics and dashboard read only this.

They lie in `RUN/predictions/<dataset hash>/<episode>/`, stored like a recording, one row a window.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import ConfigDict

from jepa.data.frames import FrameStore
from jepa.data.splits import PARTS, Split
from jepa.data.windows import T_OBS
from twin.errors import UserError
from twin.recording import Array, StoredManifest, is_url, read_array, read_manifest, write_bundle

__all__ = ["Output", "Predictions", "PredictionsManifest", "load_predictions", "save_predictions"]


@dataclass(frozen=True)
class Output:
    """What a predictor says of some windows; a task that it does not do is NaN throughout.

    Attributes:
        trajectory_m: east and north of the base station.
        beam_logits: scores of the beams, larger is better.
        spectrum_db: power of the beams.
    """

    trajectory_m: Float[np.ndarray, "window 5 2"]
    beam_logits: Float[np.ndarray, "window 5 64"]
    spectrum_db: Float[np.ndarray, "window 5 64"]
    latent: Float[np.ndarray, "window 5 dim"] | None = None


class PredictionsManifest(StoredManifest):
    """The manifest of the predictions for one episode."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["predictions"] = "predictions"
    model: str
    dataset_hash: str
    episode: str
    episode_content_hash: str
    parts: tuple[str, ...] = PARTS


@dataclass(frozen=True)
class Predictions:
    """Predictions for one episode.

    Attributes:
        t: index of the last observed frame inside the episode, a row a window.
        part: index into `PARTS` of every window.
    """

    manifest: PredictionsManifest
    t: Int[np.ndarray, "window"]
    part: Int[np.ndarray, "window"]
    output: Output


def save_predictions(run: Path, model: str, store: FrameStore, split: Split, outputs: dict[str, Output]) -> int:
    """Write the outputs for each part of a split, one bundle an episode, replacing none; returns how many were written.

    Raises:
        UserError: an episode has predictions already.
    """
    frames, part, rows = _stack(split, outputs)
    episodes = np.concatenate([split.parts[name].episode.cpu().numpy() for name in outputs])
    written = 0
    for number in np.unique(episodes):
        chosen = np.flatnonzero(episodes == number)
        episode = store.episodes[number]
        dataset = store.datasets[episode.dataset]
        t = frames[chosen] - episode.start
        chosen, t = chosen[np.argsort(t)], np.sort(t)
        arrays = {
            "t": Array(t.astype(np.int64), ("window",), "1"),
            "split": Array(part[chosen].astype(np.int8), ("window",), "1"),
            "trajectory_m": Array(rows.trajectory_m[chosen].astype(np.float32), ("window", "step", "xy"), "m"),
            "beam_logits": Array(rows.beam_logits[chosen].astype(np.float32), ("window", "step", "beam"), "1"),
            "spectrum_db": Array(rows.spectrum_db[chosen].astype(np.float32), ("window", "step", "beam"), "dB"),
        }
        if rows.latent is not None:
            arrays["latent"] = Array(rows.latent[chosen].astype(np.float32), ("window", "step", "dim"), "1")
        manifest = PredictionsManifest(
            model=model,
            dataset_hash=dataset.hash,
            episode=episode.name,
            episode_content_hash=episode.content_hash,
        )
        write_bundle(run / "predictions" / dataset.hash / episode.name, arrays, manifest)
        written += 1
    return written


def _stack(split: Split, outputs: dict[str, Output]) -> tuple[np.ndarray, np.ndarray, Output]:
    last = np.concatenate([split.parts[name].index[:, T_OBS - 1].cpu().numpy() for name in outputs])
    part = np.concatenate([np.full(len(split.parts[name]), PARTS.index(name)) for name in outputs])
    found = list(outputs.values())
    latents = [output.latent for output in found if output.latent is not None]
    return (
        last,
        part,
        Output(
            np.concatenate([output.trajectory_m for output in found]),
            np.concatenate([output.beam_logits for output in found]),
            np.concatenate([output.spectrum_db for output in found]),
            np.concatenate(latents) if len(latents) == len(found) else None,
        ),
    )


def load_predictions(path: str | Path) -> Predictions:
    """The predictions for one episode.

    Raises:
        UserError: none are there, or they are damaged.
    """
    if not is_url(path) and not Path(path).is_dir():
        raise UserError("no predictions", path, "run jepa predict (of a baseline: jepa baseline) on this dataset")
    manifest = read_manifest(path, PredictionsManifest)
    read = {name: read_array(path, name, manifest) for name in manifest.arrays}
    output = Output(read["trajectory_m"], read["beam_logits"], read["spectrum_db"], read.get("latent"))
    return Predictions(manifest, read["t"], read["split"], output)
