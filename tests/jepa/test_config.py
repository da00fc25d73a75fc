"""Configuration: presets, settings, and what a wrong one says."""

import pytest

from jepa.config import PRESETS, InputConfig, PretrainConfig, load_config, preset, save_config
from jepa.pretraining import check_config
from twin.errors import UserError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_survives_the_disk(tmp_path, name):
    config = preset(name, ["mask.ratio=0.25", "learning_rate=1e-3"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.mask.ratio == 0.25
    assert config.learning_rate == 1e-3


def test_the_paper_preset_is_the_paper():
    config = preset("paper")
    assert config == PretrainConfig(inputs=InputConfig(modalities=("camera", "radar", "lidar", "gps", "rf")))
    assert (config.model.camera, config.inputs.image_size) == ("trained", 224)
    assert (config.model.width, config.epochs, config.batch_size, config.learning_rate) == (128, 100, 64, 3e-4)
    assert config.mask.kinds == {"temporal-block": 1.0}
    assert (config.objective.ema_start, config.objective.ema_end) == (0.996, 1.0)
    assert (config.heads.epochs, config.heads.learning_rate, config.heads.readout) == (30, 1e-3, "target")


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
        "model.camera_weights=weights.safetensors",
    ],
)
def test_a_configuration_without_a_model_is_refused(setting):
    with pytest.raises(UserError):
        check_config(preset("small", [setting]))


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


def test_an_unknown_preset_is_named():
    with pytest.raises(UserError, match="unknown preset 'huge'"):
        preset("huge")


@pytest.mark.parametrize("content", ["[", "1", "epochs: none", "colour: red"])
def test_a_damaged_file_is_a_users_error(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError):
        load_config(tmp_path / "config.yaml")
