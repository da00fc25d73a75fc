"""What is drawn is what was given, names are readable, files are the same each time, nonsense is refused in a line."""

import sys
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from jepa.experiments.pages import drawing
from jepa.experiments.pages.canvas import looks_of
from jepa.experiments.pages.drawing import Caption
from twin.errors import UserError

pytest.importorskip("matplotlib")

MODELS = (
    "JEPA-MSAC",
    "GRU",
    "AR",
    "Transformer",
    "M2BeamLLM",
    "hold-last",
    "gru_cascade",
    "k-NN",
    "untrained backbone",
)
CAPTION = Caption("What is shown", "scenario 9, blocked split, test part; budget default, three seeds; bands: 95 %")


def interval(value, width=0.02):
    value = np.asarray(value, float)
    return value, value - width, value + width


def errors(count=9):
    return {model: np.random.default_rng(k).gamma(2, 0.05 * (k + 1), 50) for k, model in enumerate(MODELS[:count])}


def horizons(count=9):
    """Nine curves that end within a hair of each other."""
    return {model: interval(0.3 + 0.001 * k + 0.02 * np.arange(5)) for k, model in enumerate(MODELS[:count])}


def shares(count=9):
    found = {model: np.exp(-np.arange(64) / (1 + 0.2 * k)) for k, model in enumerate(MODELS[:count])}
    return {model: values / values.sum() for model, values in found.items()}


def savings(count=9):
    drives = np.array([0, 2, 8, 68])
    return {model: (drives, *interval(1 / (1 + drives) + 0.5 + 0.01 * k)) for k, model in enumerate(MODELS[:count])}


KINDS = {
    "cdf": lambda path, count=9: drawing.cdf(path, errors(count), "error, m", CAPTION),
    "horizon": lambda path, count=9: drawing.against_horizon(path, {"top-1": horizons(count)}, CAPTION),
    "panels": lambda path, count=9: drawing.against_horizon(path, dict.fromkeys("abc", horizons(count)), CAPTION),
    "bars": lambda path, count=9: drawing.bars(
        path, {model: interval(0.1 + k) for k, model in enumerate(MODELS[:count])}, "dB", CAPTION, {"GRU": 0.5}
    ),
    "mismatch": lambda path, count=9: drawing.mismatch(path, shares(count), CAPTION),
    "drives": lambda path, count=9: drawing.saved_drives(path, savings(count), "dB", CAPTION),
}


def line_of(axes, model):
    (found,) = [line for line in axes.get_lines() if line.get_gid() == model]
    return found.get_xdata(), found.get_ydata()


def bars_of(axes, model):
    return [bar for bar in axes.patches if bar.get_gid() == model]


def bands_of(axes):
    """Corners of each band: (step, low) and (step, high)."""
    return [{tuple(corner) for corner in band.get_paths()[0].vertices.round(9)} for band in axes.collections]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_input_gives_the_same_bytes_whatever_the_users_style(kind, tmp_path):
    import matplotlib

    KINDS[kind](tmp_path / "new folder" / "a.png", 4)
    with matplotlib.rc_context({"font.size": 25, "axes.facecolor": "red", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        KINDS[kind](tmp_path / "b.png", 4)
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "new folder" / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    image = Image.open(tmp_path / "b.png")
    assert image.width == 1280
    assert not image.info.keys() - {"dpi"}, "neither date nor version"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_few_models_are_drawn_as_well(kind, count, tmp_path):
    if (kind, count) == ("bars", 1):
        drawing.bars(tmp_path / "a.png", {"GRU": interval(-0.1)}, "dB", CAPTION)
    else:
        KINDS[kind](tmp_path / "a.png", count)
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).std() > 1


def test_no_pyplot_state_is_kept(tmp_path):
    KINDS["cdf"](tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_distribution_counts_the_windows_up_to_an_error():
    given = {"a": np.array([0.3, 0.1, 0.2, 0.1]), "b": np.array([5.0, 4.0])}
    (axes,) = drawing.cdf_figure(given, "error, m", CAPTION).axes
    error, share = line_of(axes, "a")
    assert error.tolist() == [0.1, 0.1, 0.2, 0.3]
    assert share.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert line_of(axes, "b")[0].tolist() == [4.0, 5.0]


def test_one_bad_model_does_not_squeeze_the_others():
    given = {**{name: np.linspace(0, 0.1, 100) for name in "abcd"}, "bad": np.linspace(0, 50, 100)}
    (axes,) = drawing.cdf_figure(given, "error, m", CAPTION).axes
    tenth, most, bad = (
        axes.transAxes.inverted().transform(axes.transData.transform((x, 0)))[0] for x in (0.01, 0.09, 25)
    )
    assert most - tenth > 0.15, "four fifths of the windows of the good ones"
    assert 0 < tenth < most < bad < 1, "the bad one is seen as well"


def test_models_of_one_size_stand_on_a_plain_axis_that_few_outliers_do_not_stretch():
    given = {name: np.append(np.linspace(0, 0.1 + 0.01 * k, 100), 50.0) for k, name in enumerate("abcd")}
    (axes,) = drawing.cdf_figure(given, "error, m", CAPTION).axes
    assert axes.get_xscale() == "linear"
    assert 0.095 < axes.get_xlim()[1] < 0.5
    (axes,) = drawing.cdf_figure({"a": given["a"], "b": 2 * given["a"]}, "error, m", CAPTION).axes
    assert axes.get_xlim()[1] > 2 * 0.095, "all are drawn to 95 %"


def test_errors_of_several_sizes_stand_on_a_logarithmic_axis_and_what_is_zero_somewhere_never():
    near, far = interval(np.linspace(0.1, 0.3, 5)), interval(np.linspace(20, 30, 5))
    panels = {
        "m": {"good": near, "bad": far},
        "one size": {"good": near},
        "top-1": {"none": interval(np.zeros(5)), "bad": far},
    }
    scales = [axes.get_yscale() for axes in drawing.against_horizon_figure(panels, CAPTION).axes]
    assert scales == ["log", "linear", "linear"]


def test_shares_stand_on_a_plain_axis_from_zero_however_far_apart():
    panels = {"top-1": {"good": interval(np.full(5, 0.5)), "bad": interval(np.full(5, 0.01))}}
    (axes,) = drawing.against_horizon_figure(panels, CAPTION, shares=True).axes
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] == 0


def test_curves_and_bands_over_the_horizon_are_the_numbers():
    value, low, high = [0.5, 0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1, 0.05], [0.6, 0.5, 0.4, 0.3, 0.3]
    panels = {"top-1": {"a": (value, low, high)}, "top-3": {"a": (high, value, high), "b": (low, low, low)}}
    first, second = drawing.against_horizon_figure(panels, CAPTION).axes
    assert [axes.get_ylabel() for axes in (first, second)] == ["top-1", "top-3"]
    steps, drawn = line_of(first, "a")
    assert (list(steps), list(drawn)) == ([1, 2, 3, 4, 5], value)
    assert list(line_of(second, "b")[1]) == low
    (band,) = bands_of(first)
    assert band == {*zip(range(1, 6), low, strict=True), *zip(range(1, 6), high, strict=True)}


def test_bars_intervals_and_the_papers_values_are_the_numbers():
    given = {"a": (0.5, 0.4, 0.7), "b": (0.2, 0.1, 0.3), "c": (0.9, 0.8, 1.0)}
    (axes,) = drawing.bars_figure(given, "dB", CAPTION, paper={"c": 0.6, "a": 0.1456}).axes
    for place, (model, (value, low, high)) in enumerate(given.items()):
        (bar,) = bars_of(axes, model)
        assert (bar.get_width(), bar.get_y() + bar.get_height() / 2) == pytest.approx((value, place))
        assert any(
            list(line.get_xdata()) == [low, high] and list(line.get_ydata()) == [place] * 2 for line in axes.lines
        )
    x, y = line_of(axes, "paper")
    assert (list(x), list(y)) == ([0.6, 0.1456], [2, 0])
    assert "0.500 [0.400, 0.700]" in {text.get_text() for text in axes.texts}


def test_every_prediction_is_in_the_histogram_once():
    given = shares(3)
    near, far = drawing.mismatch_figure(given, CAPTION).axes
    for model, share in given.items():
        bars = [*bars_of(near, model), *bars_of(far, model)]
        heights = [bar.get_height() for bar in bars]
        assert heights[:16] == share[:16].tolist()
        assert sum(heights) == pytest.approx(1)
        assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars] == list(range(17))
    by_place = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in far.patches)
    assert all(left[1] <= right[0] + 1e-9 for left, right in zip(by_place, by_place[1:])), "none hides another"  # noqa: B905


def test_drives_begin_at_none_and_each_doubling_is_a_step():
    given = {"a": ([0, 1, 2, 4, 8], *interval([9, 4, 3, 2, 1], 0.5)), "b": ([2, 8], *interval([3, 2]))}
    (axes,) = drawing.saved_drives_figure(given, "dB", CAPTION).axes
    drives, value = line_of(axes, "a")
    assert (list(drives), list(value)) == ([0, 1, 2, 4, 8], [9, 4, 3, 2, 1])
    assert list(line_of(axes, "b")[0]) == [2, 8]
    places = axes.transData.transform([(drive, 1) for drive in (0, 1, 2, 4, 8)])[:, 0]
    np.testing.assert_allclose(np.diff(places), np.diff(places)[0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "4", "all (8)"]
    assert axes.get_yscale() == "log"
    flat = {"a": ([0, 1], *interval([1.0, 0.9]))}
    (axes,) = drawing.saved_drives_figure(flat, "dB", CAPTION).axes
    assert (axes.get_yscale(), axes.get_ylim()[0]) == ("linear", 0)


@pytest.mark.parametrize(
    "build",
    [
        lambda: drawing.against_horizon_figure({"top-1": horizons()}, CAPTION),
        lambda: drawing.saved_drives_figure(savings(), "dB", CAPTION),
    ],
)
def test_names_beside_curves_that_end_together_do_not_overlap_and_are_not_cut(build):
    figure = build()
    figure.draw_without_rendering()
    (axes,) = figure.axes
    names = {}
    for text in axes.texts:
        letters = super(type(text), text).get_window_extent()  # without the leader
        names[text.get_text()] = letters
        assert axes.bbox.x1 < letters.x0 < letters.x1 <= figure.bbox.x1
        assert 0 <= letters.y0 < letters.y1 <= figure.bbox.y1
    assert set(names) == set(MODELS)
    assert all(a.y1 <= b.y0 or b.y1 <= a.y0 for a, b in combinations(names.values(), 2))
    by_height = sorted(names, key=lambda model: names[model].y0)
    assert by_height == list(MODELS), "in the order of the curves"


def test_a_model_keeps_its_colour_from_figure_to_figure():
    together = Caption("t", "p", order=MODELS)
    alone = looks_of(["AR", "GRU"], together)
    assert alone == {model: looks_of(MODELS, CAPTION)[model] for model in ("AR", "GRU")}
    many = looks_of([str(k) for k in range(27)], CAPTION)
    assert len({(look.color, str(look.linestyle)) for look in many.values()}) == 27
    with pytest.raises(UserError, match="has no place in the order"):
        looks_of(["another"], together)
    with pytest.raises(UserError, match="28 models cannot be told apart"):
        looks_of([str(k) for k in range(28)], CAPTION)


def test_who_sees_no_red_or_no_green_tells_the_models_by_colour_or_by_dashes():
    """Colours without one kind of cones after Viénot, Brettel and Mollon (1999)."""
    looks = list(looks_of(MODELS, CAPTION).values())
    linear = np.array([[int(look.color[k : k + 2], 16) / 255 for k in (1, 3, 5)] for look in looks]) ** 2.2
    to_cones = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    for missing, others in ((0, [2.02344, -2.52581]), (1, [0.494207, 1.24827])):
        cones = linear @ to_cones.T
        cones[:, missing] = np.delete(cones, missing, 1) @ np.array(others)
        seen = np.clip(cones @ np.linalg.inv(to_cones).T, 0, 1) ** (1 / 2.2)
        for (a, first), (b, second) in combinations(zip(seen, looks, strict=True), 2):
            assert first.linestyle != second.linestyle or np.linalg.norm(a - b) > 0.25
    assert len({look.marker for look in looks}) == len(MODELS)


def test_title_and_protocol_stand_above():
    figure = drawing.cdf_figure(errors(2), "error, m", Caption("A title " * 20, "a protocol " * 30))
    figure.draw_without_rendering()
    title, protocol = (text.get_window_extent() for text in figure.texts)
    assert figure.bbox.y1 > title.y1 > title.y0 >= protocol.y1 > protocol.y0 >= figure.axes[0].bbox.y1
    assert max(title.x1, protocol.x1) <= figure.bbox.x1


NAN = np.full(5, np.nan)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda path: drawing.cdf(path, {"a": NAN}, "m", CAPTION), "figure, a: holds numbers that are not finite"),
        (lambda path: drawing.cdf(path, {"a": []}, "m", CAPTION), "lengths 0"),
        (lambda path: drawing.cdf(path, {}, "m", CAPTION), "there is no model"),
        (lambda path: drawing.against_horizon(path, {"y": {"a": (NAN, NAN, NAN)}}, CAPTION), "figure, y, a: holds"),
        (
            lambda path: drawing.against_horizon(path, {"y": {"a": ([1] * 5, [1] * 4, [1] * 5)}}, CAPTION),
            "lengths 5, 4, 5",
        ),
        (lambda path: drawing.against_horizon(path, {"y": {"a": ([1] * 4,) * 3}}, CAPTION), "4 values; give 5"),
        (lambda path: drawing.against_horizon(path, {"y": horizons(), "z": {}}, CAPTION), "there is no model"),
        (lambda path: drawing.against_horizon(path, {}, CAPTION), "there is no model"),
        (lambda path: drawing.bars(path, {"a": (1, 2, 0)}, "x", CAPTION), "lower end is above"),
        (lambda path: drawing.bars(path, {"a": ([1, 1],) * 3}, "x", CAPTION), "2 values; give 1"),
        (lambda path: drawing.bars(path, {"a": (1, 0, 2)}, "x", CAPTION, {"b": 1.0}), "the paper's b is not among"),
        (lambda path: drawing.mismatch(path, {"a": np.ones(64)}, CAPTION), "64 shares that sum to one"),
        (lambda path: drawing.mismatch(path, {"a": [1.0]}, CAPTION), "64 shares that sum to one"),
        (lambda path: drawing.saved_drives(path, {"a": ([4, 2], *interval([1, 1]))}, "y", CAPTION), "do not rise"),
        (
            lambda path: drawing.saved_drives(path, {"a": ([0], *interval([1]))}, "y", CAPTION),
            "trained on any drive",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line_and_nothing_is_written(draw, said, tmp_path):
    with pytest.raises(UserError, match=said) as refused:
        draw(tmp_path / "a.png")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "a.png").exists()


def test_without_matplotlib_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install 'jepa-msac-twin\[figures\]'"):
        KINDS["cdf"](tmp_path / "a.png")
