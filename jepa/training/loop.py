"""The one training loop, for pretraining, heads, fine-tuning and baselines, with exact resume.

Batches depend on (seed, epoch), random draws on (seed, step) and the learning rate on the step, so that a checkpoint
needs no state of a random generator: weights, optimiser and step are all there is.
"""

import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from jepa.training.batches import independent_batches, repeated_batches
from jepa.training.checkpoint import latest_step, load_checkpoint, save_checkpoint
from jepa.training.parallel import ALONE, Processes
from twin.console import progress_bar
from twin.errors import UserError

__all__ = ["Loss", "Plan", "RunLog", "fit", "learning_rate"]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        warmup_share: share of the steps in which the learning rate rises linearly; a half cosine to zero follows.
        steps: optimiser steps, as one epoch in place of `epochs`: the same whatever the number of samples.
        rates: learning rates of the parameters whose names begin so, where it is not `learning_rate`.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    batch_size: int = 64
    warmup_share: float = 0.0
    clip: float = 1.0
    seed: int = 0
    steps: int | None = None
    rates: Mapping[str, float] = field(default_factory=dict)


class Loss(Protocol):
    """The loss of a batch and its parts, detached, given the rows of its samples and a generator for everything random
    in it, both on the CPU. It asks a GPU for nothing: numbers are read once an epoch."""

    def __call__(self, rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, Mapping[str, Tensor]]: ...


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine to zero."""
    warmup = math.ceil(plan.warmup_share * steps)
    if step < warmup:
        return plan.learning_rate * (step + 1) / warmup
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _optimiser(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, norms and other vectors; groups know their share of the learning rate."""
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    groups: list[dict[str, Any]] = []
    for beginning, rate in {**plan.rates, "": plan.learning_rate}.items():
        some = [trained.pop(name) for name in list(trained) if name.startswith(beginning)]
        share = rate / plan.learning_rate
        groups += [
            {"params": [p for p in some if p.ndim >= 2], "weight_decay": plan.weight_decay, "share": share},
            {"params": [p for p in some if p.ndim < 2], "weight_decay": 0.0, "share": share},
        ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=plan.learning_rate, fused=True)


def _generator(plan: Plan, step: int) -> torch.Generator:
    state = int(np.random.default_rng([plan.seed, 2, step]).integers(2**62))
    return torch.Generator().manual_seed(state)


def _event_writer(path: Path, step: int) -> Any:
    """A TensorBoard writer. TensorBoard would load TensorFlow, where it is installed, and needs nothing of it: a module
    of this name is its switch against that."""
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(path), purge_step=step)


class RunLog:
    """`metrics.jsonl`, one line a record without times, cut to the checkpoint on resume, and TensorBoard events."""

    def __init__(self, run: Path, step: int) -> None:
        """The log of a run that goes on after `step`; later records are forgotten."""
        self.path = run / "metrics.jsonl"
        self._events = _event_writer(run / "events", step + 1)
        self._cut_after(step)

    def _cut_after(self, step: int) -> None:
        if self.path.exists():
            kept = []
            for line in self.path.read_bytes().splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line + b"\n")
                except (ValueError, TypeError, KeyError):
                    break  # the line that was being written when the run was killed
            draft = self.path.with_name(".metrics.partial")
            draft.write_bytes(b"".join(kept))
            draft.replace(self.path)

    def write(self, step: int, values: dict[str, float | str]) -> None:
        """Append a record."""
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, float | int):
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush the events."""
        self._events.close()


@dataclass
class _Best:
    """The state with the lowest validation value so far."""

    value: float = math.inf
    state: dict[str, Tensor] | None = None


def _drawn(samples: int, plan: Plan, epoch: int) -> list[Tensor]:
    if plan.steps is not None:
        return repeated_batches(samples, plan.batch_size, plan.seed, plan.steps)
    return independent_batches(samples, plan.batch_size, plan.seed, epoch)


def fit(
    model: nn.Module,
    loss: Loss,
    samples: int,
    plan: Plan,
    *,
    label: str = "",
    batches: Callable[[int], list[Tensor]] | None = None,
    after_step: Callable[[int, int], None] | None = None,
    validate: Callable[[], float] | None = None,
    at_epoch_end: Callable[[int, dict[str, float]], dict[str, float | str]] | None = None,
    run: Path | None = None,
    resume: bool = False,
    processes: Processes = ALONE,
) -> None:
    """Train `model` in place.

    Args:
        batches: the batches of an epoch as rows, equally many in each; independent draws without.
        after_step: called after every optimiser step with the step and the number of steps (the EMA).
        validate: called after every epoch; the weights with the lowest value are kept at the end.
        at_epoch_end: more values for the log, called with the epoch and the means of the loss and its parts.
        run: directory of checkpoints (one an epoch) and logs; without it nothing is written.
        resume: go on from the latest checkpoint of `run`; the result is bit-identical to an uninterrupted run on a CPU.
        processes: which train the model together: `loss` takes its share of the rows. The first alone reads and writes
            `run`, and calls `at_epoch_end`.

    Raises:
        UserError: there is nothing to train on, or the checkpoint is damaged or of another model.
    """
    if samples == 0:
        raise UserError("there is no training window", label or "training", "use more or longer sequences")
    optimiser = _optimiser(model, plan)
    drawn = batches or partial(_drawn, samples, plan)
    epochs = plan.epochs if plan.steps is None else 1
    per_epoch = len(drawn(0))
    steps = per_epoch * epochs
    best = _Best()
    step = 0
    found = processes.by_first(lambda: _latest(run)) if run and resume else None
    if run and found:
        step = _restore(run, found, model, optimiser, best)
    log = RunLog(run, step) if run and processes.is_first else None
    with progress_bar(shown=bool(label) and processes.is_first) as bar, closing(log) if log else nullcontext():
        task = bar.add_task(label, total=steps, completed=step)
        for epoch in range(step // per_epoch, epochs):
            model.train()
            sums: dict[str, Tensor] = {}
            for rows in drawn(epoch):
                for group in optimiser.param_groups:
                    group["lr"] = group["share"] * learning_rate(plan, step, steps)
                value, parts = loss(rows, _generator(plan, step), step)
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                processes.average(model)
                nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
                optimiser.step()
                if after_step:
                    after_step(step, steps)
                step += 1
                for name, part in {"loss": value.detach(), **parts}.items():
                    sums[name] = sums[name] + part if name in sums else part
                bar.update(task, completed=step)
            means = {name: total / per_epoch for name, total in processes.means(sums).items()}
            if not math.isfinite(means["loss"]):
                what = f"the loss is not finite between steps {step - per_epoch} and {step}"
                raise UserError(what, run or label or "training", "lower the learning rate")
            record: dict[str, float | str] = {**means}
            if validate:
                record["validation"] = _consider(model, validate, best)
            if at_epoch_end and processes.is_first:
                record |= at_epoch_end(epoch, means)
            if log and run:
                log.write(step, {"epoch": epoch + 1, **record})
                numbers = {"best": best.value if math.isfinite(best.value) else None}
                save_checkpoint(run / "checkpoints", step, _tensors(model, optimiser, best), numbers)
    if best.state is not None:
        model.load_state_dict(best.state)


def _consider(model: nn.Module, validate: Callable[[], float], best: _Best) -> float:
    model.eval()
    with torch.no_grad():
        value = validate()
    if value < best.value:
        best.value = value
        best.state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return value


def _tensors(model: nn.Module, optimiser: torch.optim.Optimizer, best: _Best) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in state.items()}
    if best.state is not None:
        tensors |= {f"best.{name}": tensor for name, tensor in best.state.items()}
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _latest(run: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The latest checkpoint, where there is one."""
    checkpoints = run / "checkpoints"
    return None if latest_step(checkpoints) is None else load_checkpoint(checkpoints)


def _restore(
    run: Path,
    found: tuple[dict[str, Tensor], dict[str, Any]],
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    best: _Best,
) -> int:
    tensors, numbers = found
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}, "best": {}}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        groups[kind][rest] = tensor
    try:
        model.load_state_dict(groups["model"])
    except RuntimeError:
        raise UserError(
            "its checkpoint is of another model", run, "resume with the configuration it began with"
        ) from None
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in groups["optimiser"].items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    if groups["best"]:
        best.state, best.value = groups["best"], float(numbers["best"])
    return int(numbers["step"])
