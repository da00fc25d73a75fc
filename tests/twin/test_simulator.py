"""Episodes: what a recording holds, and that it depends on nothing but scenario, seed and episode."""

import numpy as np
import pytest
import trimesh

from twin.errors import UserError
from twin.radio import codebook
from twin.recording import Recording
from twin.scenario import Template, load_scenario, scenario_file
from twin.simulator import Simulator

SCENARIO = "street_canyon"


@pytest.fixture(scope="module")
def recording():
    return Simulator(SCENARIO, 5, 2).run()


def test_frame_by_frame_is_the_same_as_at_once(recording):
    simulator = Simulator(SCENARIO, 5, 2)
    for t in range(40):
        frame = simulator.step()
        assert frame.time_s == recording.arrays["time"][t]
        np.testing.assert_array_equal(frame.sweep_w, recording.arrays["rf"][t])
        np.testing.assert_array_equal(frame.gps_deg, recording.arrays["gps"][t])
        np.testing.assert_array_equal(frame.paths.delay_s[0], recording.arrays["truth/path_delay_s"][t])
        gain = recording.arrays["truth/path_gain"][t]
        np.testing.assert_array_equal(frame.paths.gain[0], gain[:, 0] + 1j * gain[:, 1])


def test_an_episode_ends(recording):
    simulator = Simulator(load_scenario(SCENARIO), 5, 2)
    simulator._next = recording.frames
    with pytest.raises(StopIteration):
        simulator.step()


def test_a_modality_does_not_change_another(recording):
    alone = Simulator(SCENARIO, 5, 2).run(modalities=["rf"])
    np.testing.assert_array_equal(alone.arrays["rf"], recording.arrays["rf"])
    assert not alone.arrays["valid_gps"].any()
    assert np.isnan(alone.arrays["gps"]).all()


def test_seeds_and_episodes_differ(recording):
    for seed, episode in ((6, 2), (5, 3)):
        other = Simulator(SCENARIO, seed, episode).run()
        count = min(other.frames, recording.frames)
        assert not np.array_equal(other.arrays["rf"][:count], recording.arrays["rf"][:count])


def test_the_manifest_tells_how_to_make_the_recording_again(recording, tmp_path):
    recording.save(tmp_path)
    stored = Recording.open(tmp_path / recording.name)
    again = Simulator(SCENARIO, stored.manifest.seed, stored.manifest.episode).run()
    again.save(tmp_path / "again")
    assert Recording.open(tmp_path / "again" / again.name).content_hash == stored.content_hash
    assert stored.manifest.drawn
    assert stored.manifest.scenario["ue"]["speed_mps"] == stored.manifest.drawn["ue.speed_mps"]
    assert stored.manifest.codebook.weights().shape == (64, 16)


def test_the_truth_is_consistent(recording):
    truth = recording.arrays
    position, velocity = truth["truth/position_m"], truth["truth/velocity_mps"]
    moved = np.diff(position, axis=0) * recording.manifest.frame_rate_hz
    np.testing.assert_allclose(moved, (velocity[1:] + velocity[:-1]) / 2, atol=0.05)
    np.testing.assert_allclose(position[:, :2], truth["truth/actor_box"][:, 0, :2], atol=1e-4)
    assert (position[:, 2] > truth["truth/actor_box"][:, 0, 5]).all()
    assert not (truth["truth/line_of_sight"] & truth["truth/blocked"]).any()
    direct = truth["truth/path_kind"] == 0
    distance = np.linalg.norm(position - [0, 0, recording.manifest.bs.height_m], axis=1)
    for t in np.flatnonzero(direct.any(axis=1)):
        assert truth["truth/path_delay_s"][t, direct[t]] * 299_792_458.0 == pytest.approx(distance[t], rel=1e-9)


def test_the_recorded_sweep_is_that_of_the_recorded_paths_with_the_recorded_codebook(recording):
    """h^H f from the truth alone, beam by beam."""
    truth, manifest = recording.arrays, recording.manifest
    gain = truth["truth/path_gain"] @ [1, 1j]
    azimuth, zenith = np.moveaxis(truth["truth/path_aod_rad"].astype(float), -1, 0)
    sine = np.sin(azimuth - manifest.bs.boresight_rad) * np.sin(zenith)
    response = np.exp(1j * np.pi * sine[..., None] * np.arange(16))
    power = 0.1 * np.abs((gain[..., None] * response).sum(1).conj() @ manifest.codebook.weights().T) ** 2
    assert manifest.scenario["radio"]["tx_power_dbm"] == 20
    strongest = np.take_along_axis(power, truth["truth/best_beam"][:, None].astype(int), 1)[:, 0]
    np.testing.assert_allclose(strongest, power.max(axis=1), rtol=1e-3)
    noise_w = 10 ** (manifest.scenario["radio"]["noise_dbm"] / 10 - 3)
    symbols = manifest.scenario["radio"]["symbols"]
    deviation = np.sqrt((2 * power * noise_w + noise_w**2) / symbols)
    score = (truth["rf"] - power - noise_w) / deviation
    assert abs(score.mean()) < 0.05
    assert score.std() == pytest.approx(1.0, abs=0.05)


def test_measured_positions_are_near_the_true_ones(recording):
    error = recording.position_m() - recording.arrays["truth/position_m"][:, :2]
    assert 0.0 < np.abs(error).max() < 3.0


def test_the_floor_as_a_share_is_a_share_of_the_strongest_sweep_next_to_the_base_station():
    raw = {
        **load_scenario(SCENARIO).raw,
        "ground": "asphalt",
        "buildings": [],
        "radio": {"floor_share": 0.2, "codebook": {"kind": "uniform_angle"}},
        "traffic": {"arrivals_per_minute": 0, "speed_mps": 10},
    }
    template = type(load_scenario(SCENARIO))(raw, "here")
    simulator = Simulator(template, 0)
    power = simulator.rsrp_w(simulator.paths())
    assert simulator.noise_w == pytest.approx(0.2 * power.max(), rel=0.05)


def test_a_missing_scenario_is_a_users_error():
    with pytest.raises(UserError, match="no such scenario"):
        Simulator("street_cannon", 0)


def _turned_from_boresight_deg(simulator: Simulator) -> np.ndarray:
    east, north = simulator.ue_m[:, 0], simulator.ue_m[:, 1]
    return np.degrees(np.angle(np.exp(1j * (np.arctan2(north, east) - simulator.scenario.boresight_rad))))


@pytest.mark.parametrize("episode", range(6))
def test_a_drive_by_is_recorded_only_while_the_beams_can_see_it(episode):
    simulator = Simulator("drive_by", 1, episode)
    margin_deg = simulator.scenario.ue.view_margin_deg
    half_deg = simulator.scenario.radio.codebook.field_of_view_deg / 2 + margin_deg
    turned_deg = _turned_from_boresight_deg(simulator)
    assert simulator.frames == len(turned_deg) > 0
    assert np.abs(turned_deg).max() <= half_deg
    assert np.ptp(turned_deg) > half_deg, "it is seen from one side to the other"


def test_a_vehicle_that_never_comes_into_view_is_a_users_error():
    template = load_scenario("drive_by")
    template.raw["frames"] = 2
    with pytest.raises(UserError, match="not in view within 2 frames"):
        _ = Simulator(template, 0, 0).traffic


def test_files_that_a_scenario_names_are_looked_for_beside_it(tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    trimesh.creation.box((20.0, 6.0, 9.0)).export(folder / "house.ply")
    np.savez(folder / "beams.npz", weights=codebook.uniform_sine())
    text = scenario_file("street_canyon").read_text()
    text = text.replace("kind: uniform_angle", "kind: measured, file: beams.npz")
    text += "\nscenery:\n  - {file: house.ply, across_m: 40, material: concrete}\n"
    (folder / "scenario.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    simulator = Simulator("mine/scenario.yaml", 0, 0)
    assert len(simulator.scene.bodies[-1].face) == 12
    np.testing.assert_allclose(np.abs(simulator.codebook), np.abs(codebook.uniform_sine()), atol=1e-12)
    assert simulator.run(3).manifest.scenario["scenery"][0]["file"] == "house.ply", "no path of this machine"


@pytest.mark.parametrize(("height_m", "inside"), [(9.0, True), (0.5, True), (12.0, False)])
def test_a_base_station_inside_a_mesh_is_refused(tmp_path, height_m, inside):
    shape = trimesh.creation.box((6.0, 6.0, 11.0), trimesh.transformations.translation_matrix((0, 0, 5.5)))
    shape.export(tmp_path / "tower.ply")
    raw = dict(load_scenario("street_canyon").raw)
    raw["site"] = {**raw["site"], "bs_height_m": height_m}
    raw["scenery"] = [
        {"file": str(tmp_path / "tower.ply"), "across_m": -raw["site"]["street_distance_m"], "material": "concrete"}
    ]
    if inside:
        with pytest.raises(UserError, match="base station stands inside this body"):
            Simulator(Template(raw, "x"), 0, 0)
    else:
        assert Simulator(Template(raw, "x"), 0, 0).paths(0, 1).valid.any()
