"""The loop: the same seed gives the same weights, an interrupted run ends where an uninterrupted one does."""

import json

import pytest
import torch
from torch import nn

from jepa.training.checkpoint import latest_step, load_checkpoint
from jepa.training.loop import Plan, _optimiser, fit, learning_rate
from twin.errors import UserError

INPUTS = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
PLAN = Plan(epochs=6, learning_rate=0.01, weight_decay=0.1, batch_size=16, warmup_share=0.1, seed=3)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1))


def train(net, run=None, resume=False, stop_after=None, plan=PLAN):
    def loss(rows, generator, step):
        if stop_after is not None and step >= stop_after:
            raise KeyboardInterrupt
        noise = torch.randn(len(rows), 4, generator=generator)
        return (net(INPUTS[rows] + 0.1 * noise) - INPUTS[rows].sum(1, keepdim=True)).square().mean(), {"part": 1.0}

    def validate():
        return (net(INPUTS) - INPUTS.sum(1, keepdim=True)).square().mean().item()

    fit(net, loss, len(INPUTS), plan, validate=validate, run=run, resume=resume)
    return net.state_dict()


@pytest.mark.parametrize("stop_after", [4, 9, 15, 23])
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path, stop_after):
    whole = train(model(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(model(), tmp_path / "cut", stop_after=stop_after)
    resumed = train(model(), tmp_path / "cut", resume=True)
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name])
    logs = [(tmp_path / run / "metrics.jsonl").read_bytes() for run in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_a_torn_last_line_of_the_log_is_cut(tmp_path):
    train(model(), tmp_path)
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole + b'{"step": 30, "lo')
    train(model(), tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


@pytest.mark.parametrize("line", [b"[1]\n", b"\xff\xfe\n", b"{}\n"])
def test_a_log_that_somebody_wrote_into_is_cut_there(tmp_path, line):
    train(model(), tmp_path)
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole + line)
    train(model(), tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == whole


def test_the_log_holds_no_time_and_one_line_an_epoch(tmp_path):
    train(model(), tmp_path)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [4, 8, 12, 16, 20, 24]
    assert set(records[0]) == {"step", "epoch", "loss", "part", "validation"}
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]


def test_the_weights_of_the_best_epoch_are_kept(tmp_path):
    net = model()
    train(net, tmp_path, plan=Plan(epochs=12, learning_rate=0.3, batch_size=16, seed=0))
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    final = (net(INPUTS) - INPUTS.sum(1, keepdim=True)).square().mean().item()
    assert final == pytest.approx(min(record["validation"] for record in records))


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path):
    train(model(), tmp_path)
    step = latest_step(tmp_path / "checkpoints")
    weights = tmp_path / f"checkpoints/step-{step}/tensors.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 4
    weights.write_bytes(content)
    with pytest.raises(UserError, match="differs from its manifest"):
        load_checkpoint(tmp_path / "checkpoints")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(model(), tmp_path)
    with pytest.raises(UserError, match="another model"):
        train(nn.Linear(4, 1), tmp_path, resume=True)


def test_the_learning_rate_warms_up_and_falls_to_zero():
    plan = Plan(epochs=1, learning_rate=1.0, warmup_share=0.1)
    rates = [learning_rate(plan, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert max(rates) == 1.0
    assert all(a >= b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[-1] < 0.001


def test_training_on_nothing_is_a_users_error():
    with pytest.raises(UserError, match="no training window"):
        fit(nn.Linear(1, 1), lambda *_: None, 0, PLAN)


def test_a_loss_that_is_not_finite_stops_the_training():
    net = model()
    with pytest.raises(UserError, match="not finite between steps 0 and"):
        fit(net, lambda *_: (net(INPUTS).mean() * float("nan"), {}), len(INPUTS), PLAN)


def test_a_number_of_steps_is_kept_whatever_the_number_of_samples():
    """One epoch of equal batches: of few samples each comes again and again, as often as any other."""
    drawn = {}
    for samples in (5, 16, 400):
        net, seen = nn.Linear(1, 1), []

        def loss(rows, generator, step, net=net, seen=seen):
            seen.append(rows.tolist())
            return net(torch.ones(1)).square().sum(), {}

        fit(net, loss, samples, Plan(epochs=7, learning_rate=0.01, batch_size=16, steps=12))
        drawn[samples] = seen
    for samples, seen in drawn.items():
        assert [len(rows) for rows in seen] == [16] * 12
        counts = torch.bincount(torch.tensor(seen).flatten(), minlength=samples)
        assert counts.max() - counts.min() <= 1
    assert drawn[16][0] != drawn[16][1], "another order each time"


def test_parameters_can_have_a_learning_rate_of_their_own():
    """Adam's first step is the learning rate, whatever the gradient."""
    net = model()
    before = {name: values.clone() for name, values in net.named_parameters()}
    plan = Plan(epochs=1, learning_rate=0.01, batch_size=64, rates={"0.": 0.0001})

    def loss(rows, generator, step):
        return (net(INPUTS[rows]) - 3.0).square().mean(), {}

    fit(net, loss, len(INPUTS), plan)
    moved = {name: float((values - before[name]).detach().abs().max()) for name, values in net.named_parameters()}
    for name, most in moved.items():
        assert most == pytest.approx(0.0001 if name.startswith("0.") else 0.01, rel=0.01)


def test_a_step_updates_all_weights_in_one_call_and_spares_vectors_the_decay():
    optimiser = _optimiser(model(), PLAN)
    assert optimiser.defaults["fused"]
    decays = {
        parameter.ndim: group["weight_decay"] for group in optimiser.param_groups for parameter in group["params"]
    }
    assert decays == {1: 0.0, 2: PLAN.weight_decay}
