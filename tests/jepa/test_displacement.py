"""The fitted coarse trajectory: constant velocity at first, then what the training drives do."""

import pytest
import torch

from jepa.baselines.extrapolation import constant_velocity
from jepa.displacement import FittedDisplacement
from jepa.windows import T_OBS, T_WINDOW


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
