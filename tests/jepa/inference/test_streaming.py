"""A stream says of its last eight frames what the predictor says of them as a window."""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from jepa import workflows
from jepa.config import preset
from jepa.data.inputs import Normalisers
from jepa.data.preprocess import Normaliser
from jepa.data.samples import History
from jepa.heads.network import Heads
from jepa.inference.forecast import Forecaster, statistics_of, stretches
from jepa.inference.predictor import JepaPredictor
from jepa.inference.streaming import StreamingPredictor
from jepa.paradigms.pretraining import new_model
from jepa.runs.heads import save_heads
from jepa.tokens.tokenizers import Layout
from twin.errors import UserError

ALL = ("camera", "radar", "lidar", "gps", "rf")
TOLERANCE = 1e-5
STREAMS, FRAMES = 2, 10
TINY = ["model.width=16", "model.attention_heads=2", "model.encoder_layers=2", "model.predictor_layers=1"]
STATISTICS = Normaliser(-20.0, 6.0, (3.0, 12.0), 8.0, ((0.8, 0.6), (-0.6, 0.8)), -90.0, 7.0)


def config_of(modalities, *settings):
    named = f"inputs.modalities=[{', '.join(modalities)}]"
    return preset("small", [*TINY, named, "heads.width=16", "heads.skip=8", "inputs.image_size=32", *settings])


@cache
def model_of(modalities, *settings):
    """A backbone with random weights."""
    return new_model(config_of(modalities, *settings)).eval()


def predictor_of(modalities, *settings):
    """It with heads of random weights."""
    config = config_of(modalities, *settings)
    torch.manual_seed(3)
    model = model_of(modalities, *(setting for setting in settings if setting.startswith("model.")))
    heads = Heads(model.layout, model.width, config.heads).eval()
    for values in heads.parameters():
        torch.nn.init.normal_(values, 0.0, 0.2)  # gains of a gated head start at zero and would hide the latents
    return JepaPredictor(model, heads, Normalisers({"*": STATISTICS}), config)


@pytest.fixture(scope="module")
def scene():
    """Ten frames of two streams in which everything changes."""
    rng = np.random.default_rng(5)
    position = rng.normal((3, 12), 8, (STREAMS, 1, 2)) + np.cumsum(rng.normal(0.5, 0.2, (STREAMS, FRAMES, 2)), 1)
    depth = rng.uniform(2, 120, (STREAMS, FRAMES, 64, 256))
    depth[rng.random(depth.shape) < 0.3] = np.nan
    values = {
        "camera": torch.from_numpy(rng.integers(0, 256, (STREAMS, FRAMES, 32, 32, 3), np.uint8)),
        "radar": torch.from_numpy(rng.normal(-90, 7, (STREAMS, FRAMES, 64, 256))).half(),
        "lidar": torch.from_numpy(depth).half(),
        "gps": torch.from_numpy(position).float(),
        "rf": torch.from_numpy(10 ** rng.normal(-2, 0.6, (STREAMS, FRAMES, 64))).float(),
    }
    torch.set_num_threads(1)
    return values


def pushed(streaming, scene, lost=()):
    """Forecasts after every frame; `lost` names modality and frame."""
    found = []
    for frame in range(FRAMES):
        values = {
            name: None if (name, frame) in lost else part[:, frame]
            for name, part in scene.items()
            if name in (*streaming.forecaster.large, *streaming.forecaster.small)
        }
        found.append(streaming.push(values))
    return found


def asked(predictor, scene, last, lost=()):
    """What the predictor says of the eight frames before and with `last`."""
    frames = range(last - 7, last + 1)
    values = {name: part[:, frames] for name, part in scene.items()}
    valid = {name: torch.tensor([(name, frame) not in lost for frame in frames]).expand(STREAMS, -1) for name in values}
    return predictor.predict_history(History(values, valid), STATISTICS)


def furthest(forecast, output):
    """Largest difference, relative to the largest value where that is above one."""
    pairs = [(getattr(forecast, name).numpy(), getattr(output, name)) for name in forecast._fields]
    return max(np.abs(a - b).max() / max(1, np.abs(b).max()) for a, b in pairs)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("heads.readout=attentive", "inputs.position=last"),
        ("heads.readout=target", "heads.missing=[rf]", "heads.gated=false"),
        ("heads.missing=[camera, gps]", "heads.coarse_spectrum=shifted"),
        ("heads.backbone=zeroed",),
    ],
)
def test_after_every_frame_the_forecast_is_that_of_the_last_eight(scene, settings):
    predictor = predictor_of(ALL, *settings)
    found = pushed(StreamingPredictor(predictor, STATISTICS), scene)
    assert found[:7] == [None] * 7
    for last in range(7, FRAMES):
        assert found[last].trajectory_m.shape == (STREAMS, 5, 2)
        assert furthest(found[last], asked(predictor, scene, last)) < TOLERANCE


def test_a_stream_of_positions_and_powers_needs_nothing_else(scene):
    predictor = predictor_of(("gps", "rf"))
    small = {name: scene[name] for name in ("gps", "rf")}
    found = pushed(StreamingPredictor(predictor, STATISTICS), small)
    assert furthest(found[-1], asked(predictor, small, FRAMES - 1)) < TOLERANCE


@pytest.mark.parametrize(("paradigm", "told"), [("localization", "trajectory_m"), ("beam", "beam_logits")])
def test_a_stream_is_silent_about_tasks_that_the_run_was_not_trained_on(scene, paradigm, told):
    predictor = predictor_of(("gps", "rf"), f"paradigm={paradigm}")
    small = {name: scene[name] for name in ("gps", "rf")}
    found, output = pushed(StreamingPredictor(predictor, STATISTICS), small)[-1], asked(predictor, small, FRAMES - 1)
    for name, values in found._asdict().items():
        assert torch.isfinite(values).all() if name == told else torch.isnan(values).all()
        np.testing.assert_allclose(values.numpy(), getattr(output, name), rtol=1e-4, atol=1e-4)


def test_a_stream_of_fused_frames_says_what_the_window_says(scene):
    lost = [("radar", 4), ("rf", 8), ("gps", 9)]
    for settings in ((), ("heads.missing=[rf]",), ("heads.backbone=zeroed",)):
        predictor = predictor_of(("radar", "gps", "rf"), "model.fusion_tokens=3", "heads.readout=attentive", *settings)
        for gone in ([], lost):
            found = pushed(StreamingPredictor(predictor, STATISTICS), scene, gone)
            for last in range(7, FRAMES):
                assert furthest(found[last], asked(predictor, scene, last, gone)) < TOLERANCE


def test_a_stream_of_pictures_alone_has_a_forecast(scene):
    predictor = predictor_of(("camera",))
    found = pushed(StreamingPredictor(predictor, STATISTICS), {"camera": scene["camera"]})
    assert furthest(found[-1], asked(predictor, scene, FRAMES - 1)) < TOLERANCE


@pytest.mark.parametrize(
    "lost",
    [
        [("camera", 5)],
        [("rf", 2), ("rf", 3), ("gps", 9)],
        [("lidar", frame) for frame in range(FRAMES)],
        [("radar", 8), ("radar", 9), ("camera", 8), ("camera", 9)],
    ],
)
def test_lost_frames_are_hidden_and_the_raw_history_keeps_the_last_one(scene, lost):
    predictor = predictor_of(ALL)
    found = pushed(StreamingPredictor(predictor, STATISTICS), scene, lost)
    whole = pushed(StreamingPredictor(predictor, STATISTICS), scene)
    for last in range(7, FRAMES):
        assert furthest(found[last], asked(predictor, scene, last, lost)) < TOLERANCE
    assert any(furthest(found[last], asked(predictor, scene, last)) > TOLERANCE for last in range(7, FRAMES))
    assert furthest(whole[-1], asked(predictor, scene, FRAMES - 1)) < TOLERANCE


@pytest.mark.parametrize("modalities", [("gps", "rf"), ("camera", "gps", "rf")])
def test_while_no_position_arrives_the_heads_trained_without_them_answer(scene, modalities, tmp_path):
    seeing, blind = predictor_of(modalities), predictor_of(modalities, "heads.missing=[gps]")
    lost = [("gps", frame) for frame in range(8)]
    save_heads(blind.heads, tmp_path)
    streaming = StreamingPredictor(replace(seeing, run=tmp_path), STATISTICS)
    found = pushed(streaming, scene, lost)
    assert furthest(found[7], asked(blind, scene, 7)) < TOLERANCE
    assert furthest(found[7], asked(seeing, scene, 7)) > 100 * TOLERANCE
    for last in (8, 9):
        assert furthest(found[last], asked(seeing, scene, last, lost)) < TOLERANCE
    streaming.reset()
    nothing = [(name, frame) for name in modalities for frame in range(8)]
    with pytest.raises(UserError, match=r"leave some frames of it|--missing gps --missing rf"):
        pushed(streaming, scene, nothing)


def test_each_picture_goes_through_its_tokenizer_once(scene, monkeypatch):
    streaming = StreamingPredictor(predictor_of(ALL), STATISTICS)
    seen = []
    tokenize = Forecaster.tokenize

    def counted(self, name, frames):
        seen.append((name, len(frames)))
        return tokenize(self, name, frames)

    monkeypatch.setattr(Forecaster, "tokenize", counted)
    pushed(streaming, scene)
    for name in ("camera", "radar", "lidar"):
        assert [count for kind, count in seen if kind == name] == [STREAMS] * FRAMES


def test_after_a_reset_nothing_of_the_old_stream_is_left(scene):
    predictor = predictor_of(("gps", "rf"))
    streaming = StreamingPredictor(predictor, STATISTICS)
    small = {name: scene[name] for name in ("gps", "rf")}
    first = pushed(streaming, small)
    streaming.reset()
    again = pushed(streaming, small)
    assert again[:7] == [None] * 7
    assert torch.equal(again[7].beam_logits, first[7].beam_logits)


def test_tokens_made_beforehand_give_the_same_forecasts(scene):
    predictor = predictor_of(ALL)
    streaming = StreamingPredictor(predictor, STATISTICS)
    history = {name: scene[name][:, 2:] for name in ("gps", "rf")}
    tokens = {
        name: streaming.tokenize(name, scene[name][:, 2:].flatten(0, 1)).unflatten(0, (STREAMS, 8))
        for name in ("camera", "radar", "lidar")
    }
    assert furthest(streaming.predict_tokens(tokens, history), asked(predictor, scene, FRAMES - 1)) < TOLERANCE


@pytest.mark.parametrize("settings", [(), ("model.fusion_tokens=3",)])
def test_it_traces_as_one_graph_without_a_look_at_values(scene, settings):
    """A graph break would be a wait for the host on a GPU."""
    predictor = predictor_of(("radar", "gps", "rf"), "heads.readout=attentive", *settings)
    streaming = StreamingPredictor(predictor, STATISTICS)
    for name in ("_answer", "_tokens_of"):
        setattr(streaming, name, torch.compile(getattr(streaming, name), backend="eager", fullgraph=True))
    streaming._compiled = True
    found = pushed(streaming, scene)
    assert furthest(found[-1], asked(predictor, scene, FRAMES - 1)) < TOLERANCE


def test_a_stretch_is_visible_where_and_only_where_the_mask_shows_all_its_tokens():
    layout = Layout.of(("lidar", "gps", "rf"))
    lost = (("lidar", 0), ("lidar", 7), ("rf", 3))
    window = stretches(layout, ("gps",), lost)
    assert [part.places for part in window] == list(itertools.pairwise([0, *(part.places[1] for part in window)]))
    frame, modality, _ = layout.rows()
    names = {2: "lidar", 3: "gps", 4: "rf"}
    for token, (f, m) in enumerate(zip(frame.tolist(), modality.tolist(), strict=True)):
        visible = f < 8 and names[m] != "gps" and (names[m], f) not in lost
        assert next(part.visible for part in window if part.places[0] <= token < part.places[1]) == visible


def test_what_a_stream_cannot_answer_is_said_in_one_line(scene):
    streaming = StreamingPredictor(predictor_of(("gps", "rf")), STATISTICS)
    with pytest.raises(UserError, match="the frame holds no rf"):
        streaming.push({"gps": scene["gps"][:, 0]})
    streaming.reset()
    with pytest.raises(UserError, match="all observed frames of rf are lost"):
        pushed(streaming, scene, [("rf", frame) for frame in range(FRAMES)])
    pictures = StreamingPredictor(predictor_of(("camera",)), STATISTICS)
    with pytest.raises(UserError, match="nothing was observed"):
        pushed(pictures, scene, [("camera", frame) for frame in range(FRAMES)])
    several = Normalisers({"north": STATISTICS, "south": STATISTICS})
    with pytest.raises(UserError, match="name one: north, south"):
        statistics_of(several)
    assert statistics_of(several, "south") is STATISTICS


def test_it_loads_what_a_run_holds(scene, dataset, tmp_path):
    config = preset("small", [*TINY, "epochs=1", "heads.epochs=1", "heads.width=16", "heads.skip=8"])
    run = tmp_path / "run"
    workflows.pretrain_run([dataset], run, config, device="cpu", label="")
    with pytest.raises(UserError, match="holds no heads"):
        StreamingPredictor.load(run)
    save_heads(Heads(Layout.of(("gps", "rf")), 16, config.heads), run)
    loaded = JepaPredictor.load(run)
    with pytest.raises(UserError, match="east is none of them"):
        StreamingPredictor.load(run, dataset="east")
    small = {name: scene[name] for name in ("gps", "rf")}
    found = pushed(StreamingPredictor.load(run), small)
    output = loaded.predict_history(History({k: v[:, 2:] for k, v in small.items()}), statistics_of(loaded.normalisers))
    assert furthest(found[-1], output) < TOLERANCE
