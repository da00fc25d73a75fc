"""Data-parallel pretraining: the processes that `torchrun` starts share every batch.

Each process takes its share of the windows of a batch. What is drawn at random is drawn for the whole batch by all,
and then cut; statistics over the batch are summed over the processes; gradients are averaged. So several processes do
what one does, up to rounding: only a trained batch norm normalises by the windows of its own process. The first
process alone writes the run and prints.

The processes of `torchrun` are known by RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; without them there is one.
"""

import io
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn

from twin.errors import UserError

__all__ = ["ALONE", "Processes", "joined", "local_device", "one_voice", "process_count", "trained_batch_norms"]

WAIT = timedelta(hours=2)
"""How long a process waits for the others: the first may make features of all pictures meanwhile. That one has ended
is noticed at once."""
PATIENCE_S = 10.0
"""How long another process than the first keeps its error to itself: where all have the same, torchrun ends it when the
first has said it."""

Made = TypeVar("Made")

_groups = itertools.count()


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0


def process_count() -> int:
    """How many processes were started together."""
    return max(1, _number("WORLD_SIZE")) if "RANK" in os.environ else 1


def local_device(name: str) -> str:
    """The device of this process: of several, each has the GPU of its place on the machine.

    Args:
        name: auto, cpu or cuda; returned as it is where there is one process, or no GPU.

    Raises:
        UserError: one GPU is named for several processes, or there are fewer GPUs than processes.
    """
    if process_count() == 1 or name == "cpu" or not torch.cuda.is_available():
        return name
    if name not in ("auto", "cuda"):
        raise UserError(f"{name} is one device for {process_count()} processes", "--device", "use auto or cpu")
    found, wanted = torch.cuda.device_count(), max(1, _number("LOCAL_WORLD_SIZE"))
    if wanted > found:
        raise UserError(f"{wanted} processes for {found} GPUs", "torchrun", f"use --nproc-per-node {found}")
    return f"cuda:{_number('LOCAL_RANK')}"


@contextmanager
def _all_present() -> Iterator[None]:
    """Around what all processes do together.

    Raises:
        UserError: another has ended.
    """
    try:
        yield
    except RuntimeError as error:
        raise UserError("another process has ended", "torchrun", "see what it said; go on with --resume") from error


def _summed(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    with _all_present():
        dist.all_reduce(total)
    return total


class _Sum(torch.autograd.Function):
    """The sum over the processes. Its gradient is summed likewise: the loss of each depends on the terms of all."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        device: where its model lies.
    """

    rank: int = 0
    world: int = 1
    device: torch.device | str = "cpu"

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def check_batch(self, batch: int) -> None:
        """Refuse a number of windows that cannot be shared equally.

        Raises:
            UserError: it does not divide.
        """
        if batch % self.world:
            what = f"a batch of {batch} windows does not divide among {self.world} processes"
            whole = batch // self.world * self.world
            remedy = f"set batch_size={whole}" if whole >= 2 else "start fewer processes"
            raise UserError(what, "batch_size", remedy)

    def share(self, values: Shaped[Tensor, "batch ..."]) -> Shaped[Tensor, "share ..."]:
        """This process's part of what belongs to the windows of a batch, equally much for each.

        It is contiguous, so that groups of adjacent windows stay together where they fit in.
        """
        count = len(values) // self.world
        return values[self.rank * count : (self.rank + 1) * count]

    def sum(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """The sum over the processes, with gradient.

        Where every process adds the result to its loss, and gradients are averaged, the gradient is that of one
        process that holds all terms.
        """
        if self.world == 1:
            return values
        total: Tensor = _Sum.apply(values)
        return total

    def means(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """The mean of each value over the processes, as a number."""
        if self.world == 1 or not values:
            return {name: float(value) for name, value in values.items()}
        parts = [torch.as_tensor(value, dtype=torch.float64, device=self.device) for value in values.values()]
        return dict(zip(values, (_summed(torch.stack(parts)) / self.world).tolist(), strict=True))

    @torch.no_grad()
    def average(self, model: nn.Module) -> None:
        """Average over the processes the gradients of a model, and the running statistics of its batch norms.

        The kind of mask is that of the whole batch, so that the same parameters have a gradient everywhere.
        """
        if self.world == 1:
            return
        values = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        for norm in trained_batch_norms(model):
            values += [part for part in (norm.running_mean, norm.running_var) if part is not None]
        means = _summed(torch.cat([value.flatten() for value in values])) / self.world
        parts = means.split([value.numel() for value in values])
        torch._foreach_copy_(values, [part.view_as(value) for part, value in zip(parts, values, strict=True)])

    def together(self, make: Callable[[], Made]) -> Made:
        """What every process makes for itself.

        Raises:
            UserError, OSError: the same in all processes, where one of them has it.
        """
        if self.world == 1:
            return make()
        made: list[Made] = []
        error: UserError | OSError | None = None
        try:
            made.append(make())
        except (UserError, OSError) as found:
            error = found
        errors: list[Any] = [None] * self.world
        with _all_present():
            dist.all_gather_object(errors, error)
        for first in errors:
            if first is not None:
                raise first
        return made[0]

    def in_turn(self, make: Callable[[], Made]) -> Made:
        """What every process makes for itself, the others after the first, which leaves something for them.

        Raises:
            UserError, OSError: the same in all processes, where one of them has it.
        """
        first = self.together(lambda: [make()] if self.is_first else [])
        return self.together(lambda: first or [make()])[0]

    def by_first(self, make: Callable[[], Made]) -> Made:
        """What the first process makes, for all of them.

        Raises:
            UserError, OSError: the first has it.
        """
        made: list[Any] = [self.together(lambda: [make()] if self.is_first else [])]
        if self.world > 1:
            with _all_present():
                dist.broadcast_object_list(made)
        found: list[Made] = made[0]
        return found[0]


ALONE = Processes()
"""One process."""


def trained_batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """The batch norms of a model that normalise by the batch, and so follow it."""
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]


@cache
def _meeting() -> tuple[dist.Store, int, int]:
    """Where the processes find each other, the number of this one, and how many there are."""
    store, rank, world = next(iter(dist.rendezvous("env://", timeout=WAIT)))
    return store, rank, world


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that were started together, connected: by NCCL on GPUs, by gloo on CPUs.

    A process that leaves it with an error has to end, which tells the others.

    Raises:
        UserError: the others cannot be reached.
    """
    world = process_count()
    if world == 1:
        yield Processes(device=device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        store, rank, world = _meeting()
        store = dist.PrefixStore(f"group-{next(_groups)}", store)  # the addresses of an earlier group are still there
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"  # objects go by gloo in both cases
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the processes do not find each other ({first})", "torchrun", "start them again") from None
    yield Processes(rank, world, device)
    dist.destroy_process_group()


@contextmanager
def one_voice() -> Iterator[None]:
    """Around a command: of several processes the first prints. Another speaks only where it alone knows why all end.

    Raises:
        SystemExit: what the command raised.
    """
    if process_count() == 1 or _number("RANK") == 0:
        yield
        return
    said = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            yield
    except SystemExit as end:
        if end.code:
            time.sleep(PATIENCE_S)
            print(said.getvalue(), end="", file=sys.stderr)
        raise
