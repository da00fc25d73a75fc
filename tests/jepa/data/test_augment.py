"""Augmentations as statements about the world: what a mirrored, a reversed and a faster drive would have shown."""

import math

import numpy as np
import pytest
import torch

from jepa.config import AugmentConfig, InputConfig, preset
from jepa.config_checks import check_config
from jepa.data.augment import (
    Augmentation,
    MirrorLine,
    codebook_asymmetry,
    mirrored,
    reversed_in_time,
    stretched,
)
from jepa.data.frames import FrameStore
from jepa.data.inputs import SMALL, Normalisers, WindowInputs, relative
from jepa.data.preprocess import Normaliser, power_db
from jepa.data.splits import make_split
from jepa.data.windows import Piece, cut_windows
from twin.errors import UserError
from twin.radio import codebook as codebooks
from twin.recording import CodebookWeights

FRAME_S = 0.1
HEIGHT_M = 4.0
CODEBOOK = codebooks.uniform_angle()


def sweep(position, boresight_rad, wall=None, codebook=CODEBOOK, floor=0.0):
    """|h^H f_i|^2 at positions (T, 2): line of sight and, with `wall` = (normal angle, distance), its echo.

    The array stands HEIGHT_M above the origin; phases count from its middle, lengths are in metres at 60 GHz.
    """
    wavelength = 0.005
    sources = [np.zeros(2)]
    if wall:
        sources.append(2 * wall[1] * np.array([math.cos(wall[0]), math.sin(wall[0])]))
    channel = 0
    for number, image in enumerate(sources):
        leg = position - image
        length = np.sqrt((leg**2).sum(-1) + HEIGHT_M**2)
        if number:  # the direction in which the array sends what the wall then turns
            normal = np.array([math.cos(wall[0]), math.sin(wall[0])])
            leg = leg - 2 * (leg @ normal)[:, None] * normal
        across = -math.sin(boresight_rad) * leg[:, 0] + math.cos(boresight_rad) * leg[:, 1]
        phase = np.pi * (across / length)[:, None] * (np.arange(16) - 7.5)
        gain = (1 - 1.5 * number) / length * np.exp(-2j * np.pi * length / wavelength)
        channel = channel + gain[:, None] * np.exp(1j * phase)
    return np.abs(channel.conj() @ codebook.T) ** 2 + floor


def reflection(position, boresight_rad):
    """Seen from the boresight, left and right change places."""
    turn = np.array(
        [[math.cos(boresight_rad), math.sin(boresight_rad)], [-math.sin(boresight_rad), math.cos(boresight_rad)]]
    )
    seen = position @ turn.T
    return (seen * [1, -1]) @ turn


def street(boresight_rad, speed=8.0, frames=25, start_m=-9.0, away_m=11.0, slope=0.2):
    """Positions of a straight drive, not quite at right angles to the boresight."""
    along = start_m + speed * FRAME_S * np.arange(frames)
    seen = np.stack([away_m + slope * along, -along], 1)
    turn = np.array(
        [[math.cos(boresight_rad), -math.sin(boresight_rad)], [math.sin(boresight_rad), math.cos(boresight_rad)]]
    )
    return seen @ turn.T


def tensor(values):
    return torch.from_numpy(np.asarray(values))


@pytest.mark.parametrize("make", [codebooks.uniform_angle, codebooks.uniform_sine])
@pytest.mark.parametrize("reverse", [False, True])
def test_beams_spread_evenly_are_symmetric_from_either_side(make, reverse):
    weights = codebooks.reversed_order(make()) if reverse else make()
    assert codebook_asymmetry([weights]) < 1e-12


def test_the_asymmetry_is_the_largest_difference_between_a_pattern_and_its_partner_seen_from_the_other_side():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(64, 16)) + 1j * rng.normal(size=(64, 16))
    worst, peak = 0.0, 0.0
    for angle in np.arcsin(np.linspace(-1, 1, 257)):
        for beam in range(64):
            here, there = (
                abs(np.vdot(np.exp(1j * np.pi * np.arange(16) * math.sin(side * angle)), weights[row]))
                for side, row in ((1, beam), (-1, 63 - beam))
            )
            worst, peak = max(worst, abs(here - there)), max(peak, here)
    assert codebook_asymmetry([weights]) == pytest.approx(worst / peak, rel=1e-9)


LEANING = CODEBOOK * np.exp(1j * np.pi * 0.1 * np.arange(16))


def with_errors(seed, deviation_deg):
    errors = np.radians(deviation_deg) * np.random.default_rng(seed).standard_normal(16)
    return codebooks.with_phase_errors(CODEBOOK, errors)


def test_errors_that_each_drive_draws_anew_average_out_and_a_lean_does_not():
    drawn = [with_errors(seed, 20) for seed in range(100)]
    alone = np.mean([codebook_asymmetry([weights]) for weights in drawn])
    assert alone > 0.15
    assert codebook_asymmetry(drawn) < 0.2 * alone
    assert codebook_asymmetry([LEANING] * 100) == pytest.approx(codebook_asymmetry([LEANING]))
    assert codebook_asymmetry([LEANING]) > 0.3


def test_phase_errors_spoil_the_symmetry_and_their_mirror_image_is_the_array_with_the_errors_reversed():
    errors = np.radians(10) * np.random.default_rng(1).standard_normal(16)
    left, right = (codebooks.with_phase_errors(CODEBOOK, values) for values in (errors, errors[::-1]))
    assert 0.02 < codebook_asymmetry([left]) < 0.3
    here = street(0.0)
    there = reflection(here, 0.0)
    np.testing.assert_allclose(sweep(there, 0.0, codebook=right)[:, ::-1], sweep(here, 0.0, codebook=left), rtol=1e-9)


@pytest.mark.parametrize("boresight_rad", [0.0, 0.7, 2.9, -1.8])
@pytest.mark.parametrize("wall", [None, (0.4, 20.0)])
def test_a_mirrored_drive_has_the_sweeps_of_the_mirrored_world_echo_and_all(boresight_rad, wall):
    position = street(boresight_rad)
    image = reflection(position, boresight_rad)
    wall_here = wall and (wall[0] + boresight_rad, wall[1])
    wall_there = wall and (boresight_rad - wall[0], wall[1])
    power, moved = mirrored(
        tensor(sweep(position, boresight_rad, wall_here)), tensor(position), MirrorLine.in_metres(boresight_rad)
    )
    np.testing.assert_allclose(moved, image, atol=1e-5)
    np.testing.assert_allclose(power, sweep(image, boresight_rad, wall_there), rtol=1e-6, atol=1e-12)
    best = sweep(position, boresight_rad, wall_here).argmax(1)
    assert power.argmax(1).tolist() == (63 - best).tolist()
    assert best.max() - best.min() > 30, "the drive crosses the sector"


def test_a_drive_mirrored_twice_is_itself():
    line = MirrorLine.in_metres(0.7)
    power, position = torch.rand(2, 13, 64), torch.randn(2, 13, 2)
    again = mirrored(*mirrored(power, position, line), line)
    torch.testing.assert_close(again, (power, position))


def normaliser_of(boresight_rad, site, slope=0.2):
    """Statistics of a street, in east and north or in the axes of the site."""
    position = torch.cat([tensor(street(boresight_rad, speed, slope=slope)) for speed in (6, 8, 11)]).float()
    found = Normaliser(-60.0, 5.0, tuple(position.mean(0).tolist()), 4.2)
    if not site:
        return found
    along = torch.tensor([math.sin(boresight_rad), -math.cos(boresight_rad)])
    away = torch.tensor([math.cos(boresight_rad), math.sin(boresight_rad)])
    return Normaliser(-60.0, 5.0, found.position_mean_m, 4.2, axes=(tuple(along.tolist()), tuple(away.tolist())))


@pytest.mark.parametrize("site", [False, True])
@pytest.mark.parametrize("boresight_rad", [0.3, 2.0])
def test_standardised_positions_are_mirrored_about_the_base_station_and_not_about_their_mean(site, boresight_rad):
    normaliser = normaliser_of(boresight_rad, site)
    position = tensor(street(boresight_rad)).float()
    line = MirrorLine.standardised(normaliser, boresight_rad + 0.1)
    _, moved = mirrored(torch.rand(25, 64), normaliser.position(position), line)
    expected = reflection(position.numpy(), boresight_rad + 0.1)
    np.testing.assert_allclose(normaliser.position_m_of(moved), expected, atol=1e-4)


def test_in_the_site_frame_an_unknown_boresight_looks_across_the_street():
    normaliser = normaliser_of(0.3, site=True, slope=0.0)
    position = tensor(street(0.3, slope=0.0)).float()
    known, unknown = MirrorLine.standardised(normaliser, 0.3), MirrorLine.standardised(normaliser)
    standardised = normaliser.position(position)
    _, moved = mirrored(torch.rand(25, 64), standardised, unknown)
    torch.testing.assert_close(moved, mirrored(torch.rand(25, 64), standardised, known)[1])
    torch.testing.assert_close(moved[:, 1], standardised[:, 1])
    foot = float(unknown.station[0])
    assert abs(foot) > 0.01, "the base station is not at the mean of the street"
    torch.testing.assert_close(moved[:, 0], 2 * foot - standardised[:, 0])
    with pytest.raises(UserError, match="boresight is not known"):
        MirrorLine.standardised(normaliser_of(0.3, site=False))


def test_along_a_mirrored_street_the_beam_number_still_rises():
    position = street(0.3)
    power, moved = mirrored(tensor(sweep(position, 0.3)), tensor(position), MirrorLine.in_metres(0.3))
    across = np.array([-math.sin(0.3), math.cos(0.3)])
    for where, beams in ((position, sweep(position, 0.3)), (moved.numpy(), power.numpy())):
        assert np.corrcoef(where @ across, beams.argmax(1))[0, 1] > 0.99


def test_mirroring_before_and_after_making_a_window_relative_is_the_same():
    config = InputConfig(power="window", position="last")
    normaliser = normaliser_of(0.3, site=True)
    position = normaliser.position(tensor(street(0.3)).float()).unfold(0, 13, 1).mT
    power = normaliser.power(tensor(sweep(street(0.3), 0.3)).float()).unfold(0, 13, 1).mT
    line = MirrorLine.standardised(normaliser, 0.4)
    before = relative(dict(zip(("rf", "gps"), mirrored(power, position, line), strict=True)), config)
    shown = relative({"rf": power, "gps": position}, config)
    after = mirrored(shown["rf"], shown["gps"], MirrorLine(torch.zeros(2), line.direction))
    torch.testing.assert_close((before["rf"], before["gps"]), after, atol=1e-5, rtol=1e-5)


def test_every_window_of_a_batch_may_have_a_site_of_its_own():
    lines = [MirrorLine.in_metres(0.2), MirrorLine(torch.tensor([3.0, -1.0]), torch.tensor([0.6, 0.8]))]
    both = MirrorLine(
        torch.stack([line.station for line in lines])[:, None], torch.stack([line.direction for line in lines])[:, None]
    )
    power, position = torch.rand(2, 13, 64), torch.randn(2, 13, 2)
    _, moved = mirrored(power, position, both)
    for row, line in enumerate(lines):
        torch.testing.assert_close(moved[row], mirrored(power[row], position[row], line)[1])


def test_a_straight_drive_reversed_is_the_drive_the_other_way():
    here = street(0.0, frames=13)[None]
    end = here[0, -1]
    other = end + (here[0, 0] - end) * np.arange(13)[:, None] / 12
    back = reversed_in_time(tensor(here))
    np.testing.assert_allclose(back[0], other, atol=1e-9)
    np.testing.assert_allclose(np.diff(back[0], axis=0), -np.diff(here[0], axis=0), atol=1e-9)
    np.testing.assert_allclose(reversed_in_time(tensor(sweep(here[0], 0.0))[None])[0], sweep(other, 0.0), rtol=1e-6)
    assert reversed_in_time(torch.zeros(2, 13, 4, 5, 3)).shape == (2, 13, 4, 5, 3)


def speeds(position):
    return np.linalg.norm(np.diff(np.asarray(position), axis=-2), axis=-1) / FRAME_S


@pytest.mark.parametrize(("factor", "source"), [(2.0, 25), (1.5, 25), (1.0, 13), (0.5, 13), (0.5, 7), (1.3, 17)])
def test_a_straight_drive_stretched_by_a_factor_has_that_many_times_its_speed(factor, source):
    slow = street(0.0, speed=8.0, slope=0.0, frames=source)
    fast = stretched(tensor(slow)[None], factor)
    assert fast.shape == (1, 13, 2)
    np.testing.assert_allclose(speeds(fast[0]), 8.0 * factor, rtol=1e-5)
    np.testing.assert_allclose(fast[0], street(0.0, speed=8.0 * factor, slope=0.0, frames=13), atol=1e-5)


def stretched_power(power, factor, frames=13):
    """Linear power, interpolated in dB."""
    return 10 ** (stretched(power_db(power), factor, frames) / 10)


def test_twice_the_speed_shows_every_other_sweep():
    power = tensor(sweep(street(0.0), 0.0, floor=1e-4))[None].float()
    torch.testing.assert_close(stretched_power(power, 2.0), power[:, ::2])


@pytest.mark.parametrize("speed", [6.0, 10.0, 14.0])
def test_between_two_frames_powers_in_db_are_nearer_to_the_truth_than_linear_ones(speed):
    """A drive recorded at half the rate over a floor of a fifth of the peak, against the frames left out."""
    fine = street(0.0, speed=speed / 2, frames=61, start_m=-1.5 * speed)
    truth = tensor(sweep(fine, 0.0, floor=0.025)).float()
    coarse = truth[None, ::2]
    between = slice(1, None, 2)
    error, lost = [], []
    for found in (stretched_power(coarse, 0.5, 61)[0], stretched(coarse, 0.5, 61)[0]):
        torch.testing.assert_close(found[::2], truth[::2])
        gap = (power_db(found) - power_db(truth))[between]
        served = truth.gather(1, found.argmax(1, keepdim=True))[between, 0]
        error.append(gap.square().mean().sqrt().item())
        lost.append((power_db(truth.max(1).values[between]) - power_db(served)).mean().item())
    assert error[0] < 0.95 * error[1]
    assert lost[0] < 0.2 * lost[1]


def test_each_window_may_have_a_speed_of_its_own():
    slow = tensor(np.stack([street(0.0), street(0.0, speed=5.0)])).float()
    both = stretched(slow, torch.tensor([2.0, 0.7]))
    for row, factor in enumerate((2.0, 0.7)):
        torch.testing.assert_close(both[row], stretched(slow[row : row + 1], factor)[0])


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.01, math.nan, torch.tensor([1.0, 2.2])])
def test_a_stretch_beyond_the_frames_that_there_are_is_refused(factor):
    with pytest.raises(UserError, match="stretch by more than 0 and at most 2"):
        stretched(torch.zeros(2, 25, 2), factor)


@pytest.mark.parametrize("source", range(14, 30))
def test_all_frames_that_there_are_can_be_used(source):
    drive = torch.arange(source, dtype=torch.float32)[None, :, None]
    found = stretched(drive, (source - 1) / 12)
    assert found[0, -1, 0].item() == pytest.approx(source - 1, rel=1e-6)


def test_pretraining_draws_what_is_changed_for_each_window_and_the_world_stays_whole(store):
    train = make_split(store).parts["train"]
    normalisers = Normalisers.fit(store, train, InputConfig(frame="site"))
    windows = WindowInputs(normalisers.frames(store), train.index)
    rows = torch.arange(64)
    raw = windows.whole(rows, ("gps", "rf"))

    def changed(**options):
        augmentation = Augmentation.of(AugmentConfig(**options), store, train, normalisers)
        return augmentation(raw, rows, torch.Generator().manual_seed(3))

    for options in ({"mirror": 1.0}, {"reverse": 1.0}, {"slowest": 0.5}):
        found = changed(**options)
        assert found["rf"].shape == raw["rf"].shape
        assert not torch.equal(found["gps"], raw["gps"])
    mirrored_beam = 63 - raw["rf"].argmax(-1)
    assert torch.equal(changed(mirror=1.0)["rf"].argmax(-1), mirrored_beam)
    some = (changed(mirror=0.5)["rf"] != raw["rf"]).any(-1).any(-1).float().mean()
    assert 0.25 < some < 0.75
    twice = Augmentation.of(AugmentConfig(mirror=1.0), store, train, normalisers)
    again = twice({**raw, **twice(raw, rows, torch.Generator())}, rows, torch.Generator())
    torch.testing.assert_close(again["gps"], raw["gps"], atol=1e-4, rtol=1e-4)


@pytest.fixture
def recorded(drive, tmp_path):
    """Saves three drives with a boresight and a codebook each, and loads them with their windows."""

    def made(boresights_rad, weights, name="recorded"):
        for number, (boresight_rad, one) in enumerate(zip(boresights_rad, weights, strict=True)):
            plain = drive(number)
            station = plain.manifest.bs.model_copy(update={"boresight_rad": boresight_rad})
            known = None if one is None else CodebookWeights.of(one)
            plain.manifest = plain.manifest.model_copy(update={"bs": station, "codebook": known})
            plain.save(tmp_path / name)
        store = FrameStore.load([tmp_path / name])
        pieces = [Piece(number, 0, one.frames) for number, one in enumerate(store.episodes)]
        windows = cut_windows(store, pieces)
        return store, windows, Normalisers.fit(store, windows, InputConfig(frame="east-north"))

    return made


def test_a_drive_is_mirrored_in_the_boresight_that_its_recording_tells(recorded, capsys):
    boresights_rad = (0.3, 1.2, -2.0)
    store, windows, normalisers = recorded(boresights_rad, [CODEBOOK] * 3)
    augmentation = Augmentation.of(AugmentConfig(mirror=1.0), store, windows, normalisers)
    assert capsys.readouterr().err == ""
    raw = WindowInputs(normalisers.frames(store), windows.index).whole(rows := torch.arange(len(windows)), SMALL)
    moved = augmentation(raw, rows, torch.Generator())["gps"]
    normaliser = normalisers.of(store.datasets[0])
    for number, boresight_rad in enumerate(boresights_rad):
        of_drive = windows.episode == number
        here = store.values["gps"][windows.index[of_drive]].numpy()
        expected = reflection(here, boresight_rad)
        np.testing.assert_allclose(normaliser.position_m_of(moved[of_drive]), expected, atol=1e-4)


def test_a_codebook_that_leans_is_not_mirrored(recorded):
    store, windows, normalisers = recorded((0.3,) * 3, [LEANING] * 3, "leaning")
    with pytest.raises(UserError, match="codebook of leaning is not symmetric") as refused:
        Augmentation.of(AugmentConfig(mirror=0.5), store, windows, normalisers)
    assert refused.value.where == "augment.mirror"
    assert "augment.mirror=0" in refused.value.remedy
    Augmentation.of(AugmentConfig(reverse=0.5), store, windows, normalisers)


def test_that_a_codebook_is_not_known_is_said_once(recorded, capsys):
    store, windows, normalisers = recorded((0.3,) * 3, [None, CODEBOOK, None])
    Augmentation.of(AugmentConfig(mirror=0.5), store, windows, normalisers)
    assert capsys.readouterr().err == "augment.mirror: 2 drives without a codebook, which is taken for symmetric\n"


def test_a_model_that_sees_pictures_is_not_shown_a_mirrored_radio():
    config = preset("small", ["inputs.modalities=[radar, gps, rf]", "augment.mirror=0.5"])
    with pytest.raises(UserError, match="powers and positions alone"):
        check_config(config)
