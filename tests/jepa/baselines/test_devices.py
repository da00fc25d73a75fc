"""Baselines with networks train and predict on their device, wherever the recordings lie.

Another device is played by `meta`: what is moved to it is held on the CPU, and an operation on tensors of both is
refused, as CUDA refuses it.
"""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from jepa.baselines import BASELINES, RADIO_BASELINES
from jepa.baselines.extrapolation import HoldLast
from jepa.baselines.gru_cascade import GruCascade
from jepa.baselines.m2beamllm import M2BeamLlm
from jepa.baselines.transformer import Transformer
from jepa.baselines.vision_position import VisionPosition
from jepa.data.frames import TARGETS, Dataset, Episode, FrameStore
from jepa.data.samples import Samples
from jepa.data.splits import make_split
from jepa.experiments.on_twin.study import Place, Study
from jepa.training.loop import Plan

HERE, AWAY = torch.device("cpu"), torch.device("meta")
EPISODES, SIDE = 24, 32
FRAME = {torch.uint8: SIDE * SIDE * 3, torch.float16: 64 * 256}
"""Numbers of a picture, and of a map."""
AT_ONCE = 64
"""Pictures or maps that a GPU is given at once."""
TASKS = ("trajectory_m", "beam_logits", "spectrum_db")
PLAN = Plan(1, 1e-3, batch_size=4)
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Held(Tensor):
    """A tensor of the other device."""

    @staticmethod
    def __new__(cls, held):
        shape = held.size(), held.stride(), held.storage_offset()
        return Tensor._make_wrapper_subclass(cls, *shape, dtype=held.dtype, device=AWAY)

    def __init__(self, held):
        self.held = held

    def new_tensor(self, values):
        return torch.tensor(values, dtype=self.dtype).to(AWAY)

    def tolist(self):
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return computed(operation, args, kwargs or {})


def computed(operation, args, kwargs):
    """An operation on tensors of one device. Numbers may come from the CPU, and so may indices."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    away = {id(value.held): value for value in tensors if isinstance(value, Held)}
    here = [value for value in tensors if not isinstance(value, Held) and value.ndim]
    looks_up = operation == torch.ops.aten.index.Tensor and isinstance(args[0], Held)
    if away and here and operation not in MOVES and not looks_up:
        raise RuntimeError(f"{operation} was given tensors on two devices")
    device = kwargs.get("device")
    stays_away = bool(away) if device is None else device == AWAY
    bare_args, bare_kwargs = tree_map_only(Held, lambda value: value.held, (args, kwargs))
    found = operation(*bare_args, **{**bare_kwargs, **({} if device is None else {"device": HERE})})
    if torch.Tag.inplace_view in operation.tags:
        with no_dispatch():
            operation(*args, **kwargs)
    if not stays_away:
        return found
    return tree_map_only(Tensor, lambda value: away[id(value)] if id(value) in away else Held(value), found)


class OtherDevice(TorchDispatchMode):
    """Inside, `meta` is a device that computes. `most_frames` of pictures or maps were moved to it at once."""

    most_frames = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = computed(operation, args, kwargs or {})
        if operation == MOVES[0] and isinstance(found, Held) and not isinstance(args[0], Held):
            frames = args[0].numel() // FRAME[args[0].dtype] if args[0].dtype in FRAME else 0
            self.most_frames = max(self.most_frames, frames)
        return found


@pytest.fixture(scope="module")
def store():
    """Episodes of 13 frames with all modalities."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    frames = 13 * EPISODES
    power = rng.gamma(2, 1, (frames, 64)).astype(np.float32)
    values = {
        "gps": rng.normal(0, 10, (frames, 2)).astype(np.float32),
        "rf": power,
        "camera": rng.integers(0, 256, (frames, SIDE, SIDE, 3), dtype=np.uint8),
        "radar": rng.normal(-80, 5, (frames, 64, 256)).astype(np.float16),
        "lidar": rng.uniform(1, 100, (frames, 64, 256)).astype(np.float16),
    }
    return FrameStore(
        values={name: torch.from_numpy(array) for name, array in values.items()},
        valid={name: torch.ones(frames, dtype=torch.bool) for name in values},
        best_beam=torch.from_numpy(power.argmax(1)),
        episodes=tuple(Episode(f"{n:04d}", 0, 13 * n, 13 * n + 13, n, str(n)) for n in range(EPISODES)),
        datasets=(Dataset("world", "world", "world"),),
    )


SMALL = {
    "ar": BASELINES["ar"],
    "gru": BASELINES["gru"],
    "gru_power_position": BASELINES["gru_power_position"],
    "gru_cascade": lambda: GruCascade(plan=PLAN),
    "transformer": lambda: Transformer(PLAN),
    "vision_position": lambda: VisionPosition(PLAN, width=0.25),
    "m2beamllm": lambda: M2BeamLlm(
        32, 2, 2, 8, ("camera", "radar", "lidar", "gps", "rf"), encoder_plan=PLAN, plan=PLAN
    ),
}
"""Every baseline with a network, small."""


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    for name in ("ar", "gru", "gru_power_position"):
        monkeypatch.setattr(f"jepa.baselines.{name}.PLAN", PLAN)


def predicted(name, store, device):
    """What a baseline that was fitted on a device says of the test part, and its networks."""
    parts = {part: Samples.gather(store, windows) for part, windows in make_split(store).parts.items()}
    baseline = SMALL[name]()
    baseline.device = device
    baseline.fit(parts["train"], parts["val"], seed=0)
    output = baseline.predict(parts["test"].history)
    return output, [value for value in vars(baseline).values() if isinstance(value, nn.Module)]


def placed(store, device):
    """Pictures and maps on a device; powers and positions stay on the CPU, as `FrameStore.load` has it."""
    values = {name: frames if name in TARGETS else frames.to(device) for name, frames in store.values.items()}
    return dataclasses.replace(store, values=values)


def differences(found, expected):
    return [np.abs(getattr(found, task) - getattr(expected, task)) for task in TASKS]


@pytest.mark.parametrize(
    ("name", "pictures"), [*((name, HERE) for name in SMALL), ("vision_position", AWAY), ("m2beamllm", AWAY)]
)
def test_everything_that_a_network_reads_is_moved_to_its_device(name, pictures, store, monkeypatch):
    adamw = torch.optim.AdamW  # fused, it refuses `meta`
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, lr, fused: adamw(groups, lr))
    expected, _ = predicted(name, store, HERE)
    with OtherDevice() as device:
        frames = placed(store, pictures)
        device.most_frames = 0
        found, networks = predicted(name, frames, AWAY)
    assert networks
    assert {parameter.device for network in networks for parameter in network.parameters()} == {AWAY}
    for difference in differences(found, expected):
        assert np.isnan(difference).all() or difference.max() < 1e-4
    moves_pictures = name not in RADIO_BASELINES and pictures == HERE
    assert 0 < device.most_frames <= AT_ONCE if moves_pictures else device.most_frames == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch knows")
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("pictures", ["cpu", "cuda"])
def test_a_gpu_trains_networks_wherever_pictures_lie(name, pictures, store):
    expected, _ = predicted(name, store, HERE)
    found, networks = predicted(name, placed(store, pictures), torch.device("cuda"))
    assert {parameter.device.type for network in networks for parameter in network.parameters()} == {"cuda"}
    for task in TASKS:
        np.testing.assert_array_equal(np.isnan(getattr(found, task)), np.isnan(getattr(expected, task)))


def test_every_baseline_that_trains_a_network_is_here():
    without = {"hold_last", "constant_velocity", "least_squares_velocity", "kalman", "position_knn"}
    assert SMALL.keys() == BASELINES.keys() - without


def test_a_study_fits_baselines_on_its_device(dataset, tmp_path, monkeypatch):
    fitted_on = []

    class Watched(HoldLast):
        def fit(self, train, val, seed):
            fitted_on.append(self.device)

    monkeypatch.setitem(BASELINES, "watched", Watched)
    study = Study(tmp_path, [dataset], "quick")
    study.device = AWAY
    study.baseline(Place(), "watched")
    assert fitted_on == [AWAY]
