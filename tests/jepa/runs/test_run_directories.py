"""Run directories: found, listed with their damage, and never evaluated on what they trained on."""

import pytest

from jepa import workflows
from jepa.data.splits import make_split
from jepa.runs.directory import check_not_trained_on, find_runs, open_run
from twin.errors import UserError


@pytest.fixture
def runs(dataset, tmp_path):
    for name in ("hold_last", "constant_velocity"):
        workflows.baseline_run(name, [dataset], tmp_path / name)
    return tmp_path


def test_runs_are_found_and_damage_is_named(runs):
    (runs / "damaged").mkdir()
    (runs / "damaged/run.json").write_text('{"kind": "model"')
    (runs / "cut/checkpoints").mkdir(parents=True)
    (runs / "unrelated").mkdir()
    found = find_runs(runs)
    assert {description.name for description in found.runs.values()} == {"hold_last", "constant_velocity"}
    assert found.damaged == [
        (str(runs / "cut"), "holds no run"),
        (str(runs / "damaged"), "its run.json is damaged"),
    ]
    assert list(find_runs(runs / "hold_last").runs) == [str(runs / "hold_last")]


def test_the_parts_of_a_run_are_no_damaged_runs(runs):
    (runs / "hold_last/heads").mkdir()
    (runs / "hold_last/heads/config.yaml").write_text("")
    assert find_runs(runs / "hold_last").damaged == []


def test_a_stray_name_among_the_runs_hides_none_of_them(runs):
    (runs / "predictions").mkdir()
    (runs / "config.yaml").write_text("")
    assert len(find_runs(runs).runs) == 2


def test_a_directory_that_is_not_there_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no run"):
        open_run(tmp_path)


def test_a_run_says_what_it_is_made_of(runs, store):
    description = open_run(runs / "hold_last")
    assert (description.kind, description.split, description.seed) == ("baseline", "blocked", 0)
    assert list(description.datasets.values()) == [store.datasets[0].hash]
    assert {"python", "torch", "numpy"} <= description.environment.keys()
    assert [piece.episode for piece in description.trained] == [f"seq-{number:04d}" for number in range(7)]


def test_only_windows_that_share_no_frame_with_training_may_be_evaluated(runs, store):
    description = open_run(runs / "hold_last")
    parts = make_split(store).parts
    for part in ("val", "test"):
        check_not_trained_on(description, store, parts[part], "run")
    with pytest.raises(UserError, match="was trained on episode seq-0000"):
        check_not_trained_on(description, store, parts["train"], "run")
    half = description.model_copy(
        update={"trained": [piece.model_copy(update={"frames": (0, 20)}) for piece in description.trained]}
    )
    local = parts["train"].index[:, 0] - store.episodes[0].start
    later = parts["train"].select((parts["train"].episode == 0) & (local >= 20))
    check_not_trained_on(half, store, later, "run")
    with pytest.raises(UserError):
        check_not_trained_on(half, store, parts["train"].select(local == 19), "run")
