"""The figures hold what the rows hold; JEPA's rows are those of table III; nothing is computed twice."""

import json

import numpy as np
import pytest
from PIL import Image

from jepa import workflows
from jepa.data.frames import FrameStore
from jepa.data.samples import Samples
from jepa.data.splits import make_split
from jepa.experiments import figures, table3
from jepa.experiments.figures import TASKS, run
from jepa.experiments.on_twin.study import Study
from jepa.inference.predictor import JepaPredictor
from twin.errors import UserError
from twin.recording import Recording

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def made(five, out, quick):
    """The experiment, run once: its directory, rows and page."""
    run(out, [five], "quick")
    return out, json.loads((out / "figures.json").read_text())["rows"], (out / "figures.md").read_text()


def test_every_model_of_a_task_is_in_its_figures_and_on_the_page(made):
    out, models, page = made
    for number in range(4, 10):
        picture = np.asarray(Image.open(out / f"figure{number}.png"))
        assert picture.shape[1] == 1280
        assert picture.std() > 10, "something is drawn"
        assert f"(figure{number}.png)" in page
    known = {model for task in TASKS.values() for model in task}
    assert models.keys() == known
    for model in known:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {model} |")]
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        done = [bool(cells[0]), bool(cells[2]), bool(cells[5])]
        assert done == [model in TASKS[task] for task in ("localization", "beam", "rssi")]


def test_the_page_holds_the_papers_values_and_what_was_spent(made):
    _, _, page = made
    assert "| *paper's jepa* | 0.0566 | 0.0795 | 0.4692 | 0.8181 | 0.1456 | 0.4707 | 0.2674 |" in page
    assert "Budget `quick`: episodes 10, width 16" in page
    assert "m2beamllm (width 32, blocks 1, heads 2, channels 4, epochs 1)" in page
    assert "small-world" in page


def test_the_json_holds_what_the_page_prints_and_what_is_drawn(made, as_printed):
    out, models, page = made
    told = json.loads((out / "figures.json").read_text())
    assert told["budget"]["name"] == "quick"
    for model, values in told["values"].items():
        cells = [as_printed(values[metric]) if metric in values else "" for metric in table3.METRICS]
        assert f"| {model} | {' | '.join(cells)} |" in page
    assert told["values"].keys() == models.keys()
    for title, metric in (("top-1 accuracy", "top1"), ("top-3 accuracy", "top3")):
        curves = told["curves"]["figure6"][title]
        assert curves.keys() == set(TASKS["beam"])
        for model, steps in curves.items():
            assert np.mean([step["value"] for step in steps]) == pytest.approx(told["values"][model][metric]["value"])
            assert all(step["ci95"][0] <= step["value"] <= step["ci95"][1] for step in steps)


def test_what_is_claimed_is_judged_on_the_rows_of_both_models(made, as_printed):
    out, models, page = made
    told = json.loads((out / "figures.json").read_text())["claims"]
    assert len(told) == len(figures.CLAIMS) + len(figures.OURS)
    for one in told:
        assert f"- {one['claim']}: {one['verdict']}, {as_printed(one, sign=True)}, " in page
    differences = {one["claim"]: one["value"] for one in told}

    def mean(model, metric):
        rows = [row for seeds in models[model] for row in seeds]
        return sum(sum(row[metric]) for row in rows) / sum(sum(row["windows"]) for row in rows)

    for claim, metric, first, second in (
        ("JEPA locates better than kalman (ade_m)", "ade_m", "jepa", "kalman"),
        ("JEPA loses less power than m2beamllm (l1_rsrp_db)", "l1_rsrp_db", "jepa", "m2beamllm"),
        ("the preset best loses less power than gru_cascade (l1_rsrp_db)", "l1_rsrp_db", "jepa, best", "gru_cascade"),
    ):
        assert differences[claim] == pytest.approx(mean(first, metric) - mean(second, metric))


def test_curves_are_the_means_of_the_windows_at_each_step(made, five):
    """Constant velocity needs no training: its distances by hand."""
    _, models, _ = made
    samples = Samples.gather(store := FrameStore.load([five]), make_split(store).parts["test"])
    seen, ahead = samples.history.position_m.numpy(), samples.position_m.numpy()
    velocity = seen[:, -1:] - seen[:, -2:-1]
    distance_m = np.linalg.norm(seen[:, -1:] + velocity * np.arange(1, 6)[:, None] - ahead, axis=-1)
    rows = {"constant_velocity": models["constant_velocity"]}
    at_step = figures._curves(rows, "ade_m")["constant_velocity"]
    so_far = figures._curves(rows, "ade_m", so_far=True)["constant_velocity"]
    np.testing.assert_allclose([one.value for one in at_step], distance_m.mean(0), rtol=1e-5)
    mean_m = np.cumsum(distance_m.mean(0)) / np.arange(1, 6)
    np.testing.assert_allclose([one.value for one in so_far], mean_m, rtol=1e-5)
    assert all(one.interval[0] <= one.value <= one.interval[1] for one in at_step)
    read_off = np.sort(figures._errors_m(rows["constant_velocity"]))
    np.testing.assert_allclose(read_off, np.sort(distance_m.mean(1)), atol=0.5 * np.ptp(distance_m.mean(1)))
    assert np.median(read_off) == pytest.approx(np.median(distance_m.mean(1)), rel=0.05)


def test_a_root_mean_square_is_the_root_of_the_mean_over_seeds_and_folds():
    row = {"windows": [2, 2], "rmse_db": [4.0, 12.0], "steps": {"rmse_db": [[4.0, 12.0]] * 5}}
    found = figures._curves({"ar": [[row], [row]]}, "rmse_db")
    np.testing.assert_allclose([one.value for one in found["ar"]], np.sqrt(16 / 4) * np.ones(5))


def test_the_rssi_head_ranks_beams_by_the_spectrum_that_it_predicts(made, five):
    out, models, _ = made
    run_directory = out / "runs" / "blocked-0" / "seed-0" / "jepa"
    predictor = JepaPredictor.load(run_directory, workflows.pick_device("cpu"))
    store = FrameStore.load([five])
    windows = make_split(store).parts["test"]
    spectrum_db = predictor.predict(store, windows).spectrum_db
    hits = spectrum_db.argmax(-1) == store.best_beam[windows.future].numpy()
    ((row,),) = models["jepa, RSSI head"]
    assert sum(row["top1"]) / sum(row["windows"]) == pytest.approx(hits.mean())
    assert "ade_m" not in row
    assert "rmse_db" not in row


def test_a_second_run_computes_nothing_and_table_3_finds_the_rows_of_jepa(made, five, monkeypatch):
    out, models, page = made
    for name in ("judged", "pretrained", "baseline", "base_by_spectrum"):
        monkeypatch.setattr(Study, name, pytest.fail)
    run(out, [five], "quick")
    study = Study(out, [five], "quick")
    assert study.collected(table3._key(f"D = {study.budget.width}"), pytest.fail) == models["jepa"]
    assert (out / "figures.md").read_text() == page


def test_a_caption_says_whether_drives_were_measured_or_simulated(tmp_path, drive):
    measured = drive(0)
    measured.save(tmp_path / "own")
    manifest = measured.manifest.model_copy(update={"source": "twin"})
    Recording("made", manifest, measured.arrays).save(tmp_path / "made")
    captions = [Study(tmp_path, [tmp_path / name], "quick").protocol for name in ("own", "made")]
    assert captions[0].startswith("own (measured), ")
    assert captions[1].startswith("made (simulated), ")


def test_what_is_wrong_with_the_request_is_said_in_a_line(made, five, dataset, tmp_path):
    out, _, _ = made
    with pytest.raises(UserError, match="choose from quick, default, full"):
        run(tmp_path / "a", [five], "lavish")
    with pytest.raises(UserError, match="several datasets"):
        run(tmp_path / "a", [five, dataset], "quick")
    with pytest.raises(UserError, match="differs in data"):
        run(out, [dataset], "quick")
    with pytest.raises(UserError, match="holds rows of another budget"):
        run(out, [five], "default")
    assert not (tmp_path / "a").exists()
