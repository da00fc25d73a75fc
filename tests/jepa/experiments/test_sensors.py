"""The experiment calls a sensor informative when held-out episodes show it, and no other."""

import json

import numpy as np
import pytest

from jepa.experiments import sensors
from jepa.experiments.sensors import FEATURES, Ridge, run
from twin.errors import UserError
from twin.recording import BaseStation, Recording, RecordingManifest
from twin.scenario import Template, load_scenario
from twin.sensors.images import encode_jpeg
from twin.simulator import Simulator

EPISODES, FRAMES = 12, 10
BORESIGHT_RAD = 3.0
"""Near the cut of the angles: azimuths on both sides of it are near each other."""
VIEW_DEG = 45.0


def _drive(number, show, waits=False):
    """A car passes from one side to the other, or waits somewhere; `show` paints the sensors from its azimuth."""
    rng = np.random.default_rng(number)
    azimuth_deg = np.linspace(-60, 60, FRAMES + 2)[1:-1] + rng.uniform(-5, 5)
    if number % 2:
        azimuth_deg = azimuth_deg[::-1]
    if waits:
        azimuth_deg = rng.uniform(-40, 40) + np.linspace(-1, 1, FRAMES)
    angle = BORESIGHT_RAD + np.radians(azimuth_deg)
    distance = 12 / np.cos(np.radians(azimuth_deg))
    position = np.stack([distance * np.cos(angle), distance * np.sin(angle), np.full(FRAMES, 1.7)], 1)
    manifest = RecordingManifest(
        source="twin",
        scenario="planted",
        bs=BaseStation(latitude_deg=33.4, longitude_deg=-111.9, height_m=1.7, boresight_rad=BORESIGHT_RAD),
        generator_version="0",
        frame_rate_hz=10.0,
        time_source="nominal",
        power_unit="W",
    )
    images, radar, lidar = show(azimuth_deg, rng)
    streams = [encode_jpeg(image) for image in images]
    camera = np.zeros((FRAMES, max(map(len, streams))), np.uint8)
    for row, stream in zip(camera, streams, strict=True):
        row[: len(stream)] = np.frombuffer(stream, np.uint8)
    arrays = {
        "time": np.arange(FRAMES) / 10,
        "rf": np.ones((FRAMES, 64)),
        "gps": np.zeros((FRAMES, 2)),
        "camera": camera,
        "radar": radar.astype(np.float16),
        "lidar": lidar.astype(np.float16),
        "truth/position_m": position,
        **{f"valid_{name}": np.ones(FRAMES, bool) for name in ("rf", "gps", "camera", "radar", "lidar")},
    }
    return Recording(f"episode-{number:05d}", manifest, arrays)


def _noise(azimuth_deg, rng):
    """Sensors that show a street, and nothing of the car."""
    street = np.tile(np.linspace(60, 180, 224)[None, :, None], (224, 1, 3))
    images = np.clip(street + rng.normal(0, 5, (FRAMES, 224, 224, 3)), 0, 255).astype(np.uint8)
    radar = -110 + rng.normal(0, 1, (FRAMES, 64, 256))
    lidar = np.where(rng.random((FRAMES, 64, 256)) < 0.3, np.nan, 24 + rng.normal(0, 0.1, (FRAMES, 64, 256)))
    return images, radar, lidar


def _a_car_and_another(azimuth_deg, rng):
    """The car at its azimuth, left of the middle where the azimuth is positive; in some frames another one."""
    images, radar, lidar = _noise(azimuth_deg, rng)
    grey, echo_db = rng.integers(0, 255, 3), rng.uniform(15, 30)
    for k, own_deg in enumerate(azimuth_deg):
        others = [rng.uniform(-50, 50)] if rng.random() < 0.15 else []
        for degrees in (own_deg, *others):
            column = round(112 - degrees * 224 / 110)
            images[k, 120:150, max(0, column - 14) : max(0, column + 14)] = grey
            angle = round(32 + 32 * np.sin(np.radians(degrees)))
            radar[k, max(0, angle - 4) : angle + 5, 60:66] += echo_db
            across = round((0.5 - degrees / 360) * 256)
            lidar[k, 36:50, across - 7 : across + 8] = 12 / np.cos(np.radians(degrees))
    return images, radar, lidar


def _a_badge(azimuth_deg, rng):
    """A mark that each drive has for itself blinks: it tells the drive, and nothing of where the car is."""
    images, radar, lidar = _noise(azimuth_deg, rng)
    on = np.arange(FRAMES) % 5 < 2
    row, column = rng.integers(0, 27, 2) * 8
    images[on, row : row + 8, column : column + 8] = 255
    radar[on, rng.integers(0, 64), rng.integers(0, 256)] += 60
    lidar[on, rng.integers(0, 64), rng.integers(0, 256)] = 1.0
    return images, radar, lidar


def _dataset(root, show, episodes=EPISODES, waits=False):
    for number in range(episodes):
        _drive(number, show, waits).save(root)
    return root


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return _dataset(tmp_path_factory.mktemp("planted") / "data", _a_car_and_another)


@pytest.fixture(scope="module")
def finished(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("experiment")
    run(out, [planted])
    return out


def test_every_sensor_that_shows_the_car_is_called_informative(finished):
    found = json.loads((finished / "sensors.json").read_text())
    assert list(found) == ["camera", "radar", "lidar"]
    table = (finished / "sensors.md").read_text()
    for sensor, row in found.items():
        assert np.mean(row["error_deg"]) < 0.5 * np.mean(row["mean_error_deg"]), sensor
        line = next(line for line in table.splitlines() if line.startswith(f"| {sensor} |"))
        assert line.endswith("* |")
        assert f"| {np.mean(row['error_deg']):.2f} | {np.mean(row['mean_error_deg']):.2f} |" in line


def test_the_error_of_the_mean_is_that_of_the_other_episodes_mean(finished, planted):
    """By hand: frames within the view, the three folds that are not the test."""
    azimuths = []
    for number in range(EPISODES):
        truth = Recording.open(planted / f"episode-{number:05d}").arrays["truth/position_m"]
        degrees = (np.degrees(np.arctan2(truth[:, 1], truth[:, 0]) - BORESIGHT_RAD) + 180) % 360 - 180
        azimuths.append(degrees[np.abs(degrees) <= VIEW_DEG])
    row = json.loads((finished / "sensors.json").read_text())["radar"]
    assert row["frames"] == [len(found) for found in azimuths]
    assert min(row["frames"]) < FRAMES
    for number, own in enumerate(azimuths):
        others = np.concatenate([a for k, a in enumerate(azimuths) if k % 4 != number % 4])
        assert row["mean_error_deg"][number] == pytest.approx(np.abs(own - others.mean()).mean())


def _ratios(out):
    """Error of each sensor over that of the mean."""
    found = json.loads((out / "sensors.json").read_text())
    return [np.mean(row["error_deg"]) / np.mean(row["mean_error_deg"]) for row in found.values()]


def test_a_sensor_that_shows_nothing_of_the_car_does_as_well_as_the_mean(tmp_path):
    run(tmp_path / "out", [_dataset(tmp_path / "data", _noise)])
    assert _ratios(tmp_path / "out") == pytest.approx([1.0, 1.0, 1.0], abs=0.1)


def test_that_a_drive_is_recognised_is_no_information_because_it_was_held_out(tmp_path):
    run(tmp_path / "out", [_dataset(tmp_path / "data", _a_badge, waits=True)])
    assert min(_ratios(tmp_path / "out")) > 0.8
    assert "*" not in (tmp_path / "out" / "sensors.md").read_text()


def test_a_second_run_computes_nothing_again(finished, planted, monkeypatch, capsys):
    before = (finished / "sensors.md").read_text()
    monkeypatch.setattr(sensors, "_row", pytest.fail)
    run(finished, [planted])
    assert capsys.readouterr().out.strip() == before.strip()


def test_a_lost_frame_of_one_sensor_counts_for_none(planted, tmp_path):
    for number in range(EPISODES):
        recording = Recording.open(planted / f"episode-{number:05d}")
        valid = np.arange(FRAMES) != 5
        arrays = {**recording.arrays, "valid_lidar": valid}
        Recording(recording.name, recording.manifest, arrays).save(tmp_path / "data")
    run(tmp_path / "out", [tmp_path / "data"])
    frames = json.loads((tmp_path / "out" / "sensors.json").read_text())["camera"]["frames"]
    whole = [int((np.abs(_azimuths(planted, n)) <= VIEW_DEG).sum()) for n in range(EPISODES)]
    assert frames == [count - 1 for count in whole]


def _azimuths(planted, number):
    truth = Recording.open(planted / f"episode-{number:05d}").arrays["truth/position_m"]
    return (np.degrees(np.arctan2(truth[:, 1], truth[:, 0]) - BORESIGHT_RAD) + 180) % 360 - 180


def test_the_regression_is_ridge_regression():
    """The same minimum by least squares with the penalty as further rows."""
    rng = np.random.default_rng(0)
    episodes = [sensors._Episode(rng.random((5, 12)), rng.uniform(-40, 40, 5)) for _ in range(6)]
    strength = 0.05
    (ridge,) = Ridge.path(episodes, [strength])
    x = np.concatenate([e.features for e in episodes])
    azimuth = np.concatenate([e.azimuth_deg for e in episodes])
    centred = x - x.mean(0)
    penalty = np.sqrt(strength * (centred**2).sum()) * np.eye(12)
    stacked = np.concatenate([centred, penalty]), np.concatenate([azimuth - azimuth.mean(), np.zeros(12)])
    weight = np.linalg.lstsq(*stacked, rcond=None)[0]
    np.testing.assert_allclose(ridge.predict(x), azimuth.mean() + centred @ weight, atol=1e-8)


def test_the_recordings_that_it_makes_hold_every_sensor_and_the_car_in_view(tmp_path, monkeypatch):
    asked = {}

    def remember(scenario, out, episodes, **options):
        asked.update(options, scenario=scenario, episodes=episodes)
        _dataset(out, _a_car_and_another, episodes)

    monkeypatch.setattr(sensors, "recorded", remember)
    monkeypatch.setitem(sensors.BUDGETS, "nano", 5)
    run(tmp_path / "out", budget="nano")
    assert asked["episodes"] == 5
    assert set(FEATURES) <= set(asked["modalities"])
    assert "view_margin_deg: 0" in asked["scenario"].read_text()
    assert (tmp_path / "out" / "sensors.md").exists()


def test_what_is_wrong_with_the_request_is_said_before_anything_is_computed(planted, dataset, finished, tmp_path):
    with pytest.raises(UserError, match="choose from quick, default, full"):
        run(tmp_path / "a", [planted], "lavish")
    with pytest.raises(UserError, match="has no camera"):
        run(tmp_path / "b", [dataset])
    for number in range(4):
        plain = _drive(number, _noise)
        known = {name: values for name, values in plain.arrays.items() if not name.startswith("truth/")}
        Recording(plain.name, plain.manifest, known).save(tmp_path / "real")
    with pytest.raises(UserError, match="holds no truth"):
        run(tmp_path / "b", [tmp_path / "real"])
    few = _dataset(tmp_path / "few", _noise, 3)
    with pytest.raises(UserError, match="3 episodes are too few"):
        run(tmp_path / "b", [few])
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
    with pytest.raises(UserError, match="differs in data"):
        run(finished, [_dataset(tmp_path / "other", _noise, 4)])


def test_each_simulated_sensor_tells_where_the_car_is_from_a_few_frames(tmp_path):
    """Twelve passages through the view at 4 frames a second, some 13 of which count in each."""
    raw = load_scenario("deepsense32").raw
    few = {"frame_rate_hz": 4, "frames": 160, "ue": {**raw["ue"], "view_margin_deg": 0.0}}
    scenario = Template({**raw, **few}, "few frames")
    for episode in range(12):
        Simulator(scenario, 1, episode).run().save(tmp_path / "data")
    run(tmp_path / "out", [tmp_path / "data"])
    found = json.loads((tmp_path / "out" / "sensors.json").read_text())
    rng = np.random.default_rng(2)
    for sensor, row in found.items():
        gain_deg = np.array(row["mean_error_deg"]) - np.array(row["error_deg"])
        means_deg = gain_deg[rng.integers(0, len(gain_deg), (5000, len(gain_deg)))].mean(1)
        assert np.quantile(means_deg, 0.025) > 2, sensor
    assert (tmp_path / "out" / "sensors.md").read_text().count("* |") == len(FEATURES)


@pytest.mark.long
def test_each_simulated_sensor_tells_where_the_car_is(tmp_path):
    run(tmp_path)
    table = (tmp_path / "sensors.md").read_text()
    for sensor in FEATURES:
        assert next(line for line in table.splitlines() if line.startswith(f"| {sensor} |")).endswith("* |"), table
