"""Every experiment is one command: at its smallest budget it ends, and leaves the page that it prints."""

import pytest

pytestmark = pytest.mark.long

ON_DEEPSENSE32 = ("table3", "figures", "paradigms", "splits")
"""Experiments that share recordings, runs and rows."""
ALONE = ("table4", "levers", "transfer")


def run(call, name, out, *options):
    code, printed, _ = call("experiment", name, "--budget", "quick", "--out", out, *options)
    assert code == 0
    page = (out / f"{name.replace('-', '_')}.md").read_text()
    assert printed.strip() == page.strip()
    assert "| --- |" in page or "|---|" in page
    assert "Budget `quick`" in page


@pytest.mark.parametrize("name", ON_DEEPSENSE32)
def test_an_experiment_of_the_paper_is_one_command(call, quick_study, name):
    run(call, name, quick_study)


@pytest.mark.parametrize("name", ALONE)
def test_an_experiment_that_needs_nothing_is_one_command(call, tmp_path, name):
    run(call, name, tmp_path)


def test_an_experiment_on_real_drives_takes_recordings(call, tmp_path, dataset):
    run(call, "real-data", tmp_path, "--data", dataset)
