"""A run put to work: backbone and heads together, from observed frames to predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from jepa.checkpoint import load_tensors, save_tensors
from jepa.config import HeadConfig, PretrainConfig, load_config
from jepa.frames import FrameStore
from jepa.heads import Heads
from jepa.inputs import Normalisers, WindowInputs, dataset_of_windows, relative
from jepa.model import JepaModel, Latents
from jepa.predict import Output
from jepa.preprocess import Normaliser
from jepa.pretraining import load_backbone
from jepa.samples import History
from jepa.training import Plan, fit
from jepa.windows import T_PRED, Windows
from twin.errors import UserError

__all__ = [
    "JepaPredictor",
    "heads_are_whole",
    "heads_directory",
    "latents_of",
    "load_heads",
    "save_heads",
    "train_heads",
    "trained_options",
]

CHUNK = 1024
"""Windows that go through the backbone at once."""
PARTS = ("localization", "beam", "rssi", "estimate")
"""Directories of trained heads, in the order in which they are written."""
SHARED = "estimate"
"""The directory of what the heads share: coarse estimates, and the GRU over the raw history where there is one."""


def latents_of(model: JepaModel, inputs: Mapping[str, Tensor], config: HeadConfig) -> Latents:
    """Latents of any number of windows from their model inputs (W, 8, C), in chunks; zeros for a zeroed backbone."""
    count = len(next(iter(inputs.values())))
    parts = [
        model.future_latents({name: values[first : first + CHUNK] for name, values in inputs.items()}, config.missing)
        for first in range(0, max(1, count), CHUNK)
    ]
    latents = Latents.cat(parts)
    return latents.zeroed() if config.backbone == "zeroed" else latents


@dataclass
class _HeadData:
    """Everything that head training reads, computed once."""

    latents: Latents
    history: dict[str, Tensor]
    position: Float[Tensor, "window 5 2"]
    power: Float[Tensor, "window 5 64"]
    power_std_db: Float[Tensor, "window"]
    episode: Tensor

    @classmethod
    def of(
        cls, model: JepaModel, store: FrameStore, windows: Windows, normalisers: Normalisers, config: PretrainConfig
    ) -> "_HeadData":
        inputs = WindowInputs(normalisers.frames(store), windows.index)
        history, future = inputs.history(), inputs.future()
        seen = {name: values for name, values in history.items() if name in model.layout.modalities}
        deviation = torch.tensor([normalisers.of(dataset).power_std_db for dataset in store.datasets])
        return cls(
            latents=latents_of(model, relative(seen, config.inputs), config.heads),
            history=history,
            position=future["gps"],
            power=future["rf"],
            power_std_db=deviation.to(windows.episode.device)[dataset_of_windows(store, windows)],
            episode=windows.episode,
        )


def train_heads(
    model: JepaModel,
    store: FrameStore,
    train: Windows,
    val: Windows,
    normalisers: Normalisers,
    config: PretrainConfig,
    *,
    start: Heads | None = None,
    run: Path | None = None,
    resume: bool = False,
    label: str = "heads",
) -> Heads:
    """Train the three heads on the frozen backbone.

    Args:
        val: judged after every epoch when `heads.select_on_validation` is set; may be empty.
        start: heads to go on from; new ones without.
        run: directory for checkpoints and log.
    """
    if not len(train):
        raise UserError("there is no training window", label or "heads", "use more or longer sequences")
    options = config.heads
    device = next(model.parameters()).device
    torch.manual_seed(config.seed)
    heads = (start or Heads(model.layout, model.width, options)).to(device)
    data = _HeadData.of(model, store, train, normalisers, config)
    if "shifted" in (options.coarse_beam, options.coarse_spectrum) and len(normalisers.found) > 1:
        raise UserError(
            "the base stations lie at different standardised places", "heads.coarse_beam: shifted", "choose last or map"
        )
    origin = next(iter(normalisers.found.values())).position(torch.zeros(2, device=device))
    heads.estimate.fit(
        torch.cat([data.history["gps"], data.position], 1),
        torch.cat([data.history["rf"], data.power], 1),
        data.episode,
        origin,
    )
    selected = options.select_on_validation and len(val) > 0
    judged = _HeadData.of(model, store, val, normalisers, config) if selected else None

    def loss_on(
        data: _HeadData, rows: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        history, position = {name: values[rows] for name, values in data.history.items()}, data.position[rows]
        latents = data.latents.select(rows)
        if generator is not None:
            history, position = _disturbed(history, position, options, generator)
            if options.latent_dropout:
                drawn = torch.rand(len(rows), generator=generator, device=device)
                latents = latents.where(drawn >= options.latent_dropout)
        output = heads(latents, history, None if generator is None else data.episode[rows])
        return heads.loss(output, position, data.power[rows], data.power_std_db[rows])

    def loss(rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        return loss_on(data, rows, generator)

    @torch.no_grad()
    def validate() -> float:
        assert judged is not None
        every = torch.arange(len(judged.episode), device=device)
        values = [float(loss_on(judged, rows)[0]) * len(rows) for rows in every.split(CHUNK)]
        return sum(values) / len(every)

    plan = Plan(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        batch_size=options.batch_size,
        seed=config.seed,
    )
    fit(
        heads,
        loss,
        len(data.episode),
        plan,
        label=label,
        validate=validate if selected else None,
        run=run,
        resume=resume,
    )
    return heads.eval()


def _disturbed(
    history: dict[str, Tensor],
    position: Float[Tensor, "batch 5 2"],
    config: HeadConfig,
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], Float[Tensor, "batch 5 2"]]:
    """History and future positions with noise: white on what is read, one shift a window on all its positions."""

    def normal(shape: Sequence[int]) -> Tensor:
        return torch.randn(shape, generator=generator, device=position.device, dtype=position.dtype)

    found = {
        name: values + config.input_noise[name] * normal(values.shape) if config.input_noise.get(name) else values
        for name, values in history.items()
    }
    if config.position_offset and "gps" not in config.missing:
        shift = config.position_offset * normal((len(position), 1, 2))
        found, position = {**found, "gps": found["gps"] + shift}, position + shift
    return found, position


def heads_directory(run: Path, config: HeadConfig) -> Path:
    """Where the heads of a run lie: `heads`, or with the backbone or the missing modalities in its name."""
    parts = ["heads"]
    if config.backbone != "pretrained":
        parts.append(config.backbone)
    if config.missing:
        parts.append("without-" + "-".join(sorted(config.missing)))
    return run / "-".join(parts)


def heads_are_whole(directory: Path) -> bool:
    """Whether the heads in a directory were written to the end."""
    return (directory / PARTS[-1]).is_dir()


def save_heads(heads: Heads, run: Path) -> None:
    """Write one directory a task, each with the heads' options."""
    directory = heads_directory(run, heads.config)
    state = heads.state_dict()
    for part in PARTS:
        prefixes = (f"{part}.", f"readouts.{part}.", *(("skip.",) if part == SHARED else ()))
        tensors = {name: values for name, values in state.items() if name.startswith(prefixes)}
        save_tensors(directory / part, tensors, {"options": heads.config.model_dump(mode="json")})


def trained_options(run: Path, config: PretrainConfig, backbone: str, missing: tuple[str, ...]) -> HeadConfig:
    """The options that the heads of a run were trained with.

    Raises:
        UserError: there are none, or they are damaged.
    """
    wanted = config.heads.model_copy(update={"backbone": backbone, "missing": missing})
    directory = heads_directory(run, wanted)
    if not directory.is_dir():
        raise UserError("holds no heads", directory, "train them with jepa heads")
    _, numbers = load_tensors(directory / PARTS[-1])
    return HeadConfig.model_validate(numbers["options"])


def load_heads(run: Path, model: JepaModel, config: HeadConfig) -> Heads:
    """The heads that `save_heads` wrote.

    Raises:
        UserError: there are none, or they are damaged or of another model.
    """
    directory = heads_directory(run, config)
    if not directory.is_dir():
        raise UserError("holds no heads", directory, "train them with jepa heads")
    state: dict[str, Tensor] = {}
    options: dict[str, Any] = {}
    for part in PARTS:
        tensors, numbers = load_tensors(directory / part)
        state |= tensors
        options = numbers["options"]
    heads = Heads(model.layout, model.width, HeadConfig.model_validate(options))
    try:
        heads.load_state_dict(state)
    except RuntimeError:
        raise UserError("its heads are of another model", directory, "train them again with jepa heads") from None
    return heads.to(next(model.parameters()).device).eval()


@dataclass
class JepaPredictor:
    """Frozen backbone, heads and the statistics of their inputs."""

    model: JepaModel
    heads: Heads
    normalisers: Normalisers
    config: PretrainConfig
    name: str = "jepa"

    @classmethod
    def load(
        cls,
        run: Path,
        device: torch.device | str = "cpu",
        *,
        backbone: str = "pretrained",
        missing: tuple[str, ...] = (),
    ) -> "JepaPredictor":
        """The predictor of a run.

        Raises:
            UserError: the run is incomplete or damaged.
        """
        config = load_config(run / "config.yaml")
        options = config.heads.model_copy(update={"backbone": backbone, "missing": missing})
        model = load_backbone(run, config, backbone, device)
        heads = load_heads(run, model, options)
        config = config.model_copy(update={"heads": heads.config})
        return cls(model, heads, Normalisers.load(run / "stats.json"), config)

    @torch.no_grad()
    def predict_history(self, history: History, normaliser: Normaliser) -> Output:
        """Predict from observed frames alone."""
        device = next(self.model.parameters()).device
        values = {name: normaliser(name, frames.to(device)).float() for name, frames in history.values.items()}
        seen = {name: part for name, part in values.items() if name in self.model.layout.modalities}
        latents = latents_of(self.model, relative(seen, self.config.inputs), self.config.heads)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for rows in torch.arange(len(history), device=device).split(CHUNK):
            output = self.heads(latents.select(rows), {name: part[rows] for name, part in values.items()})
            found.append(
                (
                    normaliser.position_m_of(output.trajectory),
                    output.logits,
                    normaliser.power_db_of(output.spectrum),
                )
            )
        latent = latents.predicted.get("rf", next(iter(latents.predicted.values())))
        trajectory, logits, spectrum = (torch.cat(column).float().cpu().numpy() for column in zip(*found, strict=True))
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
