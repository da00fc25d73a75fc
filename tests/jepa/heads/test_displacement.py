"""The fitted coarse trajectory: constant velocity at first, then what the training drives do."""

import pytest
import torch

from jepa.baselines.extrapolation import constant_velocity
from jepa.baselines.kalman import extrapolate, fitted_noise
from jepa.data.windows import T_OBS, T_WINDOW
from jepa.heads import displacement
from jepa.heads.displacement import BlendedDisplacement, FittedDisplacement


def _windows(paths):
    """Paths along one axis, windows of 13 frames."""
    return torch.stack([paths, torch.zeros_like(paths)], -1)


def test_it_begins_as_constant_velocity():
    position = torch.randn(20, T_OBS, 2)
    torch.testing.assert_close(FittedDisplacement()(position), constant_velocity(position))


def test_a_car_that_accelerates_is_followed_where_constant_velocity_falls_behind():
    t = torch.arange(float(T_WINDOW))
    speed, acceleration = torch.rand(300, 1) + 0.5, 0.3 * torch.rand(300, 1)
    windows = _windows(speed * t + 0.5 * acceleration * t**2)
    fitted = FittedDisplacement()
    fitted.fit(windows)
    error = (fitted(windows[:, :T_OBS]) - windows[:, T_OBS:]).norm(dim=-1).mean()
    plain = (constant_velocity(windows[:, :T_OBS]) - windows[:, T_OBS:]).norm(dim=-1).mean()
    assert error < 0.2 * plain


def test_fixes_that_wander_are_averaged_and_a_few_wild_ones_do_not_count():
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(float(T_WINDOW))
    true = _windows((torch.rand(2000, 1, generator=generator) + 0.5) * t)
    seen = true + 0.1 * torch.randn(true.shape, generator=generator)
    wild = seen.clone()
    wild[:20, 9:] += 500.0
    clean, robust = FittedDisplacement(), FittedDisplacement()
    clean.fit(seen)
    robust.fit(wild)
    error = [(model(seen[:, :T_OBS]) - true[:, T_OBS:]).norm(dim=-1).mean() for model in (clean, robust)]
    plain = (constant_velocity(seen[:, :T_OBS]) - true[:, T_OBS:]).norm(dim=-1).mean()
    assert error[0] < 0.6 * plain
    assert float(error[1]) == pytest.approx(float(error[0]), rel=0.1)


def test_a_street_that_is_turned_turns_the_trajectory():
    generator = torch.Generator().manual_seed(1)
    windows = torch.randn(100, T_WINDOW, 2, generator=generator).cumsum(1)
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    fitted = FittedDisplacement()
    fitted.fit(windows)
    torch.testing.assert_close(
        fitted(windows[:, :T_OBS] @ turn), fitted(windows[:, :T_OBS]) @ turn, atol=1e-4, rtol=1e-4
    )


def _error(model, windows):
    return float((model(windows[:, :T_OBS]) - windows[:, T_OBS:]).norm(dim=-1).mean())


def _jumping():
    """Straight drives whose receiver jumps once in half of the windows, by a metre or two, and stays there."""
    generator = torch.Generator().manual_seed(2)
    t = torch.arange(float(T_WINDOW))
    true = _windows((torch.rand(400, 1, generator=generator) + 0.5) * t)
    jump = torch.randint(1, 2 * T_OBS, (400, 1), generator=generator)
    size = 1.5 * torch.randn(400, 1, 2, generator=generator)
    return true + size * (t >= jump)[..., None] + 0.01 * torch.randn(true.shape, generator=generator)


def _swaying():
    """Drives of one frequency, sampled without noise: a linear map of seven steps tells all of what follows."""
    generator = torch.Generator().manual_seed(3)
    t = torch.arange(float(T_WINDOW))
    phase = 6.28 * torch.rand(400, 1, generator=generator)
    return torch.stack([(torch.rand(400, 1, generator=generator) + 0.5) * t, torch.sin(0.9 * t + phase)], -1)


@pytest.mark.parametrize(("world", "filtered"), [(_jumping, True), (_swaying, False)])
def test_the_training_windows_tell_whether_filter_or_map_is_followed(world, filtered):
    train, test = world().split(200)
    mapped, blended = FittedDisplacement(), BlendedDisplacement()
    mapped.fit(train)
    blended.fit(train)
    noise = fitted_noise(train)
    alone = {
        True: float((extrapolate(test[:, :T_OBS], noise) - test[:, T_OBS:]).norm(dim=-1).mean()),
        False: _error(mapped, test),
    }
    assert alone[filtered] < 0.7 * alone[not filtered], "the worlds tell them apart"
    assert _error(blended, test) < 1.05 * alone[filtered]
    assert bool((blended.share > 0.5).all()) == filtered


def test_a_blend_is_a_part_of_a_checkpoint_and_begins_as_constant_velocity():
    blended, again = BlendedDisplacement(), BlendedDisplacement()
    position = torch.randn(20, T_OBS, 2)
    torch.testing.assert_close(blended(position), constant_velocity(position))
    blended.fit(_jumping())
    again.load_state_dict(blended.state_dict())
    assert torch.equal(again(position), blended(position))
    assert again(position).dtype == position.dtype


def test_heads_on_the_same_windows_share_one_fit_of_the_filter(monkeypatch):
    fits = []
    fit = displacement.fitted_noise
    monkeypatch.setattr(displacement, "fitted_noise", lambda windows: fits.append(1) or fit(windows))
    displacement._noise_of.cache_clear()
    first, second, other = BlendedDisplacement(), BlendedDisplacement(), BlendedDisplacement()
    windows = _jumping()
    first.fit(windows)
    second.fit(windows.clone())
    other.fit(windows[1:])
    assert len(fits) == 2
    assert torch.equal(first.deviations, second.deviations)
    assert not torch.equal(first.deviations, other.deviations)


def test_a_blend_knows_no_origin_and_no_unit():
    windows = _jumping()
    blended, small = BlendedDisplacement(), BlendedDisplacement()
    blended.fit(windows)
    small.fit(windows / 9)
    seen = windows[:20, :T_OBS]
    torch.testing.assert_close(blended(seen + 50.0), blended(seen) + 50.0, atol=1e-4, rtol=0)
    torch.testing.assert_close(9 * small(seen / 9), blended(seen), atol=1e-3, rtol=0)
