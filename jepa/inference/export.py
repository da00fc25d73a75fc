"""A run as one file that needs none of this project: raw frames in, metres, scores and dB out.

Normalisation, tokenizers, backbone and heads become one module with a free number of windows, saved by `torch.export`
(`model.pt2`) or as ONNX (`model.onnx`). What it was made of, and what it takes and gives, stands beside it.
"""

import hashlib
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from jepa.data.preprocess import Normaliser
from jepa.data.samples import History
from jepa.data.windows import T_OBS, T_PRED
from jepa.inference.forecast import Forecaster, statistics_of, stretches
from jepa.inference.predictor import JepaPredictor
from jepa.runs.directory import open_run
from jepa.runs.heads import heads_directory
from jepa.tokens.tokenizers import MODALITY_NAMES, TOKENIZERS
from jepa.training.checkpoint import MANIFEST as CHECKPOINT_MANIFEST
from jepa.training.checkpoint import latest_step
from twin.errors import UserError
from twin.recording import new_directory
from twin.recording.directory import MANIFEST

__all__ = ["FORMATS", "RawForecaster", "example_inputs", "export_run"]

EXAMPLE_WINDOWS = 2
"""Windows that the module is traced with."""
CHECKED_WINDOWS = 3
"""Windows on which what was written is compared with the run: another number than it was traced with."""
LARGEST_DIFFERENCE = 1e-3
"""Share of the largest value by which the file may differ from the run; another order of sums stays far below."""


class _Signal(NamedTuple):
    """What a tensor of the module means."""

    unit: str
    meaning: str
    dtype: torch.dtype = torch.float32


INPUTS = {
    "camera": _Signal("1", "pictures, red, green and blue from 0 to 255", torch.uint8),
    "radar": _Signal("dB", "range-angle maps"),
    "lidar": _Signal("m", "depth images, NaN for no return"),
    "gps": _Signal("m", "east and north of the base station"),
    "rf": _Signal("linear", "received power of 64 beams, as it was recorded"),
}
OUTPUTS = {
    "trajectory_m": _Signal("m", "east and north of the base station in the frames to come"),
    "beam_logits": _Signal("1", "scores of 64 beams, larger is better"),
    "spectrum_db": _Signal("dB", "10 log10 of the power of 64 beams"),
}


class RawForecaster(nn.Module):
    """From eight raw frames of every modality to a forecast; what the run does not read is left out.

    A frame that was lost has no place here: `jepa.inference.streaming` hides it.
    """

    def __init__(self, predictor: JepaPredictor, normaliser: Normaliser) -> None:
        super().__init__()
        self.forecaster = Forecaster(predictor, normaliser)
        self.window = stretches(self.forecaster.layout, self.forecaster.missing)
        read = (*self.forecaster.large, *self.forecaster.small)
        side = predictor.config.inputs.image_size
        self.shapes = {
            name: (T_OBS, *((side, side, 3) if name == "camera" else TOKENIZERS[name].shape))
            for name in MODALITY_NAMES
            if name in read
        }

    def forward(
        self,
        camera: UInt8[Tensor, "batch 8 row column 3"] | None = None,
        radar: Float[Tensor, "batch 8 64 256"] | None = None,
        lidar: Float[Tensor, "batch 8 64 256"] | None = None,
        gps: Float[Tensor, "batch 8 2"] | None = None,
        rf: Float[Tensor, "batch 8 64"] | None = None,
    ) -> dict[str, Tensor]:
        """The five frames to come, by the names of `Forecast`; of the tasks that the run was trained on."""
        forecaster = self.forecaster
        raw = {"camera": camera, "radar": radar, "lidar": lidar, "gps": gps, "rf": rf}
        ready = {name: forecaster.standardise(name, _present(raw[name], name)) for name in self.shapes}
        history = {name: ready[name] for name in forecaster.small}
        tokens = forecaster.small_tokens(history)
        for name in forecaster.large:
            tokens[name] = forecaster.tokenize(name, ready[name].flatten(0, 1)).unflatten(0, (-1, T_OBS))
        found = forecaster.forecast(forecaster.latents(tokens, self.window), history)._asdict()
        return {name: found[name] for name in forecaster.told}


def _present(values: Tensor | None, name: str) -> Tensor:
    if values is None:
        raise ValueError(f"the model reads {name}, which is not given")
    return values


def example_inputs(
    model: RawForecaster, normaliser: Normaliser, windows: int, seed: int = 0
) -> dict[str, Shaped[Tensor, "window 8 ..."]]:
    """Raw frames such as the model was trained on, drawn at random."""
    generator = np.random.default_rng([seed, windows])
    found = {}
    for name, shape in model.shapes.items():
        size = (windows, *shape)
        if name == "camera":
            found[name] = torch.from_numpy(generator.integers(0, 256, size, np.uint8))
            continue
        if name == "lidar":
            values = np.where(generator.random(size) < 0.3, np.nan, generator.uniform(1, 100, size))
        elif name == "radar":
            values = generator.normal(normaliser.radar_mean_db or 0.0, normaliser.radar_std_db or 1.0, size)
        elif name == "gps":
            values = generator.normal(normaliser.position_mean_m, normaliser.position_scale_m, size)
        else:
            values = 10 ** (generator.normal(normaliser.power_mean_db, normaliser.power_std_db, size) / 10)
        found[name] = torch.from_numpy(values.astype(np.float32))
    return found


def _saved_by_torch(model: RawForecaster, inputs: dict[str, Tensor], path: Path) -> None:
    torch.export.save(_traced(model, inputs), path)


def _saved_as_onnx(model: RawForecaster, inputs: dict[str, Tensor], path: Path) -> None:
    program = torch.onnx.export(
        _traced(model, inputs),
        kwargs=inputs,
        dynamo=True,
        input_names=list(inputs),
        output_names=list(model.forecaster.told),
        dynamic_shapes={name: {0: "batch"} for name in inputs},
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)


def _traced(model: RawForecaster, inputs: dict[str, Tensor]) -> torch.export.ExportedProgram:
    batch = {name: {0: torch.export.Dim.DYNAMIC} for name in inputs}
    return torch.export.export(model, (), inputs, dynamic_shapes=batch)


def _run_by_torch(path: Path, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.export.load(path).module()(**inputs)
    return found


def _run_by_onnx(path: Path, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    session = importlib.import_module("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: values.numpy() for name, values in inputs.items()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


class _Format(NamedTuple):
    """How a format is written and read."""

    file: str
    save: Callable[[RawForecaster, dict[str, Tensor], Path], None]
    run: Callable[[Path, Mapping[str, Tensor]], dict[str, Tensor]]
    packages: tuple[str, ...] = ()


FORMATS = {
    "torch": _Format("model.pt2", _saved_by_torch, _run_by_torch),
    "onnx": _Format("model.onnx", _saved_as_onnx, _run_by_onnx, ("onnx", "onnxscript", "onnxruntime")),
}


def export_run(
    run: Path,
    out: str | Path,
    format: str = "torch",
    *,
    dataset: str | None = None,
    missing: tuple[str, ...] = (),
    cascade: bool | None = None,
) -> dict[str, Any]:
    """Write a run with heads as one module into `out`, whole or not at all; returns what stands beside it.

    Args:
        format: `torch` (`model.pt2`) or `onnx` (`model.onnx`).
        dataset: whose statistics go in, where the run has those of several.
        missing: of the heads that were trained without a modality.
        cascade: the heads with the cascade, or those without; as the run's configuration says unless given.

    Raises:
        UserError: `out` exists, the format is unknown or its packages are not installed, the run holds no heads
            or is of other datasets.
    """
    chosen, description = _format(format), open_run(run)
    if description.kind != "model":
        raise UserError(f"is a run of the baseline {description.name}", run, "name a run of jepa pretrain")
    with new_directory(out) as place:
        predictor = JepaPredictor.load(run, "cpu", missing=missing, cascade=cascade)
        normaliser = statistics_of(predictor.normalisers, dataset, description.datasets)
        model = RawForecaster(predictor, normaliser).eval()
        path = Path(place) / chosen.file
        with _quiet(), torch.no_grad():
            chosen.save(model, example_inputs(model, normaliser, EXAMPLE_WINDOWS), path)
            inputs = example_inputs(model, normaliser, CHECKED_WINDOWS, seed=1)
            difference = _difference(chosen.run(path, inputs), predictor, normaliser, inputs)
        manifest = {
            "kind": "exported model",
            "format": format,
            "file": chosen.file,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "run": run.absolute().name,
            "run_hash": _run_hash(run, predictor),
            "modalities": list(model.shapes),
            "dataset": dataset,
            "inputs": {name: _described(INPUTS[name], shape) for name, shape in model.shapes.items()},
            "outputs": {
                name: _described(OUTPUTS[name], (T_PRED, 2 if name == "trajectory_m" else 64))
                for name in model.forecaster.told
            },
            "largest_difference_from_the_run": difference,
            "torch": torch.__version__,
        }
        (Path(place) / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def _format(name: str) -> _Format:
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}", "--format", f"choose from {', '.join(FORMATS)}")
    for package in FORMATS[name].packages:
        try:
            importlib.import_module(package)
        except ImportError:
            remedy = "pip install 'jepa-msac-twin[export]'"
            raise UserError(f"{package} is not installed", f"--format {name}", remedy) from None
    return FORMATS[name]


def _described(signal: _Signal, shape: tuple[int, ...]) -> dict[str, Any]:
    dtype = str(signal.dtype).removeprefix("torch.")
    return {"shape": ["batch", *shape], "dtype": dtype, "unit": signal.unit, "meaning": signal.meaning}


def _difference(
    made: Mapping[str, Tensor], predictor: JepaPredictor, normaliser: Normaliser, inputs: dict[str, Tensor]
) -> dict[str, float]:
    """Largest absolute difference of every output from what the run says."""
    wanted = predictor.predict_history(History(inputs), normaliser)
    found = {}
    for name, values in made.items():
        reference = getattr(wanted, name)
        found[name] = float(np.abs(values.detach().numpy() - reference).max())
        if not found[name] <= LARGEST_DIFFERENCE * max(1.0, float(np.abs(reference).max())):
            raise RuntimeError(f"{name} of the exported model differs from the run by {found[name]:g}")
    return found


def _run_hash(run: Path, predictor: JepaPredictor) -> str:
    """SHA-256 over the configuration, the statistics and the manifests of the weights: what the forecasts depend on."""
    checkpoint = run / "checkpoints" / f"step-{latest_step(run / 'checkpoints')}"
    heads = heads_directory(run, predictor.heads.config)
    weights = sorted(heads.glob(f"*/{CHECKPOINT_MANIFEST}"))
    files = [run / "config.yaml", run / "stats.json", checkpoint / CHECKPOINT_MANIFEST, *weights]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.parent.name}/{path.name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say of packages that nothing here needs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
