"""What handles modalities takes them from configuration: a third one joins by an entry in each table."""

import json

import numpy as np
import pytest
from torch import nn

from jepa.config import preset
from jepa.frames import FrameStore
from jepa.model import JepaModel
from jepa.splits import make_split
from jepa.tokenizers import TOKENIZERS, Layout, Tokenizer
from jepa.workflows import evaluate_run, heads_run, predict_run, pretrain_run
from twin.errors import UserError
from twin.recording import Recording

MAP = (64, 256)
TOKENS = 3
LOST = 5
"""Frame of every drive whose radar map is invalid."""


class _MapTokenizer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.out = nn.Linear(MAP[0], TOKENS * width)
        self.width = width

    def forward(self, maps):
        return self.out(maps.mean(-1)).unflatten(1, (TOKENS, self.width))


@pytest.fixture
def radar_dataset(tmp_path, drive, monkeypatch):
    """Ten drives with a radar map of the car, and the table of tokenizers that knows it."""
    monkeypatch.setitem(TOKENIZERS, "radar", Tokenizer(_MapTokenizer, tokens=TOKENS, shape=MAP))
    for number in range(10):
        plain = drive(number)
        power_db = 10 * np.log10(plain.arrays["rf"])
        maps = np.repeat(power_db[:, :, None], MAP[1], axis=2).astype(np.float16)
        valid = np.arange(plain.frames) != LOST
        maps[~valid] = np.nan
        arrays = {**plain.arrays, "radar": maps, "valid_radar": valid}
        Recording(plain.name, plain.manifest, arrays).save(tmp_path / "data")
    return tmp_path / "data"


def test_a_third_modality_goes_from_the_recording_to_the_evaluation(radar_dataset, tmp_path):
    tiny = ["model.width=16", "epochs=1", "heads.epochs=1", "heads.width=16"]
    config = preset("small", ["inputs.modalities=[radar, gps, rf]", *tiny])
    run = tmp_path / "run"
    pretrain_run([radar_dataset], run, config, device="cpu", label="")
    heads_run(run, [radar_dataset], device="cpu", label="")
    assert predict_run(run, [radar_dataset], device="cpu") == 3
    report = evaluate_run(run, [radar_dataset], device="cpu")
    assert np.isfinite(report["beam"]["top1"]["value"])
    assert report["representation"]["lda_rank"]["value"] > 1
    assert report["left_out"]["invalid"] == 2 * (LOST + 1), "windows without a valid map are left out and counted"
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"loss_radar", "loss_gps", "loss_rf"} <= set(log[0])
    tokens = JepaModel(config.inputs.modalities, config.model).layout.tokens
    assert tokens == 13 * (TOKENS + 1 + 1)


def test_a_model_without_that_modality_neither_reads_nor_needs_it(radar_dataset):
    store = FrameStore.load([radar_dataset])
    assert set(store.values) == {"gps", "rf"}
    with_radar = FrameStore.load([radar_dataset], modalities=["radar"])
    assert set(with_radar.values) == {"gps", "rf", "radar"}, "the tasks are about positions and beams"
    lost = len(make_split(store).parts["train"]) - len(make_split(with_radar).parts["train"])
    assert lost == 7 * (LOST + 1)


def test_a_modality_that_nobody_reads_is_named(dataset):
    with pytest.raises(UserError, match="no modality 'sonar'"):
        FrameStore.load([dataset], modalities=["gps", "sonar"])


def test_a_name_without_a_row_in_the_modality_table_is_refused(monkeypatch):
    monkeypatch.setitem(TOKENIZERS, "thermal", TOKENIZERS["gps"])
    with pytest.raises(UserError, match="unknown modality 'thermal'"):
        Layout.of(("gps", "thermal"))
