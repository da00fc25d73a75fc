"""Figure 10: every paradigm has a row, a bar and its passes; nothing is computed twice."""

import json

import numpy as np
import pytest

from jepa.data.frames import FrameStore
from jepa.data.samples import Samples
from jepa.data.splits import make_split
from jepa.evaluation.evaluate import TASKS, measures_of
from jepa.experiments import paradigms
from jepa.experiments.on_twin.study import Place, Study
from jepa.experiments.table3 import METRICS
from jepa.inference.predictor import JepaPredictor

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def made(five, out, quick):
    """The experiment, run once: its directory."""
    paradigms.run(out, [five], "quick")
    return out


def test_every_paradigm_has_a_row_and_its_passes(made):
    page = (made / "paradigms.md").read_text()
    for name in ("jepa", "reconstruction", "multi-task", "end-to-end", "untrained"):
        assert f"| {name} |" in page
    assert "| *paper* | 0.0548 | 0.1029 | 0.4643 |" in page
    assert "multi-task and each model of end-to-end 2 of both" in page
    assert (made / "paradigms_top1.png").exists()


def test_the_json_holds_what_the_page_prints(made, as_printed):
    page = (made / "paradigms.md").read_text()
    told = json.loads((made / "paradigms.json").read_text())
    assert told["budget"]["name"] == "quick"
    assert told["values"].keys() == told["rows"].keys()
    for name, values in told["values"].items():
        assert f"| {name} | {' | '.join(as_printed(values[metric]) for metric in METRICS)} |" in page
    assert len(told["claims"]) == len(paradigms.CLAIMS)
    for one in told["claims"]:
        assert f"- {one['claim']}: {one['verdict']}, {as_printed(one, sign=True)}, {one['sequences']} sequences" in page
    paper = {one["claim"]: one["paper"] for one in told["claims"] if one["paper"] is not None}
    assert paper == {
        "JEPA finds the best beam more often than one model a task (top1)": 0.0049,
        "JEPA finds the best beam more often than random weights (top1)": 0.234,
    }


def test_one_model_a_task_answers_for_all_tasks_each_for_its_own(made, five):
    rows = json.loads((made / "paradigms.json").read_text())["rows"]
    (row,) = rows["end-to-end"][0]
    assert row["windows"] == rows["jepa"][0][0]["windows"], "judged on the same windows"
    study, store = Study(made, [five], "quick"), FrameStore.load([five])
    windows = make_split(store).parts["test"]
    samples = Samples.gather(store, windows)
    for task in TASKS:
        predictor = JepaPredictor.load(study.run(Place(), f"jepa-{task}"), study.device)
        found = measures_of(predictor.predict(store, windows), samples)
        assert found.keys() == {task}
        for name, measure in found[task].items():
            power = 2 if measure.average == "rms" else 1
            by_step = np.sum(measure.values.astype(float) ** power, axis=0)
            np.testing.assert_allclose(np.sum(row["steps"][name], axis=1), by_step, rtol=1e-4, atol=1e-6)
            assert name in row.keys() & row["steps"].keys()


def test_a_second_run_computes_nothing_again(made, five, monkeypatch):
    before = (made / "paradigms.md").read_text()
    for name in ("pretrained", "supervised", "judged"):
        monkeypatch.setattr(Study, name, None)
    paradigms.run(made, [five], "quick")
    assert (made / "paradigms.md").read_text() == before
