"""The commands as a user calls them: exit status, what is printed where."""

import inspect
import json
import shlex

import pytest

from jepa.baselines import BASELINES
from jepa.baselines.extrapolation import HoldLast
from jepa.runs.directory import find_runs

TINY = ["model.width=16", "model.attention_heads=2", "model.encoder_layers=1", "model.predictor_layers=1", "epochs=1"]
TINY_OPTIONS = [part for setting in [*TINY, "heads.epochs=1"] for part in ("--set", setting)]

ROUNDING = 1e-9


def test_from_recordings_to_an_evaluation(call, dataset, tmp_path):
    run = tmp_path / "run"
    assert call("pretrain", dataset, "--out", run, "--preset", "small", "--device", "cpu", *TINY_OPTIONS)[0] == 0
    assert call("heads", run, "--data", dataset)[0] == 0
    assert call("predict", run, "--data", dataset)[0] == 0
    code, out, _ = call("evaluate", run, "--data", dataset, "--json")
    assert code == 0
    report = json.loads(out)
    assert {"split", "protocol", "windows", "sequences", "localization", "beam", "rssi"} <= report.keys()
    for task, names in {
        "localization": {"ade_m", "fde_m"},
        "beam": {"top1", "top3", "top5", "top1_within_0.1db", "l1_rsrp_db", "dba"},
        "rssi": {"rmse_db", "mae_db"},
        "beam_by_spectrum": {"top1", "top3", "l1_rsrp_db"},
    }.items():
        assert names <= report[task].keys()
        for metric in report[task].values():
            assert {"value", "ci95", "per_step", "per_step_ci95"} <= metric.keys()
            assert metric["ci95"][0] - ROUNDING <= metric["value"] <= metric["ci95"][1] + ROUNDING
            assert len(metric["per_step"]) == len(metric["per_step_ci95"]) == 5
    assert {path.name for path in run.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "events",
        "heads",
        "metrics.jsonl",
        "predictions",
        "run.json",
        "split.json",
        "stats.json",
    }


def stored_models(run):
    return {json.loads(path.read_text())["model"] for path in (run / "predictions").glob("*/*/manifest.json")}


def pasted(out):
    """The arguments of the command that a command says comes next."""
    return shlex.split(out.partition("next: jepa ")[2])


def test_what_comes_next_reaches_the_heads_that_were_trained(call, dataset, tmp_path):
    run, data = tmp_path / "a run", ("--data", dataset, "--device", "cpu")
    out = call("pretrain", dataset, "--out", run, "--preset", "small", "--device", "cpu", *TINY_OPTIONS)[1]
    assert pasted(out) == ["heads", str(run), "--data", str(dataset), "--device", "cpu"]
    chosen = ("--missing", "rf", "--set", "heads.cascade=false", "--backbone", "random")
    code, out, _ = call("heads", run, *data, *chosen)
    assert code == 0
    assert pasted(out)[0] == "evaluate"
    code, report, _ = call(*pasted(out), "--json")
    assert code == 0
    assert "holds no heads" in call("evaluate", run, *data)[2]
    assert call("heads", run, *data)[0] == 0
    assert json.loads(call("evaluate", run, *data, "--json")[1])["beam"] != json.loads(report)["beam"]
    options = ("--backbone", "random", "--missing", "rf", "--no-cascade")
    assert call("predict", run, *data, *options)[0] == 0
    assert stored_models(run) == {"jepa --backbone random --missing rf --no-cascade"}
    assert call("heads", run, *data, "--replace")[0] == 0
    assert stored_models(run), "predictions of other heads stay"
    assert call("heads", run, *data, *chosen, "--replace")[0] == 0
    assert not stored_models(run)
    code, out, _ = call("finetune", run, *data, "--out", tmp_path / "adapted", *options[2:], "--backbone", "random")
    assert code == 0
    assert "--no-cascade" not in pasted(out), "its configuration says so"
    assert call(*pasted(out))[0] == 0
    code, _, err = call("evaluate", run, *data, "--backbone", "bogus")
    assert code == 2
    assert "unknown backbone 'bogus'" in err
    assert "choose from pretrained, random, zeroed" in err
    assert "no modality 'sonar'" in call("evaluate", run, *data, "--missing", "sonar")[2]


def test_predictions_with_a_sensor_dropped_differ(call, dataset, tmp_path):
    run, data = tmp_path / "run", ("--data", dataset, "--device", "cpu")
    call("pretrain", dataset, "--out", run, "--preset", "small", "--device", "cpu", *TINY_OPTIONS)
    call("heads", run, *data)
    call("predict", run, *data)
    assert stored_models(run) == {"jepa"}
    code, _, err = call("predict", run, *data, "--dropped", "gps")
    assert code == 2
    assert "all observed frames of gps are lost" in err
    assert stored_models(run) == {"jepa"}
    assert "reads no camera" in call("predict", run, *data, "--dropped", "camera")[2]
    assert call("heads", run, *data, "--missing", "gps")[0] == 0
    code, _, err = call("predict", run, *data, "--dropped", "gps")
    assert code == 0
    assert "windows are answered by the heads trained without gps" in err
    dropped, missing = (
        json.loads(call("evaluate", run, *data, "--json", option, "gps")[1]) for option in ("--dropped", "--missing")
    )
    assert dropped["beam"]["top1"] == missing["beam"]["top1"]


@pytest.mark.parametrize("paradigm", ["jepa", "multi-task"])
def test_a_run_whose_own_configuration_has_no_cascade_needs_no_option(call, dataset, tmp_path, paradigm):
    run = tmp_path / "run"
    own = ("--set", "heads.cascade=false", "--set", f"paradigm={paradigm}")
    call("pretrain", dataset, "--out", run, "--preset", "small", "--device", "cpu", *TINY_OPTIONS, *own)
    if paradigm == "jepa":
        assert call("heads", run, "--data", dataset)[0] == 0
    assert call("evaluate", run, "--data", dataset)[0] == 0
    assert call("predict", run, "--data", dataset)[0] == 0
    assert "holds no heads" in call("evaluate", run, "--data", dataset, "--cascade")[2]


@pytest.mark.parametrize(
    "options", [["--missing", "rf"], ["--backbone", "random"], ["--dropped", "rf"], ["--no-cascade"]]
)
def test_the_stored_predictions_of_a_baseline_take_no_options(call, dataset, tmp_path, options):
    call("baseline", "hold_last", "--data", dataset, "--out", tmp_path / "run")
    code, out, err = call("evaluate", tmp_path / "run", "--data", dataset, *options)
    assert (code, out) == (2, "")
    assert f"{options[0]}: a baseline's predictions are made already" in err


def test_published_weights_go_to_the_baselines_that_take_them(call, dataset, tmp_path, monkeypatch):
    made = []

    class Reader(HoldLast):
        weights = ("picture_weights",)

        def __init__(self, picture_weights=None):
            made.append(picture_weights)

    monkeypatch.setitem(BASELINES, "reader", Reader)
    weights = tmp_path / "weights.safetensors"
    arguments = ("--data", dataset, "--out", tmp_path / "run", "--picture-weights", weights)
    assert "no such file" in call("baseline", "reader", *arguments)[2]
    weights.touch()
    assert call("baseline", "reader", *arguments)[0] == 0
    assert made == [weights]
    for name in ("hold_last", "interpolation_ceiling"):
        code, _, err = call("baseline", name, *arguments)
        assert code == 2
        assert f"--picture-weights: {name} takes none" in err


def test_every_baseline_takes_the_weights_that_it_names():
    for baseline in BASELINES.values():
        assert set(baseline.weights) <= set(inspect.signature(baseline).parameters)
    assert {name for name, baseline in BASELINES.items() if baseline.weights} == {"vision_position", "m2beamllm"}


def test_a_baseline_from_the_command_line(call, dataset, tmp_path):
    assert call("baseline", "constant_velocity", "--data", dataset, "--out", tmp_path / "run")[0] == 0
    code, out, _ = call("evaluate", tmp_path / "run", "--data", dataset)
    assert code == 0
    assert "ade_m" in out
    assert "top1" not in out


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_baseline_is_fitted_on_the_device_that_is_named(call, dataset, tmp_path, monkeypatch, device):
    fitted_on = []

    class Watched(HoldLast):
        def fit(self, train, val, seed):
            fitted_on.append(str(self.device))

    monkeypatch.setitem(BASELINES, "watched", Watched)
    arguments = ("--data", dataset, "--out", tmp_path / "run", "--device", device)
    assert call("baseline", "watched", *arguments)[0] == 0
    assert fitted_on == [device]


def test_a_network_is_fitted_on_the_cpu_on_request(call, dataset, tmp_path):
    run, data = tmp_path / "run", ("--data", dataset)
    assert call("baseline", "ar", *data, "--out", run, "--device", "cpu")[0] == 0
    assert call("evaluate", run, *data)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "{data}", "--out", "{tmp}/run", "--set", "colour=red"], "unknown key 'colour'"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--preset", "huge"], "unknown preset 'huge'"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--device", "tpu9"], "no device 'tpu9'"),
        (["pretrain", "{data}", "--out", "{tmp}/run"], "has no camera"),
        (
            ["pretrain", "{data}", "--out", "{tmp}/run", "--preset", "small", "--split", "halves"],
            "unknown split 'halves'",
        ),
        (["pretrain", "{tmp}/nowhere", "--out", "{tmp}/run"], "no such directory"),
        (["pretrain", "{data}"], "Missing option '--out'"),
        (["heads", "{tmp}", "--data", "{data}"], "holds no run"),
        (["evaluate", "{tmp}/nowhere", "--data", "{data}"], "holds no run"),
        (["baseline", "oracle", "--data", "{data}", "--out", "{tmp}/run"], "unknown baseline 'oracle'"),
        (["baseline", "gru", "--data", "{data}", "--out", "{tmp}/run", "--device", "tpu9"], "no device 'tpu9'"),
        (["experiment", "nothing", "--out", "{tmp}/run"], "unknown experiment 'nothing'"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--seed", "99999999999999999999"], "--seed"),
        (
            ["pretrain", "{data}", "--out", "{tmp}/run", "--set", "mask.kinds={{random: .nan}}"],
            "mask.kinds.random is nan",
        ),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--set", "inputs.modalities=[gps, gps]"], "named twice"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--set", "heads.input_noise={{rf: -1}}"], "input_noise.rf is -1"),
        (["pretrain", "{data}", "--out", "{data}/seq-0000/manifest.json/run", "--preset", "small"], "cannot be made"),
        (
            ["pretrain", "{data}", "--out", "{data}/seq-0000/manifest.json/new/run", "--preset", "small"],
            "cannot be made",
        ),
        (["baseline", "hold_last", "--data", "{data}", "--out", "{data}/seq-0000/manifest.json/run"], "in its way"),
        (["experiment", "real-data", "--data", "{data}", "--out", "{data}/seq-0000/manifest.json/x"], "cannot be made"),
    ],
)
def test_a_users_error_is_one_line_and_exit_status_2(call, dataset, tmp_path, arguments, message):
    filled = [argument.format(data=dataset, tmp=tmp_path) for argument in arguments]
    code, out, err = call(*filled)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "run").exists()


def test_a_run_with_damage_says_so(call, dataset, tmp_path):
    run = tmp_path / "run"
    call("pretrain", dataset, "--out", run, "--preset", "small", "--device", "cpu", *TINY_OPTIONS)
    assert call("evaluate", run, "--data", dataset)[2].endswith("train them with jepa heads\n")
    (run / "stats.json").write_text("{")
    assert "statistics are damaged" in call("heads", run, "--data", dataset)[2]
    (run / "run.json").write_text("{")
    code, _, err = call("heads", run, "--data", dataset)
    assert code == 2
    assert "run.json is damaged" in err
    (run / "run.json").unlink()
    (run / "run.json").mkdir()
    assert call("heads", run, "--data", dataset)[0] == 2
    assert "run.json is damaged" in find_runs(tmp_path).damaged[0][1]
