"""What goes to a GPU: batches through pinned memory, and all pictures and maps at once where they fit."""

from dataclasses import dataclass, field

import pytest
import torch

from jepa.data.frames import _placed
from jepa.data.sending import send

GPU, CPU = torch.device("cuda"), torch.device("cpu")
FREE = 1 << 30


@dataclass
class Stored:
    """Stands for a tensor, and remembers how it was copied."""

    device: torch.device = CPU
    nbytes: int = 0
    steps: list = field(default_factory=list)

    def pin_memory(self):
        self.steps.append("pinned")
        return self

    def to(self, device, non_blocking=False):
        self.steps.append("sent" if non_blocking else "waited for")
        return self


def test_a_batch_goes_to_a_gpu_through_pinned_memory_and_is_not_waited_for():
    assert send(Stored(), GPU).steps == ["pinned", "sent"]
    assert send(Stored(GPU), GPU).steps == ["sent"], "what is there cannot be pinned"
    assert send(Stored(), CPU).steps == ["sent"]


def test_what_is_sent_to_a_processor_is_there_already():
    values = torch.arange(3)
    assert send(values, CPU) is values


@pytest.mark.parametrize(("share", "moves"), [(0.4, True), (0.6, False)])
def test_pictures_lie_on_a_gpu_where_they_leave_it_half_empty(monkeypatch, share, moves):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (FREE, 2 * FREE))
    for name in ("camera", "radar", "lidar"):
        assert bool(_placed(name, Stored(nbytes=int(share * FREE)), GPU).steps) == moves
    assert not _placed("rf", Stored(nbytes=1), GPU).steps, "batches are planned by what stays on the processor"
    assert not _placed("camera", Stored(nbytes=1), CPU).steps
