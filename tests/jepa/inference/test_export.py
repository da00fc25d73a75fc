"""An exported file says of raw frames what the run says, for any number of windows and without this project."""

import hashlib
import json
import sys

import numpy as np
import pytest
import torch

import jepa.inference.export
from jepa.config import preset, save_config
from jepa.data.inputs import Normalisers
from jepa.data.preprocess import Normaliser
from jepa.data.samples import History
from jepa.data.splits import make_split
from jepa.heads.network import Heads
from jepa.inference.export import RawForecaster, export_run
from jepa.inference.predictor import JepaPredictor
from jepa.paradigms.pretraining import new_model
from jepa.runs.directory import RunDescription, create_run
from jepa.runs.heads import save_heads
from jepa.training.checkpoint import save_checkpoint
from jepa.workflows import baseline_run

ALL = ("camera", "radar", "lidar", "gps", "rf")
TOLERANCE = {"torch": 1e-5, "onnx": 1e-4}
NORTH = Normaliser(-20.0, 6.0, (3.0, 12.0), 8.0, ((0.8, 0.6), (-0.6, 0.8)), -90.0, 7.0)
SOUTH = Normaliser(-35.0, 4.0, (-9.0, 20.0), 5.0, radar_mean_db=-80.0, radar_std_db=9.0)


def run_with(path, store, modalities, statistics, *settings):
    """A run of random weights with heads, as the commands leave it."""
    tiny = ["model.width=16", "model.attention_heads=2", "model.encoder_layers=1", "model.predictor_layers=1"]
    named = f"inputs.modalities=[{', '.join(modalities)}]"
    small = ["heads.width=16", "heads.skip=8", "inputs.image_size=32", "heads.coarse_trajectory=fitted"]
    config = preset("small", [*tiny, named, *small, *settings])
    create_run(path, RunDescription.of("model", "jepa", store, make_split(store), seed=0))
    save_config(config, path / "config.yaml")
    statistics.save(path / "stats.json")
    model = new_model(config)
    save_checkpoint(path / "checkpoints", 1, {f"model.{k}": v for k, v in model.state_dict().items()}, {})
    heads = Heads(model.layout, model.width, config.heads)
    for values in heads.parameters():
        torch.nn.init.normal_(values, 0.0, 0.2)  # gains of a gated head start at zero and would hide the latents
    generator = torch.Generator().manual_seed(2)
    position, power = torch.randn(9, 13, 2, generator=generator), torch.randn(9, 13, 64, generator=generator)
    heads.estimate.fit(position, power, torch.arange(9), torch.zeros(2))
    if config.heads.coarse_trajectory == "blended":
        heads.displacement.share.copy_(torch.linspace(0.2, 0.8, 5))
    save_heads(heads, path)
    return path


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory):
    """Runs of power and position, and one of all modalities."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("runs")
    together, each = Normalisers({"*": NORTH}), Normalisers({"north": NORTH, "south": SOUTH})
    return {
        "two": run_with(root / "two", store, ("gps", "rf"), together, "heads.coarse_beam=map"),
        "fused": run_with(
            root / "fused", store, ("gps", "rf"), together, "model.encoder_layers=2", "model.fusion_tokens=2"
        ),
        "blended": run_with(root / "blended", store, ("gps", "rf"), together, "heads.coarse_trajectory=blended"),
        "five": run_with(root / "five", store, ALL, each, "heads.readout=attentive", "heads.coarse_spectrum=shifted"),
    }


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    """Directories of exported models by run and format, made once."""
    made = {}

    def made_once(which, kind):
        if (which, kind) not in made:
            out = tmp_path_factory.mktemp("exported") / "model"
            export_run(runs[which], out, kind, dataset="south" if which == "five" else None)
            made[which, kind] = out
        return made[which, kind]

    return made_once


def frames_of(windows):
    """Raw frames of some windows, with holes in the depth images and a beam without power."""
    rng = np.random.default_rng(windows)
    depth = rng.uniform(1, 130, (windows, 8, 64, 256))
    depth[rng.random(depth.shape) < 0.4] = np.nan
    power = 10 ** rng.normal(-3, 0.5, (windows, 8, 64))
    power[:, :, 7] = 0
    floats = {
        "radar": rng.normal(-80, 9, (windows, 8, 64, 256)),
        "lidar": depth,
        "gps": rng.normal((-9, 20), 6, (windows, 8, 2)),
        "rf": power,
    }
    picture = torch.from_numpy(rng.integers(0, 256, (windows, 8, 32, 32, 3), np.uint8))
    return {"camera": picture} | {name: torch.from_numpy(values.astype(np.float32)) for name, values in floats.items()}


def answers(out, inputs):
    """What the file says, with the names of its outputs."""
    manifest = json.loads((out / "manifest.json").read_text())
    given = {name: inputs[name] for name in manifest["inputs"]}
    if manifest["format"] == "torch":
        found = torch.export.load(out / "model.pt2").module()(**given)
        return {name: values.numpy() for name, values in found.items()}
    import onnxruntime

    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {name: values.numpy() for name, values in given.items()}), strict=True))


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        ("two", "torch"),
        ("two", "onnx"),
        *(
            pytest.param(run, kind, marks=pytest.mark.long)
            for run in ("fused", "blended", "five")
            for kind in ("torch", "onnx")
        ),
    ],
)
def test_the_file_says_what_the_run_says_for_one_window_and_for_five(runs, exported, which, kind):
    predictor = JepaPredictor.load(runs[which])
    statistics = SOUTH if which == "five" else NORTH
    for windows in (1, 5):
        inputs = frames_of(windows)
        wanted = predictor.predict_history(History(inputs), statistics)
        found_by_name = answers(exported(which, kind), inputs)
        assert set(found_by_name) == {"trajectory_m", "beam_logits", "spectrum_db"}
        for name, found in found_by_name.items():
            reference = getattr(wanted, name)
            assert found.shape == reference.shape
            assert np.abs(found - reference).max() <= TOLERANCE[kind] * max(1, np.abs(reference).max()), name


@pytest.mark.long
def test_what_stands_beside_the_file_says_how_to_use_it(runs, exported):
    out = exported("five", "torch")
    assert {path.name for path in out.iterdir()} == {"model.pt2", "manifest.json"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((out / "model.pt2").read_bytes()).hexdigest()
    assert manifest["modalities"] == list(ALL)
    assert manifest["dataset"] == "south"
    assert manifest["inputs"]["camera"]["shape"] == ["batch", 8, 32, 32, 3]
    assert manifest["inputs"]["camera"]["dtype"] == "uint8"
    assert {name: one["unit"] for name, one in manifest["inputs"].items()} == {
        "camera": "1",
        "radar": "dB",
        "lidar": "m",
        "gps": "m",
        "rf": "linear",
    }
    assert manifest["outputs"]["trajectory_m"]["shape"] == ["batch", 5, 2]
    assert manifest["run_hash"] != json.loads((exported("two", "torch") / "manifest.json").read_text())["run_hash"]


def test_the_hash_of_a_run_follows_its_weights_and_statistics(runs, store, tmp_path):
    hashes = set()
    for number, statistics in enumerate((NORTH, NORTH, SOUTH)):
        run = run_with(tmp_path / str(number), store, ("gps", "rf"), Normalisers({"*": statistics}), f"seed={number}")
        hashes.add(jepa.inference.export._run_hash(run, JepaPredictor.load(run)))
    assert len(hashes) == 3


def test_heads_without_a_modality_make_a_module_that_does_not_ask_for_it(store, tmp_path):
    run = run_with(
        tmp_path / "run", store, ("gps", "rf"), Normalisers({"*": NORTH}), "heads.missing=[gps]", "heads.readout=target"
    )
    predictor = JepaPredictor.load(run, missing=("gps",))
    model, inputs = RawForecaster(predictor, NORTH), frames_of(2)
    assert list(model.shapes) == ["rf"]
    wanted = predictor.predict_history(History(inputs), NORTH)
    assert np.abs(model(rf=inputs["rf"])["beam_logits"].numpy() - wanted.beam_logits).max() < TOLERANCE["torch"]
    with pytest.raises(ValueError, match="reads rf, which is not given"):
        model(gps=inputs["gps"])


@pytest.fixture
def plain(monkeypatch):
    """A format that keeps the weights alone and is quick; returns what turns its inputs into others."""
    held = {"turn": lambda inputs: inputs}

    def save(model, inputs, path):
        held["model"] = model
        path.write_bytes(b"weights")

    def run(path, inputs):
        return held["model"](**held["turn"](inputs))

    monkeypatch.setitem(
        jepa.inference.export.FORMATS, "torch", jepa.inference.export.FORMATS["torch"]._replace(save=save, run=run)
    )
    return held


def test_what_fails_leaves_nothing(runs, tmp_path, plain):
    def stopped(inputs):
        raise OSError(28, "No space left on device")

    plain["turn"] = stopped
    with pytest.raises(OSError, match="No space"):
        export_run(runs["two"], tmp_path / "new" / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_says_something_else_is_not_kept(runs, tmp_path, plain):
    plain["turn"] = lambda inputs: {name: values.roll(1, 0) for name, values in inputs.items()}
    with pytest.raises(RuntimeError, match="differs from the run"):
        export_run(runs["two"], tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("paradigm", "told"),
    [("localization", "trajectory_m"), ("beam", "beam_logits"), ("rssi", "spectrum_db")],
)
def test_a_model_of_one_task_is_silent_about_the_others(store, tmp_path, plain, paradigm, told):
    run = run_with(tmp_path / "run", store, ("gps", "rf"), Normalisers({"*": NORTH}), f"paradigm={paradigm}")
    manifest = export_run(run, tmp_path / "model")
    assert list(manifest["outputs"]) == list(manifest["largest_difference_from_the_run"]) == [told]
    inputs = {name: values for name, values in frames_of(3).items() if name in ("gps", "rf")}
    assert list(plain["model"](**inputs)) == [told]


def test_a_dataset_that_is_among_those_of_joint_statistics_may_be_named(runs, tmp_path, plain):
    assert export_run(runs["two"], tmp_path / "model", dataset="synthetic")["dataset"] == "synthetic"


def test_the_command_prints_where_the_file_is(call, runs, tmp_path, plain):
    code, out, err = call("export", runs["two"], "--out", tmp_path / "model")
    assert (code, err) == (0, "")
    assert out.startswith(f"{tmp_path / 'model' / 'model.pt2'}: reads gps, rf;")
    assert "exists already" in call("export", runs["two"], "--out", tmp_path / "model")[2]
    code, out, _ = call("export", runs["two"], "--out", tmp_path / "other", "--json")
    assert json.loads(out) == json.loads((tmp_path / "other" / "manifest.json").read_text())


def test_what_cannot_be_exported_is_a_users_error_in_one_line(call, runs, dataset, store, tmp_path, monkeypatch):
    bare = run_with(tmp_path / "bare", store, ("gps", "rf"), Normalisers({"*": NORTH}))
    for path in sorted((bare / "heads").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (bare / "heads").rmdir()
    baseline_run("hold_last", [dataset], tmp_path / "baseline")
    for arguments, message in [
        (["export", bare], "holds no heads"),
        (["export", tmp_path / "nowhere"], "holds no run"),
        (["export", tmp_path / "baseline"], "is a run of the baseline hold_last"),
        (["export", runs["two"], "--format", "tflite"], "unknown format 'tflite'"),
        (["export", runs["two"], "--missing", "rf"], "holds no heads"),
        (["export", runs["five"]], "name one: north, south"),
        (["export", runs["five"], "--dataset", "east"], "has no statistics for east"),
        (["export", runs["two"], "--dataset", "east"], "east is none of them; name none, or one of synthetic"),
    ]:
        code, out, err = call(*arguments, "--out", tmp_path / "model")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = call("export", runs["two"], "--out", tmp_path / "model", "--format", "onnx")
    assert code == 2
    assert "jepa-msac-twin[export]" in err
    assert not (tmp_path / "model").exists()


def test_the_store_holds_the_units_that_the_file_asks_for(exported, runs, store):
    """Frames of a recording go in as they are."""
    windows = make_split(store).parts["test"].select(torch.arange(3))
    history = History.gather(store, windows)
    predictor = JepaPredictor.load(runs["two"])
    wanted = predictor.predict(store, windows)
    found = answers(exported("two", "torch"), {"gps": history.position_m, "rf": history.power})
    for name, values in found.items():
        assert np.abs(values - getattr(wanted, name)).max() < 1e-3
