"""How fast it is here: windows a second of pretraining and of prediction."""

import time
from typing import Any

import torch

from jepa.config import preset
from jepa.heads import Heads
from jepa.inputs import Normalisers, WindowInputs
from jepa.predictor import JepaPredictor
from jepa.preprocess import Normaliser
from jepa.pretraining import new_model, pretrain
from jepa.samples import History
from jepa.windows import T_OBS, T_WINDOW

__all__ = ["bench"]

STEPS = 30
BATCH = 64
PREDICTED = 2048


def bench(name: str = "small", device: torch.device | str = "cpu") -> dict[str, Any]:
    """`pretrain_windows_per_s` and `predict_windows_per_s` of a preset."""
    config = preset(name, ["epochs=1", f"batch_size={BATCH}"])
    generator = torch.Generator().manual_seed(0)
    frames = {
        "gps": torch.randn(BATCH * STEPS, 2, generator=generator).to(device),
        "rf": torch.randn(BATCH * STEPS, 64, generator=generator).to(device),
    }
    start = torch.randint(BATCH * STEPS - T_WINDOW, (BATCH * STEPS, 1), generator=generator)
    windows = WindowInputs(frames, (start + torch.arange(T_WINDOW)).to(device))
    warm = WindowInputs(frames, windows.index[: 2 * BATCH])
    pretrain(warm, config, device=device, label="")
    began = time.perf_counter()
    pretrain(windows, config, device=device, label="")
    pretraining = len(windows) / (time.perf_counter() - began)
    model = new_model(config, device).eval()
    heads = Heads(model.layout, model.width, config.heads).to(device).eval()
    normaliser = Normaliser(0.0, 1.0, (0.0, 0.0), 1.0)
    predictor = JepaPredictor(model, heads, Normalisers({"*": normaliser}), config)
    power = torch.rand(PREDICTED, T_OBS, 64, generator=generator).to(device)
    history = History({"rf": power, "gps": torch.randn(PREDICTED, T_OBS, 2, generator=generator).to(device)})
    predictor.predict_history(history.select(torch.arange(64)), normaliser)
    began = time.perf_counter()
    predictor.predict_history(history, normaliser)
    return {
        "preset": name,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "pretrain_windows_per_s": round(pretraining, 1),
        "predict_windows_per_s": round(PREDICTED / (time.perf_counter() - began), 1),
    }
