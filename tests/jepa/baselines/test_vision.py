"""Baselines that look: the paper's sizes, weights from files, a world in which only the picture tells the answer."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from jepa.baselines.ar import rssi_of
from jepa.baselines.m2beamllm import (
    PAPER_PARAMETERS,
    Adaptation,
    LowRank,
    M2BeamLlm,
    adapt,
    language_model,
    load_language,
    parameter_counts,
)
from jepa.baselines.mobilenet import MobileNetV3Small
from jepa.baselines.vision_position import VisionPosition, VisionPositionNetwork
from jepa.data.frames import Dataset, Episode, FrameStore
from jepa.data.samples import Samples
from jepa.data.splits import make_split
from jepa.training.loop import Plan
from twin.errors import UserError

SIDE, PLACES = 32, 8
"""Pixels of a side, and columns at which the light can be."""
WIDTH, BLOCKS, HEADS = 32, 3, 2


def world(episodes, *, blank=False, maps=False, seed=0):
    """Episodes of 13 frames with a light at one column: it alone tells the best beam and the level of the power."""
    rng = np.random.default_rng(seed)
    frames = 13 * episodes
    place = np.repeat(rng.integers(0, PLACES, episodes), 13)
    pictures = rng.integers(0, 60, (frames, SIDE, SIDE, 3), dtype=np.uint8)
    for frame, column in enumerate(place * SIDE // PLACES):
        row = rng.integers(0, SIDE - 4)
        pictures[frame, row : row + 4, column : column + 4] = 255
    beam = place * 64 // PLACES + 3
    power = np.full((frames, 64), 0.1)
    power[np.arange(frames), beam] = 1.0
    power *= 10 ** (place[:, None] / 5) * rng.gamma(500, 1 / 500, power.shape)
    values = {
        "gps": rng.normal(0, 10, (frames, 2)).astype(np.float32),
        "rf": power.astype(np.float32),
        "camera": pictures * (0 if blank else 1),
    }
    if maps:
        values["radar"] = rng.normal(-80, 5, (frames, 64, 256)).astype(np.float16)
        values["lidar"] = rng.uniform(1, 100, (frames, 64, 256)).astype(np.float16)
    return FrameStore(
        values={name: torch.from_numpy(array) for name, array in values.items()},
        valid={name: torch.ones(frames, dtype=torch.bool) for name in values},
        best_beam=torch.from_numpy(beam),
        episodes=tuple(Episode(f"{n:04d}", 0, 13 * n, 13 * n + 13, n, str(n)) for n in range(episodes)),
        datasets=(Dataset("world", "world", "world"),),
    )


def parts(store):
    return {name: Samples.gather(store, windows) for name, windows in make_split(store).parts.items()}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def seen():
    return parts(world(160))


@pytest.fixture(scope="module")
def unseen():
    """The same world with the lens cap on."""
    return parts(world(160, blank=True))


@pytest.fixture(scope="module")
def few():
    return parts(world(20))


def small_vision_position(epochs=20):
    return VisionPosition(Plan(epochs, 1e-2, batch_size=16), width=0.25)


def small_m2beamllm(epochs=8, **options):
    plans = {"encoder_plan": Plan(epochs, 3e-3, batch_size=16), "plan": Plan(epochs, 3e-3, batch_size=16)}
    shape = {"width": WIDTH, "blocks": BLOCKS, "heads": HEADS, "channels": 8, "modalities": ("camera",)}
    return M2BeamLlm(**{**shape, **plans, **options})


def small_with_everything():
    return small_m2beamllm(epochs=1, modalities=("camera", "radar", "lidar", "gps", "rf"))


# sizes


def test_mobilenet_has_the_published_size_and_work():
    network = MobileNetV3Small().eval()
    assert parameters(network) == 927_008
    with FlopCounterMode(display=False) as counter:
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 576)
    products = counter.get_total_flops() / 2 + 576 * 1024 + 1024 * 1000  # and the published classifier
    assert 56e6 < products < 57e6, "Howard et al. print 56 M"


@pytest.mark.parametrize("side", [32, 45, 96])
def test_mobilenet_takes_pictures_of_any_size(side):
    assert MobileNetV3Small(0.25)(torch.zeros(2, 3, side, side)).shape == (2, 144)


def test_vision_position_has_the_papers_size():
    network = VisionPositionNetwork()
    position = (16 * 64 + 64) + (64 * 32 + 32)
    fusion = ((576 + 32) * 128 + 128) + (128 * 5 + 5)
    assert parameters(network) == 927_008 + position + fusion
    assert f"{parameters(network) / 1e6:.2f}" == "1.01"


def test_m2beamllm_has_as_many_blocks_as_bring_it_nearest_to_the_papers_size():
    def total(blocks):
        with torch.device("meta"):
            return parameter_counts(*M2BeamLlm(blocks=blocks).build()).total

    resnet, picture_mlp = 11_176_512, (512 * 256 + 256) + (256 * 128 + 128) + (128 * 64 + 64)
    channels = [1, 16, 32, 64, 128, 256]
    convolutions = sum(9 * before * after + 2 * after for before, after in zip(channels, channels[1:], strict=False))
    map_network = convolutions + (16 * 256 * 256 + 256) + (256 * 64 + 64)
    gps = (2 * 32 + 32 + 64) + (32 * 64 + 64 + 128) + (64 * 64 + 64 + 128)
    fusion = 12 * 64**2 + 13 * 64
    block = 12 * 768**2 + 13 * 768
    decoder = (64 * 768 + 768 + 2 * 768) + 5 * 768 + 13 * 768 + 5 * block + 2 * 768 + (768 * 64 + 64)
    assert total(5) == resnet + picture_mlp + 2 * map_network + gps + fusion + decoder == 49_877_248
    distance = {blocks: abs(total(blocks) - PAPER_PARAMETERS) for blocks in (4, 5, 6)}
    assert min(distance, key=distance.get) == 5
    assert distance[5] < 0.02 * PAPER_PARAMETERS


# low rank


def test_a_low_rank_update_starts_as_the_identity_and_is_a_change_of_the_weight():
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    base = Conv1D(12, 6).double()
    values = torch.randn(5, 6).double()
    before = base(values)
    adapted = LowRank(base, rank=2, alpha=8.0).double()
    assert torch.equal(adapted(values), before)
    torch.nn.init.normal_(adapted.up)
    change = (adapted.down @ adapted.up).detach() * 8.0 / 2
    assert torch.linalg.matrix_rank(change) == 2
    torch.testing.assert_close(adapted(values), values @ (base.weight + change) + base.bias)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A directory with a tiny GPT-2 in the layout of Hugging Face."""
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(3)
    config = GPT2Config(n_embd=WIDTH, n_layer=BLOCKS, n_head=HEADS, n_positions=64, vocab_size=50)
    config.bos_token_id = config.eos_token_id = 0
    model = GPT2Model(config).eval()
    path = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(path)
    return path, model


def test_published_language_weights_speak_as_they_did(published):
    path, original = published
    model = language_model(WIDTH, BLOCKS, HEADS).eval()
    load_language(model, path, HEADS)
    tokens = torch.randn(2, 13, WIDTH)
    with torch.no_grad():
        expected = original(inputs_embeds=tokens).last_hidden_state
        torch.testing.assert_close(model(inputs_embeds=tokens).last_hidden_state, expected)
        adapt(model, Adaptation())
        torch.testing.assert_close(model(inputs_embeds=tokens).last_hidden_state, expected)


def test_the_first_blocks_of_a_longer_language_model_are_taken(published):
    path, original = published
    model = language_model(WIDTH, BLOCKS - 1, HEADS).eval()
    load_language(model, path, HEADS)
    tokens = torch.randn(2, 13, WIDTH)
    with torch.no_grad():
        inside = original(inputs_embeds=tokens, output_hidden_states=True).hidden_states[BLOCKS - 1]
        found = model(inputs_embeds=tokens).last_hidden_state
        torch.testing.assert_close(found, original.ln_f(inside))


def test_only_the_update_and_what_is_unfrozen_moves(published, few):
    path, original = published
    options = {"language_weights": path, "adaptation": Adaptation(adapted=2, unfrozen=1, rank=4)}
    encoders, decoders = [], []
    for epochs in (0, 2):
        baseline = small_m2beamllm(epochs=1, **options)
        baseline.plan = dataclasses.replace(baseline.plan, epochs=epochs)
        baseline.fit(few["train"], few["val"], seed=0)
        encoders.append(baseline.encoder.state_dict())
        decoders.append(dict(baseline.decoder.named_parameters()))
    for name, values in encoders[0].items():
        assert torch.equal(values, encoders[1][name]), f"{name} of the frozen encoder moved"
    moved = {name for name, values in decoders[0].items() if not torch.equal(values, decoders[1][name])}
    language = {name.removeprefix("language.") for name in moved if name.startswith("language.")}
    last, before = BLOCKS - 1, BLOCKS - 2
    unfrozen = {f"h.{last}.{name}" for name, _ in original.h[last].named_parameters() if "c_attn" not in name}
    updates = {f"h.{block}.attn.c_attn.{name}" for block in (before, last) for name in ("down", "up")}
    assert language == unfrozen | updates | {"ln_f.weight", "ln_f.bias"}
    assert {name for name in moved if not name.startswith("language.")} >= {"future", "head.weight"}
    counts = parameter_counts(baseline.encoder, baseline.decoder)
    assert counts.trainable == sum(values.numel() for name, values in decoders[1].items() if name in moved)
    assert counts.frozen == parameters(baseline.encoder) + sum(
        values.numel() for name, values in decoders[1].items() if name not in moved
    )


def test_a_language_model_of_random_weights_trains_whole(few):
    untrained, trained = (
        dict(_fitted_decoder(small_m2beamllm(epochs=1), few, epochs).named_parameters()) for epochs in (0, 2)
    )
    still = {name for name in untrained if torch.equal(untrained[name], trained[name])}
    assert not still


def _fitted_decoder(baseline, samples, epochs):
    baseline.plan = dataclasses.replace(baseline.plan, epochs=epochs)
    baseline.fit(samples["train"], samples["val"].select(torch.empty(0, dtype=torch.long)), seed=0)
    return baseline.decoder


# weights from files


def test_picture_weights_come_from_a_file_with_or_without_its_classifier(tmp_path, few, capsys):
    torch.manual_seed(5)
    network = MobileNetV3Small(0.25)
    path = tmp_path / "mobilenet.safetensors"
    save_file({**network.state_dict(), "classifier.0.weight": torch.zeros(4, 4)}, path)
    loaded = MobileNetV3Small(0.25)
    loaded.load(path)
    picture = torch.randn(2, 3, SIDE, SIDE)
    assert torch.equal(loaded.eval()(picture), network.eval()(picture))
    baseline = VisionPosition(Plan(1, 1e-3), width=0.25, picture_weights=path)
    baseline.fit(few["train"], few["val"], seed=0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("make", [small_vision_position, small_m2beamllm])
def test_random_weights_are_said_in_one_line(make, few, capsys):
    make(epochs=1).fit(few["train"], few["val"], seed=0)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "random weights" in told
    assert "--picture-weights" in told


def test_m2beamllm_says_its_size_beside_the_papers(few, capsys):
    baseline = small_m2beamllm(epochs=1)
    baseline.fit(few["train"], few["val"], seed=0)
    counts = parameter_counts(baseline.encoder, baseline.decoder)
    assert f"{counts.total / 1e6:.2f} M parameters beside the paper's 50.58 M" in capsys.readouterr().err


def test_weights_that_are_not_there_or_of_another_network_are_refused(tmp_path, published):
    path, _ = published
    with pytest.raises(UserError, match="holds no weights"):
        MobileNetV3Small().load(tmp_path / "nothing.safetensors")
    save_file(MobileNetV3Small(0.5).state_dict(), tmp_path / "half.safetensors")
    with pytest.raises(UserError, match="of another network"):
        MobileNetV3Small().load(tmp_path / "half.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not at all")
    with pytest.raises(UserError, match="cannot be read"):
        MobileNetV3Small().load(tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match="holds no GPT-2"):
        load_language(language_model(WIDTH, BLOCKS, HEADS), tmp_path, HEADS)
    with pytest.raises(UserError, match="heads"):
        load_language(language_model(WIDTH, BLOCKS, 4), path, 4)
    with pytest.raises(UserError, match="of another network"):
        load_language(language_model(16, BLOCKS, HEADS), path, HEADS)
    with pytest.raises(UserError, match="of another network"):
        load_language(language_model(WIDTH, BLOCKS + 1, HEADS), path, HEADS)


# what is learnt


def missed_db(samples):
    """Root mean square error of the RSSI of a fitted baseline on the test part."""
    baseline = small_vision_position()
    baseline.fit(samples["train"], samples["val"], seed=0)
    found = torch.from_numpy(baseline.predict(samples["test"].history).spectrum_db)
    return float((rssi_of(10 ** (found / 10)) - rssi_of(samples["test"].power)).square().mean().sqrt())


def test_a_level_that_only_the_picture_tells_is_learnt_from_it(seen, unseen):
    assert missed_db(seen) < 0.5 * missed_db(unseen)


def hits(samples):
    """Share of the future beams of the test part that a fitted baseline names."""
    baseline = small_m2beamllm()
    baseline.fit(samples["train"], samples["val"], seed=0)
    found = baseline.predict(samples["test"].history).beam_logits.argmax(-1)
    return float((torch.from_numpy(found) == samples["test"].best_beam).float().mean())


def test_a_beam_that_only_the_picture_tells_is_learnt_from_it(seen, unseen):
    control = hits(unseen)
    assert control < 0.4
    assert hits(seen) > control + 0.4


@pytest.mark.parametrize("make", [small_vision_position, small_with_everything])
def test_no_bit_of_a_prediction_depends_on_the_future(make):
    store = world(10, maps=True)
    baseline = make() if make is small_with_everything else make(epochs=1)
    fitted = parts(store)
    baseline.fit(fitted["train"], fitted["val"], seed=0)
    windows = make_split(store).parts["test"]
    for row in range(len(windows)):
        one = windows.select(torch.tensor([row]))
        later = torch.arange(store.frames) > one.history[0, -1]
        changed = {
            name: torch.where(later.reshape(-1, *[1] * (values.ndim - 1)), torch.ones_like(values) * 7, values)
            for name, values in store.values.items()
        }
        other = dataclasses.replace(store, values=changed, best_beam=torch.where(later, 63, store.best_beam))
        before = baseline.predict(Samples.gather(store, one).history)
        after = baseline.predict(Samples.gather(other, one).history)
        for key in ("trajectory_m", "beam_logits", "spectrum_db"):
            np.testing.assert_array_equal(getattr(before, key), getattr(after, key))


@pytest.mark.parametrize("make", [small_vision_position, small_m2beamllm])
def test_the_same_seed_gives_the_same_model(make, few):
    outputs = []
    for _ in range(2):
        baseline = make(epochs=1)
        baseline.fit(few["train"], few["val"], seed=5)
        output = baseline.predict(few["test"].history)
        outputs.append(np.nan_to_num(np.concatenate([output.beam_logits, output.spectrum_db])))
    np.testing.assert_array_equal(*outputs)


def test_each_task_is_given_or_not_at_all(few):
    baseline = small_m2beamllm(epochs=1)
    baseline.fit(few["train"], few["val"], seed=0)
    output = baseline.predict(few["test"].history)
    assert np.isfinite(output.beam_logits).all()
    assert np.isnan(output.spectrum_db).all()
    assert np.isnan(output.trajectory_m).all()
    baseline = small_vision_position(epochs=1)
    baseline.fit(few["train"], few["val"], seed=0)
    output = baseline.predict(few["test"].history)
    assert np.isnan(output.beam_logits).all()
    assert np.isfinite(output.spectrum_db).all()
    assert (output.spectrum_db == output.spectrum_db[..., :1]).all(), "the spectrum is flat"


@pytest.mark.parametrize("make", [small_vision_position, small_with_everything])
def test_no_window_and_no_validation_are_taken_as_they_are(make):
    samples = parts(world(10, maps=True))
    none = torch.empty(0, dtype=torch.long)
    baseline = make()
    baseline.plan = dataclasses.replace(baseline.plan, epochs=1)
    baseline.fit(samples["train"], samples["val"].select(none), seed=0)
    assert len(baseline.predict(samples["test"].history.select(none)).beam_logits) == 0


# what is refused


@pytest.mark.parametrize(
    ("make", "absent"), [(small_vision_position, "no camera"), (small_with_everything, "no camera and no radar")]
)
def test_a_modality_that_is_absent_is_named(make, absent):
    blind = world(20)
    blind = dataclasses.replace(
        blind, **{field: {name: getattr(blind, field)[name] for name in ("gps", "rf")} for field in ("values", "valid")}
    )
    samples = parts(blind)
    with pytest.raises(UserError, match=absent) as refusal:
        make().fit(samples["train"], samples["val"], seed=0)
    assert "\n" not in str(refusal.value)
    assert refusal.value.remedy


@pytest.mark.parametrize("modalities", [("camera", "sonar"), ()])
def test_an_encoder_reads_known_modalities(modalities):
    with pytest.raises(UserError, match="modality"):
        M2BeamLlm(modalities=modalities)


def test_what_lost_a_picture_is_predicted_but_not_trained_on():
    store = world(20)
    split = make_split(store)
    received = store.valid["camera"].clone()
    received[[5, 13 * 19 + 5]] = False
    samples = VisionPosition().samples(dataclasses.replace(store, valid={**store.valid, "camera": received}), split)
    assert len(samples["train"]) == len(split.parts["train"]) - 1
    assert len(samples["test"]) == len(split.parts["test"])
