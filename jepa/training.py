"""The one training loop, for pretraining, heads, fine-tuning and baselines, with exact resume.

Batches depend on (seed, epoch), random draws on (seed, step) and the learning rate on the step, so that a checkpoint
needs no state of a random generator: weights, optimiser and step are all there is.
"""

import json
import math
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from jepa.checkpoint import latest_step, load_checkpoint, save_checkpoint
from twin.console import progress_bar
from twin.errors import UserError

__all__ = ["Loss", "Plan", "RunLog", "fit", "learning_rate"]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        warmup_share: share of the steps in which the learning rate rises linearly; a half cosine to zero follows.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    batch_size: int = 64
    warmup_share: float = 0.0
    clip: float = 1.0
    seed: int = 0


class Loss(Protocol):
    """The loss of a batch, given the rows of its samples and a generator for everything random in it."""

    def __call__(self, rows: Tensor, generator: torch.Generator, step: int) -> tuple[Tensor, dict[str, float]]: ...


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine to zero."""
    warmup = math.ceil(plan.warmup_share * steps)
    if step < warmup:
        return plan.learning_rate * (step + 1) / warmup
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _optimiser(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, norms and other vectors."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=plan.learning_rate)


def _batch_rows(samples: int, plan: Plan, epoch: int) -> list[Tensor]:
    order = np.random.default_rng([plan.seed, 1, epoch]).permutation(samples)
    whole = samples // plan.batch_size * plan.batch_size
    order = order[:whole] if whole else order
    return list(torch.from_numpy(order).split(plan.batch_size))


def _generator(plan: Plan, step: int, device: torch.device) -> torch.Generator:
    state = int(np.random.default_rng([plan.seed, 2, step]).integers(2**62))
    return torch.Generator(device=device).manual_seed(state)


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


def fit(
    model: nn.Module,
    loss: Loss,
    samples: int,
    plan: Plan,
    *,
    label: str = "",
    after_step: Callable[[int, int], None] | None = None,
    validate: Callable[[], float] | None = None,
    at_epoch_end: Callable[[int], dict[str, float | str]] | None = None,
    run: Path | None = None,
    resume: bool = False,
) -> None:
    """Train `model` in place.

    Args:
        after_step: called after every optimiser step with the step and the number of steps (the EMA).
        validate: called after every epoch; the weights with the lowest value are kept at the end.
        at_epoch_end: more values for the log, called with the epoch.
        run: directory of checkpoints (one an epoch) and logs; without it nothing is written.
        resume: go on from the latest checkpoint of `run`; the result is bit-identical to an uninterrupted run on a CPU.

    Raises:
        UserError: there is nothing to train on, or the checkpoint is damaged or of another model.
    """
    if samples == 0:
        raise UserError("there is no training window", label or "training", "use more or longer sequences")
    device = next(model.parameters()).device
    optimiser = _optimiser(model, plan)
    per_epoch = len(_batch_rows(samples, plan, 0))
    steps = per_epoch * plan.epochs
    best = _Best()
    step = 0
    if run and resume and latest_step(run / "checkpoints") is not None:
        step = _restore(run, model, optimiser, best)
    log = RunLog(run, step) if run else None
    with progress_bar(shown=bool(label)) as bar, closing(log) if log else nullcontext():
        task = bar.add_task(label, total=steps, completed=step)
        for epoch in range(step // per_epoch, plan.epochs):
            model.train()
            sums: dict[str, float] = {}
            for rows in _batch_rows(samples, plan, epoch):
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(plan, step, steps)
                value, parts = loss(rows.to(device), _generator(plan, step, device), step)
                number = value.detach().item()
                if not math.isfinite(number):
                    raise UserError(
                        f"the loss is not finite at step {step}", run or label or "training", "lower the learning rate"
                    )
                optimiser.zero_grad(set_to_none=True)
                value.backward()
                nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
                optimiser.step()
                if after_step:
                    after_step(step, steps)
                step += 1
                for name, part in {"loss": number, **parts}.items():
                    sums[name] = sums.get(name, 0.0) + part
                bar.update(task, completed=step)
            record: dict[str, float | str] = {name: total / per_epoch for name, total in sums.items()}
            if validate:
                record["validation"] = _consider(model, validate, best)
            if at_epoch_end:
                record |= at_epoch_end(epoch)
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


def _restore(run: Path, model: nn.Module, optimiser: torch.optim.Optimizer, best: _Best) -> int:
    tensors, numbers = load_checkpoint(run / "checkpoints")
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
