"""The camera's tokenizer: the paper's counts, weights that a user has, features kept of a frozen network."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jepa.backbone import features
from jepa.backbone.features import with_camera_features
from jepa.backbone.model import JepaModel, parameter_count
from jepa.config import ModelConfig, preset
from jepa.data.frames import FrameStore
from jepa.tokens.camera import CameraTokenizer, EfficientNet, calibrate_batch_norm, say_if_random
from jepa.tokens.tokenizers import MODALITY_NAMES, TOKENIZERS, Layout
from twin.errors import UserError
from twin.recording import Recording
from twin.sensors.images import encode_jpeg

FROZEN = ModelConfig(width=16, attention_heads=2, encoder_layers=1, predictor_layers=1, camera="frozen")
SIDE = 64


@pytest.fixture(scope="module")
def tokenizer():
    torch.manual_seed(0)
    return CameraTokenizer(FROZEN)


def _pictures(count, seed=0, side=SIDE):
    return torch.randint(
        0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )


@pytest.mark.parametrize(
    ("name", "parameters", "tokens"),
    [("camera", 4_171_516, 9), ("radar", 9_344, 16), ("lidar", 9_344, 16), ("gps", 640, 1), ("rf", 8_576, 1)],
)
def test_tokenizers_have_the_papers_parameters_and_tokens(name, parameters, tokens):
    built = TOKENIZERS[name].build(ModelConfig(width=128))
    assert parameter_count(built) == parameters
    assert TOKENIZERS[name].tokens == tokens
    frame = torch.zeros(2, *TOKENIZERS[name].shape)
    assert built(frame.to(torch.uint8) if name == "camera" else frame).shape == (2, tokens, 128)


def test_a_window_of_all_modalities_has_559_tokens():
    assert Layout.of(MODALITY_NAMES).tokens == 559
    assert parameter_count(EfficientNet()) == 4_007_548


def test_each_of_the_nine_tokens_looks_at_its_part_of_the_picture(tokenizer):
    """A bright patch in one corner changes the token of that corner more than that of the opposite one."""
    plain = torch.full((1, 224, 224, 3), 90, dtype=torch.uint8)
    tokenizer.eval()
    for rows, columns, near, far in ((0, 0, 0, 8), (160, 160, 8, 0), (0, 160, 2, 6)):
        patched = plain.clone()
        patched[:, rows : rows + 64, columns : columns + 64] = 255
        moved = (tokenizer.pooled(patched) - tokenizer.pooled(plain)).norm(dim=-1)[0]
        assert moved[near] > 1.2 * moved[far]


def test_random_weights_give_features_of_order_one_that_tell_pictures_apart(tokenizer):
    pooled = tokenizer.eval().pooled(_pictures(4))
    assert 0.01 < pooled.std() < 100
    uncalibrated = EfficientNet().eval()
    faded = uncalibrated(torch.randn(4, 3, SIDE, SIDE)).std(0).mean()
    calibrate_batch_norm(uncalibrated)
    assert uncalibrated(torch.randn(4, 3, SIDE, SIDE)).std(0).mean() > 100 * faded


def test_a_frozen_network_is_the_same_in_every_run_and_stays_it(tokenizer):
    torch.manual_seed(77)
    other = CameraTokenizer(FROZEN)
    assert all(map(torch.equal, other.features.state_dict().values(), tokenizer.features.state_dict().values()))
    assert not torch.equal(other.project.weight, tokenizer.project.weight)
    before = {name: values.clone() for name, values in other.features.state_dict().items()}
    other.train()(_pictures(2)).sum().backward()
    assert all(torch.equal(values, before[name]) for name, values in other.features.state_dict().items())
    assert all(parameter.grad is None for parameter in other.features.parameters())


def test_features_in_place_of_pictures_give_the_same_tokens(tokenizer):
    pictures = _pictures(3)
    tokenizer.eval()
    torch.testing.assert_close(tokenizer(tokenizer.pooled(pictures)), tokenizer(pictures))


def test_weights_that_the_user_has_are_loaded(tokenizer, tmp_path, capsys):
    state = {f"efficientnet.{name}": values for name, values in EfficientNet().network.state_dict().items()}
    save_file({**state, "classifier.weight": torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    config = FROZEN.model_copy(update={"camera_weights": str(tmp_path)})
    loaded = CameraTokenizer(config).features.network.state_dict()
    assert all(torch.equal(values, state[f"efficientnet.{name}"]) for name, values in loaded.items())
    say_if_random(config)
    assert capsys.readouterr().err == ""
    say_if_random(FROZEN)
    assert "stays random" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_weights_that_cannot_be_loaded_are_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "weights.safetensors"
    if damage == "cut":
        path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    if damage == "other":
        save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(UserError) as refused:
        CameraTokenizer(FROZEN.model_copy(update={"camera_weights": str(path)}))
    assert "\n" not in str(refused.value)


@pytest.fixture
def filmed(drive, tmp_path):
    """Two drives with a camera."""
    for number in range(2):
        plain = drive(number, 14)
        pictures = [encode_jpeg(np.full((224, 224, 3), 9 * frame + number, np.uint8)) for frame in range(14)]
        longest = max(map(len, pictures))
        rows = np.stack([np.frombuffer(jpeg.ljust(longest, b"\0"), np.uint8) for jpeg in pictures])
        sensors = {"camera": rows, "valid_camera": np.ones(14, bool)}
        Recording(plain.name, plain.manifest, {**plain.arrays, **sensors}).save(tmp_path / "data")
    return tmp_path / "data"


def test_features_are_computed_once_and_kept(filmed, tmp_path, monkeypatch):
    config = preset("small", ["inputs.modalities=[camera, rf]", "model.camera=frozen", f"inputs.image_size={SIDE}"])
    store = FrameStore.load([filmed], modalities=config.inputs.modalities, image_size=SIDE)
    assert store.values["camera"].shape == (28, SIDE, SIDE, 3)
    found = with_camera_features(store, config, tmp_path / "kept").values["camera"]
    assert found.shape == (28, 9, 1280)
    assert found.dtype == torch.float16
    expected = CameraTokenizer(config.model).eval().pooled(store.values["camera"][:3])
    torch.testing.assert_close(found[:3].float(), expected, atol=2e-3, rtol=2e-3)
    monkeypatch.setattr(features, "pooled_features", None)
    assert torch.equal(with_camera_features(store, config, tmp_path / "kept").values["camera"], found)


def test_where_nothing_may_be_written_features_are_computed_and_a_line_says_so(filmed, tmp_path, capsys):
    config = preset("small", ["inputs.modalities=[camera, rf]", "model.camera=frozen", f"inputs.image_size={SIDE}"])
    store = FrameStore.load([filmed], modalities=config.inputs.modalities, image_size=SIDE)
    (tmp_path / "file").touch()
    found = with_camera_features(store, config, tmp_path / "file" / "features").values["camera"]
    assert torch.equal(found, with_camera_features(store, config).values["camera"])
    assert "camera features are not kept (Not a directory)" in capsys.readouterr().err


def test_a_trained_network_reads_pictures(filmed):
    config = preset("small", ["inputs.modalities=[camera, rf]"])
    store = FrameStore.load([filmed], modalities=config.inputs.modalities, image_size=SIDE)
    assert with_camera_features(store, config) is store


def test_a_frozen_camera_reaches_the_latents_from_pictures_and_features_alike(filmed):
    torch.manual_seed(0)
    config = preset("small", ["inputs.modalities=[camera, rf]", "model.camera=frozen", f"inputs.image_size={SIDE}"])
    store = FrameStore.load([filmed], modalities=config.inputs.modalities, image_size=SIDE)
    model = JepaModel(("camera", "rf"), FROZEN)
    rf = torch.randn(2, 8, 64)
    pictures = store.values["camera"][:16].unflatten(0, (2, 8))
    kept = with_camera_features(store, config).values["camera"][:16].unflatten(0, (2, 8))
    one, other = (model.future_latents({"camera": seen, "rf": rf}).predicted["rf"] for seen in (pictures, kept))
    torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-2)


def test_features_are_those_of_the_stored_network_wherever_its_weights_once_came_from(filmed, tmp_path):
    """The file that they were loaded from is gone."""
    options = ["inputs.modalities=[camera, rf]", "model.camera=frozen", f"inputs.image_size={SIDE}"]
    store = FrameStore.load([filmed], modalities=("camera", "rf"), image_size=SIDE)
    model = JepaModel(("camera", "rf"), FROZEN).eval()
    network = model.context.embedding.tokenizers["camera"]
    for weights in network.features.parameters():
        weights.mul_(0.8)
    gone = preset("small", [*options, f"model.camera_weights={tmp_path / 'gone.safetensors'}"])
    found = with_camera_features(store, gone, model=model).values["camera"][:3].float()
    torch.testing.assert_close(found, network.pooled(store.values["camera"][:3]), atol=2e-3, rtol=2e-3)
    as_drawn = with_camera_features(store, preset("small", options)).values["camera"][:3].float()
    assert (found - as_drawn).abs().mean() > 0.1
