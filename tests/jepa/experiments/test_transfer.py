"""Drives that pretraining saves: nested drives, equal steps, sources that know nothing of the site, honest sums."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jepa.data.windows import T_WINDOW
from jepa.experiments import transfer
from jepa.experiments.on_sites import sites as places_of_twin
from jepa.experiments.on_sites.sites import Place
from jepa.experiments.pages.transfer import Results
from jepa.experiments.results import side_by_side
from jepa.experiments.transfer import Budget, Source, run, shuffled
from twin.errors import UserError
from twin.scenario import load_scenario

NANO = Budget(
    width=16,
    twin_episodes=6,
    pretrain_steps=2,
    head_steps=2,
    adapt_steps=3,
    counts=(0, 1, 4, 16),
    seeds=1,
    folds=(0, 3),
    more=(
        "model.attention_heads=2",
        "model.encoder_layers=1",
        "model.predictor_layers=1",
        "objective.target_levels=[0, 1]",
        "heads.width=32",
    ),
)
COUNTS = ("0", "1", "4", "all")
PRETRAINED = ("jepa_twin", "jepa_others", "jepa_shuffled", "gru_twin")


@pytest.fixture(scope="module")
def sites(dataset, drive, tmp_path_factory):
    """Two sites of ten drives each: six train in every fold."""
    other = tmp_path_factory.mktemp("sites") / "other"
    for number in range(10):
        drive(number, seed=5).save(other)
    return [dataset, other]


@pytest.fixture(scope="module")
def alone(drive):
    """The budget of the tests; rows in this process; straight drives in place of the twin."""

    def made(scenario, place, episodes):
        for number in range(episodes):
            drive(number, seed=7).save(place)
        return {"seconds": 0.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(transfer.BUDGETS, "nano", NANO)
        patch.setattr(side_by_side, "processes_here", lambda: 1)
        patch.setattr(transfer, "made", made)
        yield patch


@pytest.fixture(scope="module")
def finished(sites, alone, tmp_path_factory):
    out = tmp_path_factory.mktemp("transfer")
    run(out, sites, "nano")
    return out


def cells_of(finished, site):
    """By fold, model and number of drives."""
    found = {}
    for path in (finished / "rows" / site.name).rglob("*.json"):
        model, count = path.stem.rsplit("_", 1)
        found[path.parts[-3], model, count] = json.loads(path.read_text())
    return found


def test_every_model_meets_every_site_with_few_drives_and_with_all(finished, sites):
    for site in sites:
        cells = cells_of(finished, site)
        for fold in ("folds-0", "folds-3"):
            for count in COUNTS:
                models = {model for where, model, number in cells if (where, number) == (fold, count)}
                alone = set() if count == "0" else {"jepa_real", "gru_real"}
                assert models == {*PRETRAINED, *alone}
                drives = {cells[fold, model, count]["drives"] for model in models}
                assert drives == {6 if count == "all" else int(count)}
    page = (finished / "transfer.md").read_text()
    assert "| real drives | 0 | 1 | 4 | all (6) |" in page
    assert "Cost: " in page
    assert all((finished / f"saved_drives_{site.name}.png").stat().st_size > 10_000 for site in sites)


def test_numbers_of_the_page_are_those_of_the_rows(finished, sites):
    """Mean over windows of both folds, rebuilt."""
    whole = json.loads((finished / "transfer.json").read_text())
    told = whole["sites"]
    assert whole["budget"]["name"] == "nano"
    stored = {path.relative_to(finished / "rows").as_posix(): path for path in (finished / "rows").rglob("*.json")}
    assert whole["rows"] == {key: json.loads(stored[f"{key}.json"].read_text()) for key in whole["rows"]}, (
        "the rows that the numbers are of"
    )
    assert {f"{key}.json" for key in whole["rows"]} == stored.keys() - {"budget.json"}
    for site in sites:
        rows = cells_of(finished, site)
        for model, count in (("jepa_twin", "4"), ("gru_real", "all")):
            folds = [rows[fold, model, count] for fold in ("folds-0", "folds-3")]
            expected = sum(sum(row["top1"]) for row in folds) / sum(sum(row["windows"]) for row in folds)
            assert told[site.name]["cells"][model][count]["top1"]["value"] == pytest.approx(expected)


def test_a_second_run_computes_nothing_again(finished, sites, alone):
    before = {path: path.stat().st_mtime_ns for path in (finished / "rows").rglob("*.json")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "_timed", None)
        run(finished, sites, "nano")
    assert {path: path.stat().st_mtime_ns for path in (finished / "rows").rglob("*.json")} == before


def test_few_drives_and_many_are_trained_in_as_many_steps(finished, sites, monkeypatch):
    counted = []
    whole = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *given, **named: (counted.append(1), whole(*given, **named)))
    place = Place(sites[0], "folds", 0, 0)
    twin = transfer._sources(finished, sites)[0]
    for count in (0, 1, "all"):
        for source in (twin, None):
            if source or count:
                counted.clear()
                transfer._cell(finished, place, source, count, NANO)
                assert len(counted) == (NANO.adapt_steps if count else 0)
        counted.clear()
        transfer._rival_cell(finished, place, True, count, NANO)
        assert len(counted) == (NANO.adapt_steps if count else 0)


def test_a_cell_is_the_same_when_it_is_computed_again(finished, sites):
    place = Place(sites[0], "folds", 3, 0)
    (others,) = [source for source in transfer._sources(finished, sites) if source.name == "others-than-synthetic"]
    again = transfer._cell(finished, place, others, 4, NANO)
    stored = cells_of(finished, sites[0])["folds-3", "jepa_others", "4"]
    assert again == {key: value for key, value in stored.items() if key != "seconds"}


def test_what_others_pretrain_on_does_not_hold_the_site(sites):
    sources = {source.name: source for source in transfer._sources(Path("out"), sites)}
    assert sources["others-than-other"].data == (sites[0],)
    assert sources["others-than-synthetic"].data == (sites[1],)
    assert sources["twin"].data == sources["shuffled"].data == (Path("out/twin/drive_by"),)
    assert [source.name for source in transfer._sources(Path("out"), sites[:1])] == ["twin", "shuffled"]


def test_shuffled_frames_keep_what_they_look_like_and_lose_how_they_go_on(store):
    other = shuffled(store)
    steps_m = []
    for episode in store.episodes:
        frames = slice(episode.start, episode.stop)
        for name, values in store.values.items():
            before, after = values[frames], other.values[name][frames]
            assert not torch.equal(before, after)
            assert torch.equal(before.sort(0).values, after.sort(0).values), "the same frames of the same drive"
        steps_m.append([part.values["gps"][frames].diff(dim=0).norm(dim=1).mean() for part in (store, other)])
    assert torch.equal(other.best_beam, other.values["rf"].argmax(-1)), "powers and beams stay together"
    east_m = torch.stack([store.values["gps"][:, 0], other.values["gps"][:, 0]])
    beam = torch.stack([store.best_beam, other.best_beam]).double()
    coupling = [
        float(torch.corrcoef(torch.stack([place.double(), best]))[0, 1])
        for place, best in zip(east_m, beam, strict=True)
    ]
    assert coupling[0] == pytest.approx(coupling[1]), "positions and beams stay together"
    still, mixed = np.array(steps_m).T
    assert (mixed > 5 * still).all(), "no step leads to the next one"
    assert torch.equal(shuffled(store).best_beam, other.best_beam)


def test_a_source_is_all_of_its_drives(dataset):
    store, windows = Source("twin", (dataset,)).load()
    assert len(windows) == sum(episode.frames - T_WINDOW + 1 for episode in store.episodes)


def results_of(losses, sequences=8):
    """Results of one site where each model loses so much power in every window, in dB, whatever the sequence."""
    rows = {}
    for cell, loss_db in losses.items():
        spread = np.linspace(0.9, 1.1, sequences)
        row = {"windows": [10] * sequences, "seconds": 60.0, "drives": 17 if cell.endswith("all") else 1}
        row |= {name: (10 * loss_db * spread).tolist() for name in ("l1_rsrp_db", "top1", "ade_m", "mae_db")}
        rows[f"s/folds-0/seed-0/{cell}"] = row
    counts = [4, 8, 16, "all"]
    return Results(rows, {"s": counts}, "nano", {"folds": [0], "seeds": 1, "adapt_steps": 3})


def losses_of(twin, real, gru):
    """Of the twin with 4 drives, and of both rivals with 4, 8, 16 and all."""
    counts = ("4", "8", "16", "all")
    found = {"jepa_twin_4": twin, "jepa_twin_all": 0.1}
    return found | {
        f"{name}_{n}": v
        for name, row in (("jepa_real", real), ("gru_real", gru))
        for n, v in zip(counts, row, strict=True)
    }


@pytest.mark.parametrize(
    ("twin", "verdict"),
    [(0.5, "holds"), (1.0, "holds"), (1.04, "holds"), (1.06, "does not hold"), (2.0, "does not hold")],
)
def test_the_goal_is_to_lose_hardly_more_with_four_drives_than_the_rival_with_sixteen(twin, verdict):
    results = results_of(losses_of(twin, (3.0, 2.0, 1.0, 1.0), (3.0, 2.0, 1.0, 1.0)))
    goals = results.goals("s")
    assert [goal.verdict for goal in goals] == [verdict, verdict]
    assert goals[0].difference.value == pytest.approx(twin - 1.0), "what is printed is the plain difference"
    assert "as good as jepa_real with 16" in goals[0].text


def test_few_sequences_decide_nothing():
    results = results_of(losses_of(0.5, (3.0, 2.0, 1.0, 1.0), (3.0, 2.0, 1.0, 1.0)), sequences=5)
    assert [goal.verdict for goal in results.goals("s")] == ["undecided", "undecided"]


def test_drives_are_saved_by_the_number_with_which_the_rival_catches_up():
    results = results_of(losses_of(1.5, (3.0, 2.0, 1.0, 0.9), (3.0, 2.0, 1.8, 1.7)))
    assert (results.reached_with("s", "jepa_real"), results.saved("s", "jepa_real")) == (16, "12")
    assert (results.reached_with("s", "gru_real"), results.saved("s", "gru_real")) == (None, "more than 13")
    page = results.page()
    assert "| 16 | 12 | none | more than 13 |" in page
    assert "Cost: 10 minutes of one core (adapting 10)." in page


def test_a_site_without_so_many_drives_is_compared_with_all_it_has():
    results = results_of(losses_of(0.5, (3.0, 2.0, 1.0, 1.0), (3.0, 2.0, 1.0, 1.0)))
    small = Results(results.rows, {"s": [4, 8, "all"]}, "nano", results.spent)
    assert "jepa_real with all (17)" in small.goals("s")[0].text


def test_what_is_wrong_with_the_request_is_said_before_anything_is_made(tmp_path, sites, alone):
    with pytest.raises(UserError, match="choose from quick, default, full"):
        run(tmp_path / "a", sites, "lavish")
    with pytest.raises(UserError, match="two datasets have one name"):
        run(tmp_path / "a", [sites[0], sites[0].parent / "more" / sites[0].name], "nano")
    assert not (tmp_path / "a").exists()


def test_rows_of_other_sites_are_not_taken(finished, sites, alone):
    with pytest.raises(UserError, match="differs in data"):
        run(finished, sites[:1], "nano")


def test_where_no_site_is_named_two_scenarios_of_the_twin_stand_in(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(places_of_twin, "made", lambda scenario, *rest: asked.append((load_scenario(scenario), *rest)))
    monkeypatch.setattr(transfer, "checked_hashes", lambda places: (_ for _ in ()).throw(UserError("enough", "", "")))
    with pytest.raises(UserError, match="enough"):
        run(tmp_path, budget="quick")
    names = ("street_canyon", "deepsense32")
    assert [rest for _, *rest in asked] == [[tmp_path / "sites" / name, 10, 30] for name in names]
    assert [scenario.raw["ue"]["view_margin_deg"] for scenario, *_ in asked] == [0.0, 0.0], "while the car is in view"
