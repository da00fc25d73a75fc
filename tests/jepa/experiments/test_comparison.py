"""Intervals are those of a bootstrap over whole sequences, pairs share draws, claims say no more than is shown."""

import json
from statistics import NormalDist

import numpy as np
import pytest

from jepa.experiments.results.comparison import FEWEST_SEQUENCES, Estimate, Sums, claim, difference, mean, ratio
from jepa.experiments.results.store import write_json
from twin.errors import UserError

TOLERANCE = 0.12
"""Of an interval's end, in its widths: two bootstraps of some thousand draws differ by less."""
T_11 = 2.201
"""97.5 % quantile of Student's distribution of 11 degrees of freedom, from a printed table."""


@pytest.fixture
def two():
    """Twelve sequences of uneven length and difficulty; the second model is 10 % worse on each, and a little noisy."""
    rng = np.random.default_rng(3)
    windows = rng.integers(5, 60, 12)
    hard = rng.gamma(2, 0.5, 12)
    worse = hard * 1.1 + rng.normal(0, 0.02, 12)
    return Sums(hard * windows, windows), Sums(worse * windows, windows)


def window_by_window(sums, windows):
    """Every window's value on its own, sequence by sequence."""
    return [np.full(count, total / count) for total, count in zip(sums, windows, strict=True)]


def bootstrap(statistic, count, draws=4000):
    """A second formulation: sequences drawn one draw after another, their windows laid end to end."""
    rng = np.random.default_rng(99)
    found = [statistic(rng.choice(count, count)) for _ in range(draws)]
    level = NormalDist().cdf(-np.sqrt(12 / 11) * T_11)
    assert level == pytest.approx(0.0108, abs=1e-4)
    return np.quantile(found, level), np.quantile(found, 1 - level)


def agrees(estimate, value, low, high):
    assert estimate.value == pytest.approx(value)
    assert estimate.interval == pytest.approx((low, high), abs=TOLERANCE * (high - low))


def test_the_mean_is_over_windows_and_its_interval_over_sequences(two):
    first, _ = two
    values = window_by_window(first.sums, first.windows)
    by_hand = bootstrap(lambda drawn: np.concatenate([values[k] for k in drawn]).mean(), 12)
    agrees(mean(first), np.concatenate(values).mean(), *by_hand)


def test_a_difference_is_of_the_same_windows(two):
    first, second = two
    a, b = (window_by_window(model.sums, model.windows) for model in two)
    apart = [x - y for x, y in zip(a, b, strict=True)]
    by_hand = bootstrap(lambda drawn: np.concatenate([apart[k] for k in drawn]).mean(), 12)
    found = difference(first, second)
    agrees(found, np.concatenate(apart).mean(), *by_hand)
    wide, narrow = (estimate.interval[1] - estimate.interval[0] for estimate in (mean(first), found))
    assert narrow < 0.3 * wide, "what makes a sequence hard falls out"
    assert difference(second, first).value == -found.value


def test_a_ratio_is_of_the_means_of_the_same_draws(two):
    first, second = two
    a, b = (window_by_window(model.sums, model.windows) for model in two)

    def of(drawn):
        return np.concatenate([a[k] for k in drawn]).mean() / np.concatenate([b[k] for k in drawn]).mean()

    agrees(ratio(first, second), of(np.arange(12)), *bootstrap(of, 12))
    assert ratio(first, first).interval == (1.0, 1.0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Drives from a known world, eight of them: plain quantiles would hold the true mean in 90 % of the cases."""
    rng = np.random.default_rng(0)
    windows, covered, trials = np.full(8, 10), 0, 500
    for _ in range(trials):
        low, high = mean(Sums(windows * rng.normal(2.0, 1.0, 8), windows)).interval
        covered += low <= 2.0 <= high
    assert 0.92 <= covered / trials <= 0.97


def test_seeds_are_averaged_within_a_sequence_and_folds_follow_each_other():
    seeds = [{"windows": [10, 30], "loss": [5.0, 30.0]}, {"windows": [10, 30], "loss": [15.0, 60.0]}]
    found = Sums.of([seeds, [{"windows": [20], "loss": [8.0]}]], "loss")
    assert found.sums.tolist() == [10.0, 45.0, 8.0]
    assert found.windows.tolist() == [10, 30, 20]
    assert mean(found).value == pytest.approx(63 / 60)


def test_a_claim_holds_fails_or_stays_open():
    clear = Estimate(-0.2, (-0.3, -0.1), 12)
    assert claim("a loses less than b", clear, "lower").verdict == "holds"
    assert claim("a is more accurate than b", clear, "higher").verdict == "does not hold"
    assert claim("a loses less than b", Estimate(-0.2, (-0.3, 0.01), 12), "lower").verdict == "undecided"
    better = Estimate(0.2, (0.1, 0.3), 12)
    assert claim("a is more accurate than b", better, "higher").verdict == "holds"
    assert str(claim("a loses less than b", clear, "lower")) == (
        "a loses less than b: holds, -0.200 [-0.300, -0.100], 12 sequences"
    )


def test_few_sequences_decide_nothing():
    """All of them agree to the digit, and it could be chance."""
    for count in (1, FEWEST_SEQUENCES - 1, FEWEST_SEQUENCES):
        windows = np.full(count, 10)
        found = difference(Sums(windows * 1.0, windows), Sums(windows * 1.5, windows))
        assert found.value == pytest.approx(-0.5)
        decided = claim("better", found, "lower").verdict != "undecided"
        assert decided == (2 / 2**count <= 0.05)
    assert mean(Sums(np.array([3.0]), np.array([2]))).text() == "1.500 [one sequence]"


def test_what_is_written_is_what_was_found():
    found = Estimate(0.12345, (-0.5, 0.75), 8)
    assert found.text() == "0.123 [-0.500, 0.750]"
    assert found.text(decimals=1, sign=True) == "+0.1 [-0.5, +0.8]"


def test_a_json_file_holds_what_is_written(tmp_path):
    write_json(tmp_path / "all.json", {"one": [Estimate(0.1, (0.0, 0.2), 8), Estimate(0.1, None, 1)]})
    several, alone = json.loads((tmp_path / "all.json").read_text())["one"]
    assert several == {"value": 0.1, "ci95": [0.0, 0.2], "sequences": 8}
    assert alone == {"value": 0.1, "ci95": None, "sequences": 1}
    found = claim("a is better than b", Estimate(0.2, (0.1, 0.3), 12), "higher", 0.0049)
    write_json(tmp_path / "claim.json", {"claims": [found]})
    (told,) = json.loads((tmp_path / "claim.json").read_text())["claims"]
    assert told == {
        "claim": "a is better than b",
        "verdict": "holds",
        "value": 0.2,
        "ci95": [0.1, 0.3],
        "sequences": 12,
        "paper": 0.0049,
    }
    assert str(found).endswith("holds, +0.200 [+0.100, +0.300], 12 sequences; paper +0.0049")


def test_the_same_rows_give_the_same_interval(two):
    assert difference(*two) == difference(*two)


def test_models_of_other_windows_are_not_compared(two):
    first, _ = two
    other = Sums(first.sums, first.windows + 1)
    for compare in (difference, ratio):
        with pytest.raises(UserError, match="not judged on the same windows"):
            compare(first, other)
    rows = [{"windows": [10], "loss": [1.0]}, {"windows": [11], "loss": [1.0]}]
    with pytest.raises(UserError, match="count other windows"):
        Sums.of([rows], "loss")
    with pytest.raises(UserError, match="no row"):
        Sums.of([], "loss")


def test_a_ratio_to_nothing_is_refused_and_a_sequence_without_hits_is_not():
    windows = np.full(12, 10)
    none, most = np.zeros(12), np.r_[0.0, np.full(11, 5.0)]
    with pytest.raises(UserError, match="divide by nothing"):
        ratio(Sums(most, windows), Sums(none, windows))
    assert ratio(Sums(most, windows), Sums(most, windows)).value == 1.0


@pytest.mark.parametrize(
    ("sums", "windows"), [([1.0, 2.0], [1]), ([], []), ([1.0], [0]), ([np.nan], [1]), ([[1.0]], [[1]])]
)
def test_sums_that_are_none_are_a_defect(sums, windows):
    with pytest.raises(ValueError, match=r"sums of shape|not finite"):
        Sums(np.array(sums), np.array(windows, int))
