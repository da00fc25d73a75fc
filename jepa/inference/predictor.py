"""A run put to work: backbone and heads together, from observed frames to predictions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from jepa.backbone.model import JepaModel
from jepa.config import HeadConfig, PretrainConfig, load_config
from jepa.config_checks import check_missing
from jepa.data.frames import FrameStore
from jepa.data.inputs import SMALL, Normalisers, relative
from jepa.data.preprocess import FITTED, Normaliser
from jepa.data.samples import History
from jepa.data.sharing import SharedFrames, WindowValues
from jepa.data.windows import T_OBS, T_PRED, Windows, dataset_of_windows
from jepa.evaluation.predictions import Output
from jepa.heads.frozen_latents import CHUNK, alike, latents_of
from jepa.heads.network import TASK_MODALITY, Heads
from jepa.paradigms.pretraining import load_backbone
from jepa.runs.heads import chosen_heads, heads_are_whole, heads_directory, load_heads
from twin.errors import UserError

__all__ = ["JepaPredictor"]


@dataclass
class JepaPredictor:
    """Frozen backbone, heads and the statistics of their inputs.

    Attributes:
        run: where it was loaded from, with what heads it holds that stand in where positions or powers drop out.
    """

    model: JepaModel
    heads: Heads
    normalisers: Normalisers
    config: PretrainConfig
    name: str = "jepa"
    run: Path | None = None

    @classmethod
    def load(
        cls,
        run: Path,
        device: torch.device | str = "cpu",
        *,
        backbone: str = "pretrained",
        missing: tuple[str, ...] = (),
        cascade: bool | None = None,
    ) -> "JepaPredictor":
        """The predictor of a run.

        Args:
            backbone: pretrained, or a control: random (weights), zeroed (output).
            missing: modalities that the heads were trained without.
            cascade: the heads with the cascade, or those without; as the run's configuration says unless given.

        Raises:
            UserError: the run is incomplete or damaged, or holds no such heads.
        """
        config = load_config(run / "config.yaml")
        options = chosen_heads(config, backbone, missing, cascade)
        check_missing(config.model_copy(update={"heads": options}), "--missing")
        model = load_backbone(run, config, backbone, device)
        heads = load_heads(run, model, options)
        config = config.model_copy(update={"heads": heads.config})
        return cls(model, heads, Normalisers.load(run / "stats.json"), config, run=run)

    def without(self, gone: tuple[str, ...], where: str) -> "JepaPredictor":
        """The predictor whose heads were trained without what is gone.

        Args:
            where: what lacks them, for the error.

        Raises:
            UserError: the run holds no such heads.
        """
        heads = self.config.heads
        wanted = heads.model_copy(update={"missing": tuple(sorted({*heads.missing, *gone}))})
        if self.run and heads_are_whole(heads_directory(self.run, wanted)):
            found = load_heads(self.run, self.model, wanted)
            return replace(self, heads=found, config=self.config.model_copy(update={"heads": found.config}))
        what = f"all observed frames of {' and '.join(gone)} are lost in a window"
        raise UserError(what, where, self._remedy(wanted))

    def _remedy(self, wanted: HeadConfig) -> str:
        """What to do for heads that are not there."""
        if self.config.supervised or set(wanted.missing) >= set(self.model.layout.modalities):
            return "leave some frames of it"
        options = [] if wanted.backbone == "pretrained" else [f"--backbone {wanted.backbone}"]
        options += [f"--missing {name}" for name in wanted.missing]
        options += [] if wanted.cascade else ["--set heads.cascade=false"]
        return f"train heads that stand in: jepa heads RUN {' '.join(options)}"

    def answering(self, history: History) -> Iterator[tuple[Tensor, "JepaPredictor"]]:
        """Rows of windows, and who answers them: itself, or stand-ins where all positions or powers were lost.

        Raises:
            UserError: there are none for that.
        """
        read = [name for name in SMALL if name in self.model.layout.modalities]
        gone = {name: _gone(history, name) for name in read if name not in self.config.heads.missing}
        for rows, lost in alike(len(history), gone):
            names = tuple(name for name, is_gone in lost.items() if is_gone)
            yield rows, self.without(names, "the recordings") if names else self

    @torch.no_grad()
    def predict_history(self, history: History, normaliser: Normaliser) -> Output:
        """Predict from observed frames alone.

        Frames that were lost (`history.valid`) are hidden from the backbone, as all are of a camera, radar or LiDAR
        that the history does not hold; the raw history of positions and powers keeps the last one received. Windows
        without any position, or any power, are answered by the stand-ins.

        Raises:
            UserError: there are none for that.
        """
        parts, order = [], []
        for rows, predictor in self.answering(history):
            whole = len(rows) == len(history)
            parts.append(predictor._predict_alike(history if whole else history.select(rows), normaliser))
            order.append(rows)
        if len(parts) == 1:
            return parts[0]
        place = torch.cat(order).argsort().numpy()
        joined = {part.name: [getattr(one, part.name) for one in parts] for part in fields(Output)}
        return Output(**{name: np.concatenate(columns)[place] for name, columns in joined.items()})

    def _predict_alike(self, history: History, normaliser: Normaliser) -> Output:
        """What its own heads say."""
        device = next(self.model.parameters()).device
        names = [name for name in self.model.layout.modalities if name not in self.config.heads.missing]
        absent = [name for name in names if name not in SMALL and name not in history.values]
        lost = {name: ~history.valid[name] for name in names if name in history.valid}
        lost |= {name: torch.ones(len(history), T_OBS, dtype=torch.bool) for name in absent}
        small = {
            name: normaliser(name, _kept(history, name).to(device)).float() for name in SMALL if name in history.values
        }

        def read(rows: Tensor) -> dict[str, Tensor | SharedFrames]:
            large = history.select(rows)
            found: dict[str, Tensor | SharedFrames] = {
                name: small[name][rows.to(device)] for name in names if name in SMALL
            }
            others = [name for name in names if name not in SMALL and name not in absent]
            found |= {name: _frames_of(large, name, normaliser, device) for name in others}
            return relative(found, self.config.inputs)

        latents = latents_of(self.model, read, len(history), self.config.heads, lost)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for rows in torch.arange(len(history), device=device).split(CHUNK):
            output = self.heads(latents.select(rows), {name: part[rows] for name, part in small.items()})
            found.append(
                (
                    normaliser.position_m_of(output.trajectory),
                    output.logits,
                    normaliser.power_db_of(output.spectrum),
                )
            )
        latent = latents.predicted.get("rf", next(iter(latents.predicted.values())))
        columns = [torch.cat(column).float().cpu().numpy() for column in zip(*found, strict=True)]
        for task, values in zip(TASK_MODALITY, columns, strict=True):
            if self.config.supervised and task not in self.config.supervised:
                values.fill(np.nan)  # a model of other tasks
        trajectory, logits, spectrum = columns
        return Output(trajectory, logits, spectrum, latent.float().cpu().numpy())

    def predict(
        self, store: FrameStore, windows: Windows, augment: Callable[[History], History] | None = None
    ) -> Output:
        """Predict windows of a store, or augmented views of them; each dataset with its own statistics."""
        of_window = dataset_of_windows(store, windows)
        count = len(windows)
        result = Output(
            np.full((count, T_PRED, 2), np.nan, np.float32),
            np.full((count, T_PRED, 64), np.nan, np.float32),
            np.full((count, T_PRED, 64), np.nan, np.float32),
            np.full((count, T_PRED, self.model.width), np.nan, np.float32),
        )
        for number in torch.unique(of_window).tolist():
            rows = torch.nonzero(of_window == number)[:, 0]
            history = History.gather(store, windows.select(rows))
            history = augment(history) if augment else history
            output = self.predict_history(history, self.normalisers.of(store.datasets[number]))
            place = rows.cpu().numpy()
            for name in ("trajectory_m", "beam_logits", "spectrum_db", "latent"):
                getattr(result, name)[place] = getattr(output, name)
        return result


def _frames_of(history: History, name: str, normaliser: Normaliser, device: torch.device) -> Tensor | SharedFrames:
    """Pictures or maps of some windows as the model reads them."""
    ready = partial(normaliser, name) if name in FITTED else lambda values: values
    if isinstance(history.values, WindowValues):
        shared = history.values.shared(name)
        return SharedFrames(ready(shared.values.to(device)), shared.index)
    return ready(history.values[name].to(device))


def _gone(history: History, name: str) -> Bool[Tensor, "window"]:
    """The windows in which nothing of a modality was received."""
    if name in history.values and name in history.valid:
        return ~history.valid[name].any(1)
    return torch.full((len(history),), name not in history.values)


def _kept(history: History, name: str) -> Tensor:
    """Positions or powers in which a lost frame repeats the one before it; before the first, the first one received."""
    values = history.values[name]
    if name not in history.valid or bool(history.valid[name].all()):
        return values
    valid = history.valid[name]
    order = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    last = torch.where(valid, order, -1).cummax(1).values
    first = torch.where(valid, order, valid.shape[1]).amin(1, keepdim=True).clamp(max=valid.shape[1] - 1)
    place = torch.where(last < 0, first, last)
    return values.gather(1, place[..., None].expand_as(values))
