"""The commands as a user calls them: exit status, what is printed where."""

import json
import subprocess
import sys

import pytest

from jepa.runs import find_runs

TINY = ["model.width=16", "model.attention_heads=2", "model.encoder_layers=1", "model.predictor_layers=1", "epochs=1"]
TINY_OPTIONS = [part for setting in [*TINY, "heads.epochs=1"] for part in ("--set", setting)]

ROUNDING = 1e-9


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs the command in this process and returns exit status, standard output and standard error."""
    from jepa.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["jepa", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code, printed.out, printed.err

    return run


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
    }.items():
        assert names <= report[task].keys()
        for metric in report[task].values():
            assert {"value", "ci95", "per_step"} <= metric.keys()
            assert metric["ci95"][0] - ROUNDING <= metric["value"] <= metric["ci95"][1] + ROUNDING
            assert len(metric["per_step"]) == 5
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


def test_a_baseline_from_the_command_line(call, dataset, tmp_path):
    assert call("baseline", "constant_velocity", "--data", dataset, "--out", tmp_path / "run")[0] == 0
    code, out, _ = call("evaluate", tmp_path / "run", "--data", dataset)
    assert code == 0
    assert "ade_m" in out
    assert "top1" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "{data}", "--out", "{tmp}/run", "--set", "colour=red"], "unknown key 'colour'"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--preset", "huge"], "unknown preset 'huge'"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--device", "tpu9"], "no device 'tpu9'"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--split", "halves"], "unknown split 'halves'"),
        (["pretrain", "{tmp}/nowhere", "--out", "{tmp}/run"], "no such directory"),
        (["pretrain", "{data}"], "Missing option '--out'"),
        (["heads", "{tmp}", "--data", "{data}"], "holds no run"),
        (["evaluate", "{tmp}/nowhere", "--data", "{data}"], "holds no run"),
        (["baseline", "oracle", "--data", "{data}", "--out", "{tmp}/run"], "unknown baseline 'oracle'"),
        (["experiment", "nothing", "--out", "{tmp}/run"], "unknown experiment 'nothing'"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--seed", "99999999999999999999"], "--seed"),
        (
            ["pretrain", "{data}", "--out", "{tmp}/run", "--set", "mask.kinds={{random: .nan}}"],
            "mask.kinds.random is nan",
        ),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--set", "inputs.modalities=[gps, gps]"], "named twice"),
        (["pretrain", "{data}", "--out", "{tmp}/run", "--set", "heads.input_noise={{rf: -1}}"], "input_noise.rf is -1"),
        (["pretrain", "{data}", "--out", "{data}/seq-0000/manifest.json/run"], "cannot be made"),
        (["pretrain", "{data}", "--out", "{data}/seq-0000/manifest.json/new/run"], "cannot be made"),
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


def test_the_benchmark_prints_one_json_object():
    done = subprocess.run(
        [sys.executable, "-m", "jepa.cli", "bench", "--json"], check=True, capture_output=True, text=True
    )
    report = json.loads(done.stdout)
    assert report["pretrain_windows_per_s"] > 0
    assert report["predict_windows_per_s"] > 0
