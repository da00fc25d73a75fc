"""Features of a frozen camera network in the place of pictures: each frame goes through it once, and is kept on
disk."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from jepa.backbone.model import JepaModel
from jepa.config import PretrainConfig
from jepa.data.frames import FrameStore
from jepa.tokens.camera import CameraTokenizer, pooled_features
from jepa.training.checkpoint import load_tensors, save_tensors
from twin.console import progress_bar

__all__ = ["with_camera_features"]


def with_camera_features(
    store: FrameStore, config: PretrainConfig, kept: Path | None = None, model: JepaModel | None = None
) -> FrameStore:
    """A store whose camera holds pooled features (frame, 9, 1280) in half precision, where the network is frozen.

    Args:
        model: whose network it is, with the weights that it was trained and stored with; before there is a model, the
            network is that of the configuration.
        kept: directory in which features are kept and looked for, by the content of the recordings, the size of the
            pictures and the weights of the network.
    """
    if "camera" not in store.values or config.model.camera != "frozen" or store.values["camera"].ndim == 3:
        return store
    pictures = store.values["camera"]
    device = pictures.device
    tokenizer = _tokenizer_of(model) if model else CameraTokenizer(config.model).to(device).eval()
    place = kept / _name(store, tokenizer) if kept else None
    if place and place.exists():
        features = load_tensors(place)[0]["features"].to(device)
    else:
        parts, done = [], 0
        with progress_bar() as bar:
            task = bar.add_task("camera features", total=len(pictures))
            for part in pooled_features(tokenizer, pictures):
                parts.append(part)
                done += len(part)
                bar.update(task, completed=done)
        features = torch.cat(parts)
        if place:
            _keep(place, features)
    return replace(store, values={**store.values, "camera": features})


def _keep(place: Path, features: Tensor) -> None:
    """Keep features for the next time; where nothing may be written, as beside an installed model, say so."""
    try:
        save_tensors(place, {"features": features}, {})
    except OSError as error:
        print(f"{place.parent}: camera features are not kept ({error.strerror})", file=sys.stderr)


def _tokenizer_of(model: JepaModel) -> CameraTokenizer:
    tokenizer = model.context.embedding.tokenizers["camera"]
    assert isinstance(tokenizer, CameraTokenizer)
    return tokenizer


def _name(store: FrameStore, tokenizer: CameraTokenizer) -> str:
    """Of the recordings, the pictures' size and the network."""
    digest = hashlib.sha256()
    for episode in store.episodes:
        digest.update(episode.content_hash.encode())
    digest.update(str(tuple(store.values["camera"].shape[1:])).encode())
    for values in tokenizer.features.state_dict().values():
        digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
