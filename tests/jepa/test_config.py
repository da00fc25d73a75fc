"""Configuration: presets, settings, and what a wrong one says."""

import pytest

from jepa.backbone.model import JepaModel, parameter_count
from jepa.config import PRESETS, load_config, preset, save_config, settings_of
from jepa.config_checks import check_config, check_unread
from jepa.data.windows import T_OBS, T_PRED, T_WINDOW
from jepa.heads.network import Heads
from jepa.paradigms.objectives import ema_momentum
from jepa.paradigms.pretraining import plan_of
from jepa.tokens.tokenizers import Layout
from jepa.training.loop import learning_rate
from twin.errors import UserError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_survives_the_disk(tmp_path, name):
    config = preset(name, ["mask.ratio=0.25", "learning_rate=1e-3"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.mask.ratio == 0.25
    assert config.learning_rate == 1e-3


FIVE = ("camera", "radar", "lidar", "gps", "rf")
PAPER = {
    "preset": "paper",
    "paradigm": "jepa",
    "epochs": 100,
    "batch_size": 64,
    "learning_rate": 3e-4,
    "weight_decay": 0.05,
    "warmup_share": 0.05,
    "clip": 1.0,
    "seed": 0,
    "first_share": None,
    "group": 8,  # the order of the windows alone
    "inputs": {
        "modalities": FIVE,
        "normalise": "together",
        "frame": "east-north",
        "power": "dataset",
        "position": "dataset",
        "image_size": 224,
    },
    "model": {
        "width": 128,
        "encoder_layers": 4,
        "predictor_layers": 4,
        "attention_heads": 8,
        "feed_forward_ratio": 4,
        "fusion_tokens": 0,
        "tokenizers": "trained",
        "camera": "trained",
        "camera_weights": None,
        "batch_norm": "trained",
    },
    "mask": {"kinds": {"temporal-block": 1.0}, "ratio": 0.5, "modality_dropout": 0.0},
    "augment": {"mirror": 0.0, "reverse": 0.0, "slowest": 1.0},
    "objective": {
        "target": "ema",
        "normalise_targets": True,
        "target_layers": 1,
        "target_levels": (),
        "error": "smooth-l1",
        "smooth_l1_beta": 1.0,
        "ema_start": 0.996,
        "ema_end": 1.0,
        "variance_weight": 0.0,
        "covariance_weight": 0.0,
        "sigreg_weight": 0.0,
        "input_noise": {},
    },
    "heads": {
        "epochs": 30,
        "steps": None,
        "learning_rate": 1e-3,
        "backbone_learning_rate": None,
        "weight_decay": 1e-4,
        "batch_size": 64,
        "select_on_validation": False,
        "backbone": "pretrained",
        "missing": (),
        "cascade": True,
        "readout": "target",
        "width": 512,
        "skip": 0,
        "gated": False,
        "latent_dropout": 0.0,
        "relative_power": False,
        "input_noise": {},
        "position_offset": 0.0,
        "velocity_frames": 2,
        "coarse_trajectory": "line",
        "linear": False,
        "spectrum_in_logits": False,
        "kept_share": 0.0,
        "coarse_beam": "none",
        "coarse_spectrum": "last",
        "soft_label_db": None,
    },
}
"""What the paper says or its tables imply, and the choices of SPEC where it is silent; what only others use is off."""
UNUSED_BY_THE_PAPER = {
    "objective.variance_on",
    "objective.sigreg_directions",
    "objective.sigreg_on",
    "heads.map_neighbours",
}
"""Of terms that are off."""


def dotted(values, prefix=""):
    """The values of a configuration by their dotted keys; kinds of masks and noise are values."""
    found = {}
    for name, value in values.items():
        section = isinstance(value, dict) and name not in ("kinds", "input_noise")
        found |= dotted(value, f"{prefix}{name}.") if section else {prefix + name: value}
    return found


def test_the_paper_preset_is_the_paper():
    found = dotted(preset("paper").model_dump())
    assert {key: value for key, value in found.items() if key not in UNUSED_BY_THE_PAPER} == dotted(PAPER)
    assert found.keys() >= UNUSED_BY_THE_PAPER


def test_the_paper_preset_watches_eight_frames_and_foretells_five():
    assert (T_OBS, T_PRED, T_WINDOW) == (8, 5, 13)
    layout = Layout.of(preset("paper").inputs.modalities)
    assert layout.modalities == FIVE
    assert layout.tokens == 559


def test_the_paper_preset_is_trained_as_the_paper_is():
    """A hundred epochs at 3e-4, up over a twentieth of the steps, then down half a cosine; the EMA from 0.996 to 1."""
    config = preset("paper")
    plan = plan_of(config)
    assert (plan.epochs, plan.batch_size, plan.weight_decay, plan.clip) == (100, 64, 0.05, 1.0)
    assert (plan.steps, dict(plan.rates)) == (None, {})
    rates = [learning_rate(plan, step, 2000) for step in (0, 99, 100, 1050, 1999)]
    assert rates == pytest.approx([3e-6, 3e-4, 3e-4, 1.5e-4, 0], abs=1e-9)
    momenta = [ema_momentum(config.objective, step, 2001) for step in (0, 1000, 2000)]
    assert momenta == pytest.approx([0.996, 0.998, 1.0], abs=1e-12)


def test_backbone_and_heads_of_the_paper_preset_are_of_the_papers_size():
    config = preset("paper")
    model = JepaModel(("gps", "rf"), config.model)  # encoder and predictor do not depend on the tokenizers
    assert (len(model.context.encoder.layers), len(model.predictor.layers)) == (4, 4)
    assert parameter_count(model.context.encoder) + parameter_count(model.predictor) == 1_586_176
    heads = Heads(Layout.of(FIVE), config.model.width, config.heads)
    counts = [parameter_count(head) for head in (heads.localization, heads.beam, heads.rssi)]
    assert counts == [495_748, 1_792_320, 1_892_224]
    assert parameter_count(heads) == sum(counts)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("colour=red", "unknown key 'colour'"),
        ("mask.colour=red", "unknown key 'mask.colour'"),
        ("mask=1", "unknown key 'mask'"),
        ("preset=best", "unknown key 'preset'"),
        ("epochs", "no key=value"),
        ("epochs=many", "epochs is 'many'"),
        ("mask.ratio=1.5", "mask.ratio is 1.5"),
        ("heads.readout=loud", "heads.readout is 'loud'"),
        ("epochs=[", "no YAML"),
    ],
)
def test_a_wrong_setting_is_named(setting, message):
    with pytest.raises(UserError, match="--set") as caught:
        preset("small", [setting])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        "mask.kinds={stripes: 1}",
        "mask.kinds={random: -1}",
        "mask.kinds={}",
        "mask.ratio=0.01",
        "model.width=100",
        "inputs.modalities=[sonar]",
        "inputs.modalities=[]",
        "objective.input_noise={sonar: 1}",
        "objective.sigreg_on=both",
        "model.camera_weights=weights.safetensors",
    ],
)
def test_a_configuration_without_a_model_is_refused(setting):
    with pytest.raises(UserError):
        check_config(preset("small", [setting]))


@pytest.mark.parametrize(
    ("recipe", "settings", "key"),
    [
        ("best", ["objective.target_layers=2"], "objective.target_layers"),
        ("best", ["objective.normalise_targets=false"], "objective.normalise_targets"),
        ("best", ["objective.smooth_l1_beta=0.5"], "objective.smooth_l1_beta"),
        ("paper", ["objective.target=online", "objective.ema_end=0.9"], "objective.ema_end"),
        ("paper", ["objective.variance_on=predicted"], "objective.variance_on"),
        ("paper", ["objective.sigreg_directions=8"], "objective.sigreg_directions"),
        ("paper", ["objective.target=online", "objective.sigreg_on=both"], "objective.sigreg_on"),
        ("paper", ["mask.kinds={checkerboard: 1, joint-future: 1}", "mask.ratio=0.25"], "mask.ratio"),
        ("best", ["heads.velocity_frames=3"], "heads.velocity_frames"),
        ("best", ["heads.map_neighbours=3"], "heads.map_neighbours"),
    ],
)
def test_a_setting_that_nothing_reads_beside_the_others_is_refused(recipe, settings, key):
    """Whoever sweeps it would compare a run with itself."""
    for name in PRESETS:
        check_unread(preset(name))
    with pytest.raises(UserError, match=f"^{key}: is not read"):
        check_unread(preset(recipe, settings))
    check_unread(preset(recipe, settings), preset(recipe, settings))


@pytest.mark.parametrize(
    ("key", "noisy", "silent"),
    [
        ("objective.input_noise", ("gps", "rf", "radar"), ("camera", "lidar")),
        ("heads.input_noise", ("gps", "rf"), ("camera", "radar", "lidar")),
    ],
)
def test_noise_goes_on_standardised_values_that_are_read(key, noisy, silent):
    for name in noisy:
        check_config(preset("paper", [f"{key}={{{name}: 0.1}}"]))
    for name in silent:
        with pytest.raises(UserError, match=f"^{key}: adds nothing to {name}; choose from .*gps, rf$"):
            check_config(preset("paper", [f"{key}={{rf: 0.1, {name}: 0.1}}"]))


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_listed_of_a_preset_makes_it_again(name):
    listed = list(settings_of(preset(name)))
    again = preset("small", [f"{key}={value}" for key, value, _ in listed])
    assert again.model_copy(update={"preset": name}) == preset(name)
    assert len({key for key, *_ in listed}) == len(listed) > 60
    told = {key: meaning for key, _, meaning in listed}
    assert "hidden throughout a batch" in told["mask.modality_dropout"]
    assert told["objective.error"] == "smooth-l1, squared"


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="unknown preset 'huge'"):
        preset("huge")


@pytest.mark.parametrize("content", ["[", "1", "epochs: none", "colour: red"])
def test_a_damaged_file_is_a_users_error(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError):
        load_config(tmp_path / "config.yaml")
