"""What the model reads of raw frames: nothing of it depends on how a site is turned, or on frames still to come."""

import math

import pytest
import torch

from jepa.baselines.gru_cascade import GruCascade
from jepa.config import HeadConfig, InputConfig
from jepa.data.frames import FrameStore
from jepa.data.inputs import Normalisers, balanced, relative
from jepa.data.preprocess import Normaliser, site_axes
from jepa.data.samples import History, Samples
from jepa.data.splits import make_split
from jepa.data.windows import T_OBS
from jepa.heads.training import _disturbed
from jepa.training.loop import Plan
from twin.errors import UserError

STREET = 40


def _street(turn_rad: float, mirrored: bool = False, generator_seed: int = 0):
    """Fixes along a street 12 m from the base station, the whole site turned; beams rise with the way along it."""
    generator = torch.Generator().manual_seed(generator_seed)
    along = torch.linspace(-30, 30, STREET)
    beam = torch.linspace(2, 61, STREET).round().long()
    away = 12 + 0.3 * torch.randn(STREET, generator=generator)
    local = torch.stack([-along if mirrored else along, away], -1)
    cosine, sine = math.cos(turn_rad), math.sin(turn_rad)
    return local @ torch.tensor([[cosine, sine], [-sine, cosine]]), beam


@pytest.mark.parametrize("turn_deg", [0, 77, 180, 301])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_axes_of_a_site_follow_its_street_however_it_is_turned(turn_deg, mirrored):
    position, beam = _street(math.radians(turn_deg), mirrored)
    axes = torch.tensor(site_axes(position, beam))
    torch.testing.assert_close(axes @ axes.T, torch.eye(2), atol=1e-5, rtol=0)
    in_site = position @ axes.T
    assert torch.corrcoef(torch.stack([in_site[:, 0], beam.float()]))[0, 1] > 0.99
    assert (in_site[:, 1] > 10).all(), "the second axis leads away from the base station"


def test_a_stray_fix_does_not_turn_the_axes():
    position, beam = _street(0.4)
    astray = position.clone()
    astray[7] += torch.tensor([900.0, -2000.0])
    torch.testing.assert_close(
        torch.tensor(site_axes(astray, beam)), torch.tensor(site_axes(position, beam)), atol=0.02, rtol=0
    )


@pytest.fixture
def normaliser(store):
    train = make_split(store).parts["train"]
    return Normaliser.fit(store, train, "site")


def test_positions_come_back_from_the_frame_of_the_site(normaliser):
    position = torch.randn(6, 5, 2) * 30
    torch.testing.assert_close(normaliser.position_m_of(normaliser.position(position)), position, atol=1e-4, rtol=1e-5)


def test_the_frame_of_the_site_is_stored_with_the_statistics(normaliser, tmp_path):
    Normalisers({"*": normaliser}).save(tmp_path / "stats.json")
    assert Normalisers.load(tmp_path / "stats.json").found["*"] == normaliser


def test_relative_inputs_know_no_gain_no_offset_and_no_future():
    config = InputConfig(power="window", position="last")
    values = {"rf": torch.randn(3, 13, 64), "gps": torch.randn(3, 13, 2)}
    seen = relative(values, config)
    louder = relative({"rf": 3 * values["rf"] + 5, "gps": values["gps"] + 7}, config)
    torch.testing.assert_close(louder["rf"], seen["rf"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(louder["gps"], seen["gps"], atol=1e-4, rtol=1e-4)
    changed = {name: part.clone() for name, part in values.items()}
    for part in changed.values():
        part[:, T_OBS:] += 1e3
    for name, part in relative(changed, config).items():
        assert torch.equal(part[:, :T_OBS], seen[name][:, :T_OBS])


def test_a_window_of_noise_alone_is_not_blown_up():
    faint = {"rf": 1e-3 * torch.randn(2, 8, 64)}
    assert relative(faint, InputConfig(power="window"))["rf"].abs().max() < 0.1


def test_the_rival_on_relative_inputs_predicts_the_same_beams_at_a_turned_site_with_more_power():
    generator = torch.Generator().manual_seed(1)
    position, beam = _street(0.0)
    starts = torch.arange(STREET - 12)
    index = starts[:, None] + torch.arange(13)
    shape = torch.exp(-0.5 * ((torch.arange(64) - beam[:, None]) / 2.0) ** 2) + 0.05
    power = shape[index] * (1 + 0.01 * torch.rand(len(starts), 13, 64, generator=generator))

    def samples(place: torch.Tensor, gain: float) -> Samples:
        found, where = power * gain, place[index]
        history = History({"rf": found[:, :T_OBS], "gps": where[:, :T_OBS]})
        return Samples(
            history, found[:, T_OBS:], where[:, T_OBS:], beam[index][:, T_OBS:], torch.zeros(len(starts)).long()
        )

    def logits(place: torch.Tensor, gain: float):
        rival = GruCascade(plan=Plan(epochs=1, learning_rate=1e-3), inputs=InputConfig(frame="site", power="window"))
        data = samples(place, gain)
        rival.fit(data, data, 0)
        return torch.as_tensor(rival.predict(data.history).beam_logits)

    turned, _ = _street(1.2)
    torch.testing.assert_close(logits(turned, 1e-4), logits(position, 1.0), atol=2e-2, rtol=0)


def test_head_training_shifts_a_whole_window_and_its_future_alike():
    history, future = {"rf": torch.zeros(50, 8, 64), "gps": torch.zeros(50, 8, 2)}, torch.zeros(50, 5, 2)
    config = HeadConfig(position_offset=0.3, input_noise={"rf": 0.05})
    seen, asked = _disturbed(history, future, config, torch.Generator().manual_seed(0))
    shift = asked[:, :1]
    assert shift.std() == pytest.approx(0.3, rel=0.3)
    assert (asked == shift).all()
    assert (seen["gps"] == shift).all()
    assert seen["rf"].std() == pytest.approx(0.05, rel=0.05)
    assert not history["gps"].any(), "the data themselves stay as they are"


def test_real_windows_are_repeated_until_the_twin_has_its_share():
    of_window = torch.tensor([0] * 90 + [1] * 7 + [2] * 20)
    rows = balanced(of_window, 0.5)
    found = torch.bincount(of_window[rows])
    assert found.tolist() == [90, 45, 45]
    assert torch.unique(rows).numel() == 117, "none is left out"


def test_sites_share_no_street_and_no_unit(dataset, drive, tmp_path):
    for number in range(10):
        drive(number, seed=5).save(tmp_path / "other")
    store = FrameStore.load([dataset, tmp_path / "other"])
    train = make_split(store).parts["train"]
    for options in ({"frame": "site"}, {"power": "window"}):
        with pytest.raises(UserError, match=rf"inputs.{next(iter(options))} is of a site; set inputs.normalise=by-dat"):
            Normalisers.fit(store, train, InputConfig(**options))
        found = Normalisers.fit(store, train, InputConfig(**options, normalise="by-dataset"))
        assert found.found.keys() == {dataset.name, "other"}
    alone = train.select(train.episode < 10)
    assert Normalisers.fit(store, alone, InputConfig(frame="site")).found.keys() == {"*"}, "the windows are of one"
