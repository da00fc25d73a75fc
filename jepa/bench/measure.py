"""The parts of the benchmark; every figure is a median."""

from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import Any

import torch

from jepa.bench.given import STATISTICS, drive, frames_of, seconds
from jepa.bench.sizes import Sizes
from jepa.bench.steps import compared_steps
from jepa.config import PretrainConfig, preset
from jepa.data.inputs import Normalisers, WindowInputs
from jepa.data.samples import History
from jepa.data.windows import T_OBS, T_WINDOW
from jepa.heads.network import Heads
from jepa.inference.forecast import Forecast
from jepa.inference.predictor import JepaPredictor
from jepa.inference.streaming import StreamingPredictor
from jepa.paradigms.pretraining import new_model, pretrain
from jepa.tokens.tokenizers import TOKENIZERS
from twin.errors import UserError

__all__ = ["PARTS", "bench"]

DIGITS = 4
"""Of a figure."""
RATE_REPEATS = 3
"""Of the rates of power and position alone."""
PAPER_SIZE = 224, 128
"""Side of the paper's pictures [pixels], and its D."""
PAPER_EPOCHS, PAPER_WINDOWS = 100, 2138
Report = dict[str, Any]


def bench(
    parts: Iterable[str] = (),
    name: str = "small",
    device: torch.device | str = "cpu",
    sizes: Sizes | None = None,
    *,
    compiled: bool | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> Report:
    """The figures of some parts, or of all.

    Args:
        name: preset of the rates of power and position alone; the other parts have the paper's five modalities.
        compiled: compile encoder and predictor; on a GPU unless it says otherwise.
        note: told what is being measured.

    Raises:
        UserError: an unknown part.
    """
    chosen = list(parts) or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        raise UserError(f"unknown part {unknown[0]!r}", "jepa bench", f"choose from {', '.join(PARTS)}")
    place = torch.device(device)
    accelerated = place.type == "cuda"
    sizes, compiled = sizes or Sizes.of(place), accelerated if compiled is None else compiled
    report: Report = {
        "device": torch.cuda.get_device_name(place) if accelerated else str(place),
        "threads": torch.get_num_threads(),
        "compiled": compiled,
    }
    for part in chosen:
        note(f"measuring {part}")
        report |= PARTS[part](sizes, name, place, compiled)
    if "paper_pretraining_min" in report:
        step = f"steps of {report['train_step_batch']} windows of one long drive in memory"
        note(f"paper_pretraining_min is extrapolated from {step}: no such training was run")
    return {key: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for key, value in report.items()}


def _pretraining(sizes: Sizes, name: str, device: torch.device, compiled: bool) -> Report:
    """Windows a second of pretraining on power and position."""
    config = preset(name, ["epochs=1", "batch_size=64", "inputs.modalities=[gps, rf]"])
    frames = frames_of(("gps", "rf"), sizes.pretrained + T_WINDOW - 1, 0, device)
    windows = WindowInputs(frames, drive(sizes.pretrained), device)
    train = partial(pretrain, config=config, device=device, label="", compiled=compiled)
    train(WindowInputs(frames, windows.index[:128], device))
    times = [seconds(lambda: train(windows), device) for _ in range(RATE_REPEATS)]
    return {"preset": name, "pretrain_windows_per_s": len(windows) / median(times)}


def _prediction(sizes: Sizes, name: str, device: torch.device, compiled: bool) -> Report:
    """Windows a second of prediction from power and position."""
    predictor = _predictor(preset(name, ["inputs.modalities=[gps, rf]"]), device)
    history = History(_history(sizes.predicted))
    predictor.predict_history(history.select(torch.arange(min(64, sizes.predicted))), STATISTICS)
    times = [seconds(lambda: predictor.predict_history(history, STATISTICS), device) for _ in range(RATE_REPEATS)]
    return {"preset": name, "predict_windows_per_s": len(history) / median(times)}


def _predictor(config: PretrainConfig, device: torch.device) -> JepaPredictor:
    model = new_model(config, device).eval().requires_grad_(False)
    heads = Heads(model.layout, model.width, config.heads).to(device).eval()
    return JepaPredictor(model, heads, Normalisers({"*": STATISTICS}), config)


def _history(windows: int) -> dict[str, torch.Tensor]:
    """Positions [m] and linear powers, on the CPU as in the store that prediction reads."""
    generator = torch.Generator().manual_seed(0)
    power = 10 ** (torch.randn(windows, T_OBS, 64, generator=generator) / 10)
    return {"gps": torch.randn(windows, T_OBS, 2, generator=generator), "rf": power}


def _steps(sizes: Sizes, name: str, device: torch.device, compiled: bool) -> Report:
    """A training step beside the plain one, with the camera's network frozen, and trained; at the paper's size also
    `paper_pretraining_min`."""
    found = compared_steps("frozen", sizes, device, compiled) | compared_steps("trained", sizes, device, compiled)
    if (found["train_step_pixels_trained"], found["train_step_width"]) == PAPER_SIZE:
        found["paper_pretraining_min"] = _paper_pretraining_min(found)
    return found


def _paper_pretraining_min(found: Report) -> float:
    """What the paper's epochs over its windows would take at the rate of the measured step [min]; none was run.

    An extrapolation: the step has `train_step_batch` windows, all of one long drive whose frames are in memory. Reading
    recordings, the looks at rank and variance between epochs and checkpoints are not in it, nor is what other batches,
    or many short drives, would cost.
    """
    windows_per_s = 1e3 * found["train_step_batch"] / found["train_step_ms_trained"]
    return PAPER_EPOCHS * PAPER_WINDOWS / windows_per_s / 60


def _inference(sizes: Sizes, name: str, device: torch.device, compiled: bool) -> Report:
    """One new frame of all modalities, on the device already, with the tokens of the earlier ones kept; and many
    windows from their tokens."""
    config = preset("paper", [f"model.width={sizes.width}", f"inputs.image_size={sizes.pixels}"])
    streaming = StreamingPredictor(_predictor(config, device), STATISTICS, compiled=compiled)
    drawn = frames_of(config.inputs.modalities, T_OBS + sizes.pushes, sizes.pixels, device)
    frames = {kind: values.to(device) for kind, values in drawn.items()}
    frames["rf"] = 10 ** (frames["rf"] / 10)

    def push(number: int) -> Forecast | None:
        return streaming.push({kind: values[number : number + 1] for kind, values in frames.items()})

    times = [seconds(partial(push, number), device) for number in range(T_OBS + sizes.pushes)]
    kept = {
        kind: torch.randn(sizes.windows, T_OBS, TOKENIZERS[kind].tokens, sizes.width, device=device)
        for kind in streaming.forecaster.large
    }
    history = {kind: values.to(device) for kind, values in _history(sizes.windows).items()}
    many = [seconds(lambda: streaming.predict_tokens(kept, history), device) for _ in range(1 + sizes.repeats)]
    return {
        "inference_ms_batch1": 1e3 * median(times[T_OBS:]),
        "inference_pixels": sizes.pixels,
        "inference_windows_per_s": sizes.windows / median(many[1:]),
        "inference_batch": sizes.windows,
        "inference_width": sizes.width,
    }


PARTS: dict[str, Callable[[Sizes, str, torch.device, bool], Report]] = {
    "pretrain": _pretraining,
    "predict": _prediction,
    "train-step": _steps,
    "inference": _inference,
}
"""What is measured, by the names of the command line."""
