"""What handles modalities takes them from configuration: a third one joins by an entry in each table."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from jepa.backbone.model import JepaModel
from jepa.config import preset
from jepa.data.frames import READERS, FrameStore
from jepa.data.splits import make_split
from jepa.data.windows import complete_windows
from jepa.inference.predictor import JepaPredictor
from jepa.tokens.tokenizers import TOKENIZERS, Layout, Tokenizer
from jepa.workflows import adapt_run, evaluate_run, heads, heads_run, predict_run, pretrain_run
from twin.errors import UserError
from twin.recording import Recording

MAP = (64, 256)
TOKENS = 3
LOST = 5
"""Frame of every drive whose radar map is invalid."""


class _MapTokenizer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.width = config.width
        self.out = nn.Linear(MAP[0], TOKENS * self.width)

    def forward(self, maps):
        return self.out(maps.float().mean(-1)).unflatten(1, (TOKENS, self.width))


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


@pytest.mark.parametrize(
    ("settings", "losses"),
    [([], {"loss_radar", "loss_gps", "loss_rf"}), (["model.fusion_tokens=2"], {"loss_fusion"})],
)
def test_a_third_modality_goes_from_the_recording_to_the_evaluation(radar_dataset, tmp_path, settings, losses):
    tiny = ["model.width=16", "epochs=1", "heads.epochs=1", "heads.width=16"]
    config = preset("small", ["inputs.modalities=[radar, gps, rf]", *tiny, *settings])
    run = tmp_path / "run"
    pretrain_run([radar_dataset], run, config, device="cpu", label="")
    heads_run(run, [radar_dataset], device="cpu", label="")
    assert predict_run(run, [radar_dataset], device="cpu") == 3
    report = evaluate_run(run, [radar_dataset], device="cpu")
    assert np.isfinite(report["beam"]["top1"]["value"])
    assert report["representation"]["lda_rank"]["value"] > 1
    assert report["left_out"]["invalid"] == 0, "windows that lost a map are predicted like all others"
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {name for name in log[0] if name.startswith("loss_")} == losses
    dropped = evaluate_run(run, [radar_dataset], dropped=["radar"], device="cpu")
    assert dropped["windows"] == report["windows"]
    assert dropped["rssi"] != report["rssi"]
    with pytest.raises(UserError, match="all observed frames of rf are lost"):
        evaluate_run(run, [radar_dataset], dropped=["rf"], device="cpu")
    with pytest.raises(UserError, match="reads no lidar"):
        evaluate_run(run, [radar_dataset], dropped=["lidar"], device="cpu")
    tokens = JepaModel(config.inputs.modalities, config.model).layout.tokens
    assert tokens == 13 * (TOKENS + 1 + 1)


def test_a_site_without_a_sensor_is_adapted_to_by_the_heads_trained_without_it(radar_dataset, drive, tmp_path):
    for number in range(10):
        drive(number, seed=4).save(tmp_path / "site")
    run, site, out = tmp_path / "run", tmp_path / "site", tmp_path / "adapted"
    tiny = ["model.width=16", "epochs=1", "heads.epochs=1", "heads.width=16", "model.fusion_tokens=2"]
    pretrain_run([radar_dataset], run, preset("small", ["inputs.modalities=[radar, gps, rf]", *tiny]), label="")
    heads_run(run, [radar_dataset], label="")
    heads_run(run, [radar_dataset], missing=["radar"], label="")
    with pytest.raises(UserError, match="has no radar"):
        adapt_run(run, [site], out, label="")
    assert not out.exists()
    adapt_run(run, [site], out, missing=["radar"], steps=2, label="")
    report = evaluate_run(out, [site], missing=["radar"])
    assert report["protocol"] == "blocked"
    assert np.isfinite(report["beam"]["top1"]["value"])
    heads_run(run, [site], missing=["radar", "gps"], label="")


def test_heads_trained_without_a_sensor_keep_the_windows_in_which_it_was_lost(radar_dataset, tmp_path, monkeypatch):
    run, seen = tmp_path / "run", []
    tiny = ["model.width=16", "epochs=1", "heads.epochs=1", "heads.width=16"]
    pretrain_run([radar_dataset], run, preset("small", ["inputs.modalities=[radar, gps, rf]", *tiny]), label="")
    train_heads = heads.train_heads
    monkeypatch.setattr(
        heads, "train_heads", lambda *given, **named: seen.append(given[2]) or train_heads(*given, **named)
    )
    heads_run(run, [radar_dataset], label="")
    heads_run(run, [radar_dataset], missing=["radar"], label="")
    whole, without = (windows.index[:, 0].tolist() for windows in seen)
    of_a_drive = FrameStore.load([radar_dataset]).episodes[0].frames
    assert not [first for first in whole if first % of_a_drive <= LOST]
    assert [first for first in without if first % of_a_drive <= LOST]


def test_recordings_without_a_modality_are_predicted_as_if_all_of_it_were_lost(radar_dataset, tmp_path, drive, capsys):
    tiny = ["model.width=16", "epochs=1", "heads.epochs=1", "heads.width=16"]
    config = preset("small", ["inputs.modalities=[radar, gps, rf]", *tiny])
    run, bare, mixed = tmp_path / "run", tmp_path / "bare", tmp_path / "mixed"
    pretrain_run([radar_dataset], run, config, device="cpu", label="")
    heads_run(run, [radar_dataset], device="cpu", label="")
    heads_run(run, [radar_dataset], missing=["radar"], device="cpu", label="")
    for number in range(10, 14):
        plain = drive(number)
        plain.save(bare)
        if number > 11:
            maps = np.full((plain.frames, *MAP), -3, np.float16)
            plain = Recording(
                plain.name,
                plain.manifest,
                {**plain.arrays, "radar": maps, "valid_radar": np.ones(plain.frames, bool)},
            )
        plain.save(mixed)
    capsys.readouterr()

    def told(data, **options):
        report = evaluate_run(run, [data], device="cpu", **options)
        return report, capsys.readouterr().err

    report, line = told(bare)
    assert line == "not in the recordings, so all of its frames count as lost: radar\n"
    dropped, silence = told(bare, dropped=["radar"])
    assert silence == ""
    assert dropped == report == told(mixed, dropped=["radar"])[0]
    partly, line = told(mixed)
    assert line.endswith("lost: radar (in 2 of 4)\n")
    assert partly["rssi"] != report["rssi"]
    without, silence = told(bare, missing=["radar"])
    assert silence == ""
    assert without["rssi"] == told(mixed, missing=["radar"])[0]["rssi"] != report["rssi"]
    assert predict_run(run, [bare], device="cpu") == 4
    with pytest.raises(UserError, match="has no radar"):
        heads_run(run, [bare], replace=True, device="cpu", label="")


def test_what_drops_out_is_not_even_decoded(radar_dataset, tmp_path, monkeypatch):
    tiny = ["model.width=16", "epochs=1", "heads.epochs=1", "heads.width=16"]
    config = preset("small", ["inputs.modalities=[radar, gps, rf]", *tiny])
    pretrain_run([radar_dataset], tmp_path / "run", config, device="cpu", label="")
    heads_run(tmp_path / "run", [radar_dataset], device="cpu", label="")
    wanted = evaluate_run(tmp_path / "run", [radar_dataset], dropped=["radar"], device="cpu")
    predictor = JepaPredictor.load(tmp_path / "run")
    store = FrameStore.load([radar_dataset], modalities=["radar"])
    windows = make_split(store).parts["test"]
    whole = predictor.predict(store, windows, lambda history: history.without(["radar"]))
    monkeypatch.setitem(READERS, "radar", lambda recording: pytest.fail("it was read"))
    assert evaluate_run(tmp_path / "run", [radar_dataset], dropped=["radar"], device="cpu") == wanted
    unread = predictor.predict(FrameStore.load([radar_dataset]), windows)
    np.testing.assert_array_equal(unread.beam_logits, whole.beam_logits)


def test_a_model_without_that_modality_neither_reads_nor_needs_it(radar_dataset):
    store = FrameStore.load([radar_dataset])
    assert set(store.values) == {"gps", "rf"}
    with_radar = FrameStore.load([radar_dataset], modalities=["radar"])
    assert set(with_radar.values) == {"gps", "rf", "radar"}, "the tasks are about positions and beams"
    train = make_split(with_radar).parts["train"]
    assert len(train) == len(make_split(store).parts["train"])
    whole = complete_windows(with_radar, train, ["radar", "gps", "rf"])
    assert whole.invalid == len(train) - len(whole) == 7 * (LOST + 1), "what lost a map is not trained on"


def test_a_modality_that_nobody_reads_is_named(dataset):
    with pytest.raises(UserError, match="no modality 'sonar'"):
        FrameStore.load([dataset], modalities=["gps", "sonar"])


def test_a_name_without_a_row_in_the_modality_table_is_refused(monkeypatch):
    monkeypatch.setitem(TOKENIZERS, "thermal", TOKENIZERS["gps"])
    with pytest.raises(UserError, match="unknown modality 'thermal'"):
        Layout.of(("gps", "thermal"))


def test_what_drops_out_at_run_time_cannot_be_seen(radar_dataset, tmp_path):
    """With the radar lost the predictions are the same whatever its maps hold; with some frames lost they differ."""
    tiny = ["model.width=16", "epochs=1", "heads.epochs=1", "heads.width=16"]
    config = preset("small", ["inputs.modalities=[radar, gps, rf]", *tiny])
    pretrain_run([radar_dataset], tmp_path / "run", config, device="cpu", label="")
    heads_run(tmp_path / "run", [radar_dataset], device="cpu", label="")
    predictor = JepaPredictor.load(tmp_path / "run")
    store = FrameStore.load([radar_dataset], modalities=["radar"])
    windows = make_split(store).parts["test"]
    garbage = dataclasses.replace(store, values={**store.values, "radar": torch.full_like(store.values["radar"], -1.0)})
    lost, other = (predictor.predict(seen, windows, lambda h: h.without(["radar"])) for seen in (store, garbage))
    np.testing.assert_array_equal(lost.beam_logits, other.beam_logits)
    whole = predictor.predict(store, windows)
    assert np.abs(whole.beam_logits - lost.beam_logits).max() > 1e-4
    touched = (~store.valid["radar"])[windows.history].any(1).numpy()
    assert touched.any()
    assert not touched.all()
    assert np.isfinite(whole.beam_logits[touched]).all()
