"""SIGReg: the statistic against direct integrals, what it says of clouds, and what its gradient does to them."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from jepa.paradigms.sigreg import epps_pulley, random_directions

EXPECTED = quad(lambda t: (1 - math.exp(-(t**2))) * math.exp(-(t**2) / 2), -3, 3)[0]
"""Mean of the statistic of standard normal samples: E|phi_N - phi|^2 = (1 - phi^2) / N."""


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_integration(samples, end):
    """The definition, integrated adaptively."""

    def integrand(t):
        empirical = np.mean(np.exp(1j * t * samples))
        return abs(empirical - math.exp(-(t**2) / 2)) ** 2 * math.exp(-(t**2) / 2)

    return len(samples) * quad(integrand, -end, end, limit=200)[0]


def in_closed_form(samples):
    """The integral over all t, pair by pair: int cos(a t) exp(-b t^2) dt = sqrt(pi / b) exp(-a^2 / (4 b))."""
    pairs = samples[:, None] - samples
    both = math.sqrt(2 * math.pi) * np.exp(-(pairs**2) / 2).mean()
    cross = math.sqrt(math.pi) * np.exp(-(samples**2) / 4).mean()
    return len(samples) * (both - 2 * cross + math.sqrt(2 * math.pi / 3))


CLOUDS = {
    "normal": np.random.default_rng(1).standard_normal(300),
    "shifted": np.random.default_rng(2).standard_normal(300) + 1.5,
    "bimodal": np.random.default_rng(3).choice([-2.0, 2.0], 300) + 0.1,
    "point": np.full(50, 0.3),
}


@pytest.mark.parametrize("name", CLOUDS)
def test_the_statistic_is_the_integral_of_its_definition(name):
    samples = CLOUDS[name]
    projected = torch.from_numpy(samples)[:, None]
    usual = epps_pulley(projected).item()
    assert usual == pytest.approx(by_integration(samples, 3.0), rel=0.01)
    fine = epps_pulley(projected, knots=129, farthest_t=8.0).item()
    assert fine == pytest.approx(in_closed_form(samples), rel=1e-3, abs=1e-3)


def sigreg(cloud, directions=256, step=0, total=None):
    """Mean statistic of a cloud over the random directions of a step."""
    axes = random_directions(cloud.shape[-1], directions, 0, step)
    with torch.autocast("cpu", enabled=False):
        return epps_pulley(cloud.float() @ axes.T, total=total).mean()


@pytest.mark.parametrize("samples", [64, 1024])
def test_standard_normal_samples_score_their_expectation_whatever_their_number(samples):
    scores = [sigreg(normal(samples, 16, seed=seed), step=seed).item() for seed in range(40)]
    assert np.mean(scores) == pytest.approx(EXPECTED, rel=0.1)


DEPARTURES = {
    "shifted": lambda z: z + 0.5,
    "wide": lambda z: 1.5 * z,
    "narrow": lambda z: 0.5 * z,
    "a point": lambda z: 0 * z,
    "low rank": lambda z: z[:, :4] @ torch.eye(4, 16) * 2,
    "bimodal": lambda z: torch.cat([z[: len(z) // 2] * 0.2 + 0.98, z[len(z) // 2 :] * 0.2 - 0.98]),
}


@pytest.mark.parametrize("name", DEPARTURES)
def test_other_clouds_score_more_and_the_more_the_more_samples_there_are(name):
    few, many = (sigreg(DEPARTURES[name](normal(samples, 16))).item() for samples in (256, 1024))
    assert few > 3 * EXPECTED
    assert many == pytest.approx(4 * few, rel=0.35)


def test_each_group_is_held_against_the_normal_by_itself():
    """Two groups that are normal together, one of each side, and neither alone."""
    cloud = normal(512, 8)
    order = cloud[:, 0].argsort()
    halves = cloud[order].unflatten(0, (2, 256))
    axes = random_directions(8, 64, 0, 0)
    whole, apart = epps_pulley(cloud @ axes.T).mean(), epps_pulley(halves @ axes.T)
    assert apart.shape == (2, 64)
    torch.testing.assert_close(apart[1], epps_pulley(halves[1] @ axes.T))
    assert apart.mean() > 3 * whole


def test_the_gradient_pushes_a_collapsed_cloud_apart_to_a_normal_one():
    cloud = (0.01 * normal(256, 8)).requires_grad_(True)
    optimiser = torch.optim.Adam([cloud], lr=0.03)
    outward = -(torch.autograd.grad(sigreg(cloud, 64), cloud)[0] * cloud).sum(-1)
    assert (outward > 0).float().mean() > 0.9, "points are driven away from their common middle"
    for step in range(300):
        optimiser.zero_grad()
        sigreg(cloud, 64, step).backward()
        optimiser.step()
    spread = torch.linalg.eigvalsh(torch.cov(cloud.detach().T))
    assert spread.min() > 0.7
    assert spread.max() < 1.3
    assert cloud.detach().mean(0).abs().max() < 0.15


def test_the_gradient_is_that_of_finite_differences():
    cloud = normal(12, 3).double() * 1.7 + 0.4

    def value(points):
        return np.mean([by_trapezoid(points @ axis) for axis in random_directions(3, 4, 0, 0).double().numpy()])

    def by_trapezoid(samples):
        t = np.linspace(-3, 3, 33)
        gap = np.exp(1j * t * samples[:, None]).mean(0) - np.exp(-(t**2) / 2)
        return len(samples) * np.trapezoid(abs(gap) ** 2 * np.exp(-(t**2) / 2), t)

    leaf = cloud.float().requires_grad_(True)
    score = sigreg(leaf, 4)
    score.backward()
    points = cloud.numpy()
    assert score.item() == pytest.approx(value(points), rel=1e-5)
    for row, column in ((0, 0), (5, 2), (11, 1)):
        step = np.zeros_like(points)
        step[row, column] = 1e-5
        slope = (value(points + step) - value(points - step)) / 2e-5
        assert leaf.grad[row, column].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("shape", [(1500, 200), (3, 700, 150)], ids=["one cloud", "groups"])
def test_more_samples_than_a_processor_takes_at_once_have_the_statistic_and_gradient_of_the_whole(shape):
    """Against sines and cosines of every knot in double precision."""
    projected = normal(*shape) * 1.4 - 0.2
    weights = normal(*shape[:-2], shape[-1], seed=1).double()

    def plainly(samples):
        t = torch.linspace(0, 3, 17, dtype=torch.double)
        bell = torch.exp(-t.square() / 2)
        angle = samples[..., None] * t
        gap = (angle.cos().mean(-3) - bell).square() + angle.sin().mean(-3).square()
        return samples.shape[-2] * 2 * torch.trapezoid(gap * bell, t)

    found, expected = projected.clone().requires_grad_(), projected.double().requires_grad_()
    scores, definition = epps_pulley(found), plainly(expected)
    torch.testing.assert_close(scores.double(), definition, rtol=1e-4, atol=1e-4)
    (scores * weights).sum().backward()
    (definition * weights).sum().backward()
    torch.testing.assert_close(found.grad.double(), expected.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e4, 1e15])
def test_clouds_of_any_size_have_finite_scores_and_bounded_gradients(scale):
    cloud = (normal(200, 4) * scale).requires_grad_(True)
    score = sigreg(cloud, 32)
    score.backward()
    slope = 4 * quad(lambda t: t * math.exp(-(t**2) / 2) * (1 + math.exp(-(t**2) / 2)), 0, 3)[0]
    assert math.isfinite(score.item())
    assert cloud.grad.norm(dim=1).max() <= slope


def test_half_precision_is_taken_up_to_single():
    cloud = normal(400, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = sigreg(cloud)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(sigreg(cloud.float()).item(), rel=1e-6)


def test_unequal_parts_that_add_up_their_sums_get_the_score_and_gradient_of_the_whole():
    cloud = normal(300, 8) * 1.3
    parts = [part.clone().requires_grad_(True) for part in cloud.split([100, 200])]
    whole = cloud.clone().requires_grad_(True)
    messages = []

    def listen(own):
        messages.append(own.detach())
        return own

    for part in parts:
        sigreg(part, 32, total=listen)
    scores = [
        sigreg(part, 32, total=lambda own, other=other: own + other)
        for part, other in zip(parts, messages[::-1], strict=True)
    ]
    expected = sigreg(whole, 32)
    for score in (*scores, expected):
        score.backward()
    assert [score.item() for score in scores] == pytest.approx([expected.item()] * 2, rel=1e-5)
    torch.testing.assert_close(torch.cat([part.grad for part in parts]), whole.grad, rtol=1e-4, atol=1e-6)


def test_directions_are_unit_vectors_in_no_preferred_direction_and_new_in_every_step():
    axes = torch.cat([random_directions(6, 500, 0, step) for step in range(4)])
    torch.testing.assert_close(axes.norm(dim=1), torch.ones(2000))
    torch.testing.assert_close(axes.T @ axes / 2000, torch.eye(6) / 6, atol=0.02, rtol=0)
    assert len(torch.unique(axes, dim=0)) == 2000
    assert not torch.equal(random_directions(6, 5, 0, 3), random_directions(6, 5, 1, 3))
