"""Two processes that share every batch learn what one learns, and stop, go on and fail as one."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from jepa import workflows
from jepa.config import preset
from jepa.training import parallel
from jepa.training.batches import adjacent_batches
from jepa.training.checkpoint import load_checkpoint
from jepa.training.parallel import Processes, local_device
from twin.errors import UserError

WORKER = Path(__file__).with_name("trained_by_processes.py")
WORK = runpy.run_path(str(WORKER))
LOSS_TOLERANCE = 1e-5
"""Relative, of the loss and its parts in every epoch: sums over a batch are rounded in another order."""
GRADIENT_TOLERANCE = 5e-6
"""Absolute, of gradients of the order of 0.01 to 1."""


def torchrun(logs, *arguments, monitor_interval_s=0.1):
    """Two processes, what each prints in a file of its own."""
    options = ["--standalone", "--nproc-per-node", "2", "--monitor-interval", str(monitor_interval_s)]
    command = [sys.executable, "-m", "torch.distributed.run", *options, "--redirects", "3", "--log-dir", str(logs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(parallel.__file__).parents[2])}
    return subprocess.Popen(
        [*command, *map(str, arguments)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def ended(process):
    """Exit status, and what torchrun says."""
    said = process.communicate()[1]
    return process.returncode, said


def printed(logs, rank, stream):
    """What a process printed."""
    (path,) = logs.rglob(f"attempt_0/{rank}/{stream}.log")
    return path.read_text()


def command(dataset, run, *settings):
    options = [part for setting in [*WORK["RUN"], *settings] for part in ("--set", setting)]
    return ["-m", "jepa.cli", "pretrain", dataset, "--out", run, "--preset", "small", "--device", "cpu", *options]


def log_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_curves(run, expected):
    log, other = log_of(run), log_of(expected)
    assert [record.keys() for record in log] == [record.keys() for record in other]
    for found, wanted in zip(log, other, strict=True):
        for name in [name for name in wanted if name in ("loss", "prediction") or name.startswith("loss_")]:
            assert found[name] == pytest.approx(wanted[name], rel=LOSS_TOLERANCE), name


def assert_same_run(run, expected):
    """Bit for bit: the log and the latest checkpoint."""
    assert (run / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    (tensors, numbers), (others, other) = (load_checkpoint(path / "checkpoints") for path in (run, expected))
    assert numbers == other
    assert tensors.keys() == others.keys()
    assert all(torch.equal(values, others[name]) for name, values in tensors.items())


@pytest.fixture(scope="module")
def one(dataset, tmp_path_factory):
    """What one process made."""
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("one")
    WORK["main"](place, dataset)
    return place


@pytest.fixture(scope="module")
def two(dataset, tmp_path_factory):
    """What two processes made, before a user's error ended them."""
    place = tmp_path_factory.mktemp("two")
    status, said = ended(torchrun(place / "logs", WORKER, place, dataset))
    assert status != 0
    assert "exitcode  : 2" in said, said
    return place


def test_the_gradient_of_a_batch_is_that_of_one_process(one, two):
    """Variance and covariance of the context are those of the whole batch, and so is their gradient."""
    whole = torch.load(one / "gradients-0.pt")
    for rank in range(2):
        shared = torch.load(two / f"gradients-{rank}.pt")
        assert shared.keys() == whole.keys()
        for name, gradient in whole.items():
            torch.testing.assert_close(shared[name], gradient, atol=GRADIENT_TOLERANCE, rtol=1e-4, msg=name)


@pytest.mark.parametrize("case", ["frozen", "independent", "hidden", "run"])
def test_the_loss_curve_is_that_of_one_process(one, two, case):
    """With frozen batch norms or none; masks and noise are those of one process as well."""
    assert_same_curves(two / case, one / case)
    assert log_of(two / case)[-1]["loss"] < log_of(two / case)[0]["loss"]


@pytest.mark.parametrize("case", WORK["CASES"])
def test_the_processes_end_with_the_same_weights(two, case):
    """Trained batch norms included, whose running statistics are averaged; so is the target, which follows by EMA."""
    first, second = (torch.load(two / f"{case}-{rank}.pt") for rank in range(2))
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    stored, _ = load_checkpoint(two / case / "checkpoints")
    assert all(torch.equal(values, stored[f"model.{name}"]) for name, values in first.items())


def test_the_first_process_alone_prints(two):
    """That a trained batch norm differs, and the user's error that all have, once."""
    lines = printed(two / "logs", 0, "stderr").splitlines()
    assert [line for line in lines if "collapse" not in line] == [
        "batch norm: each process normalises by the windows of its own "
        "(--set model.batch_norm=frozen trains as one process does)",
        "error: batch_size: a batch of 33 windows does not divide among 2 processes; set batch_size=32",
    ]
    assert printed(two / "logs", 0, "stdout") == printed(two / "logs", 1, "stdout") == ""
    assert printed(two / "logs", 1, "stderr") == ""
    assert not (two / "refused").exists()


def test_an_error_of_one_process_is_the_error_of_all(two):
    for rank in range(2):
        assert (two / f"error-{rank}").read_text() == "another process: is broken; mend it"


def test_what_the_first_leaves_the_other_finds(two):
    assert [(two / f"turn-{rank}").read_text() for rank in range(2)] == ["None", "True"]


def process_of_rank(launcher, rank):
    """The process that torchrun started with a rank."""
    for number in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        if f"RANK={rank}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(b"\0"):
            return int(number)
    raise AssertionError("it is not there")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux shows them")
@pytest.mark.long
def test_when_one_process_is_killed_all_end_and_any_number_goes_on(dataset, one, two, tmp_path):
    cut = tmp_path / "cut"
    launcher = torchrun(tmp_path / "logs", *command(dataset, cut), monitor_interval_s=2)
    until = time.monotonic() + 120
    while len(list(cut.glob("checkpoints/step-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process_of_rank(launcher, 1), signal.SIGKILL)
    status, said = ended(launcher)
    assert status != 0
    assert "Traceback" not in printed(tmp_path / "logs", 0, "stderr")
    assert printed(tmp_path / "logs", 0, "stderr") == (
        "error: torchrun: another process has ended; see what it said; go on with --resume\n"
    ), said
    assert len(log_of(cut)) < len(log_of(two / "run")), "it was killed before its end"
    alone = shutil.copytree(cut, tmp_path / "alone")
    status, said = ended(torchrun(tmp_path / "again", *command(dataset, cut), "--resume"))
    assert status == 0, said
    assert_same_run(cut, two / "run")
    assert f"{cut}: pretrained" in printed(tmp_path / "again", 0, "stdout")
    assert printed(tmp_path / "again", 0, "stderr") == printed(tmp_path / "again", 1, "stderr") == ""
    assert printed(tmp_path / "again", 1, "stdout") == ""
    workflows.pretrain_run([dataset], alone, preset("small", WORK["RUN"]), device="cpu", label="", resume=True)
    assert_same_curves(alone, one / "run")


@pytest.fixture
def started(monkeypatch):
    """Tells this process that it is one of several."""

    def start(rank=0, world=2, on_this_machine=2):
        numbers = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": on_this_machine}
        for name, number in numbers.items():
            monkeypatch.setenv(name, str(number))

    return start


@pytest.mark.parametrize("name", ["heads", "finetune", "baseline", "predict", "evaluate", "experiment", "bench"])
def test_what_is_not_pretraining_refuses_several_processes_in_one_line(started, call, name):
    started()
    expected = f"error: jepa {name}: runs in one process, and 2 were started; start it without torchrun\n"
    assert call(name) == (2, "", expected)


def test_another_process_waits_for_the_first_to_say_why(started, call, monkeypatch, capsys):
    """Torchrun ends it meanwhile; where it does not, the first has not failed."""
    waited = []

    def wait(seconds):
        waited.append(seconds)
        assert capsys.readouterr().err == ""

    monkeypatch.setattr(parallel.time, "sleep", wait)
    started(rank=1)
    code, out, err = call("pretrain", "nowhere", "--out", "run", "--preset", "huge")
    assert (code, out, waited) == (2, "", [parallel.PATIENCE_S])
    assert err.startswith("error: --preset: unknown preset 'huge'")
    assert err.count("\n") == 1


def test_the_shares_of_a_batch_are_equal_and_hold_every_window_once():
    index = WORK["windows"]().index
    for rows in adjacent_batches(index, 16, 4, 0, 0):
        shares = [Processes(rank, 4).share(rows) for rank in range(4)]
        assert torch.equal(torch.cat(shares), rows)
        assert {len(share) for share in shares} == {4}


@pytest.mark.parametrize(
    ("batch", "world", "remedy"), [(64, 3, "batch_size=63"), (33, 2, "batch_size=32"), (3, 4, "fewer processes")]
)
def test_a_batch_that_does_not_divide_is_a_users_error(batch, world, remedy):
    with pytest.raises(UserError, match=rf"batch_size: a batch of {batch} windows .* {world} processes.*{remedy}"):
        Processes(0, world).check_batch(batch)


def test_each_process_has_a_gpu_of_its_own(started, monkeypatch):
    assert local_device("auto") == "auto", "one process takes what there is"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    started(rank=1)
    assert local_device("auto") == local_device("cuda") == "cuda:1"
    assert local_device("cpu") == "cpu"
    with pytest.raises(UserError, match="cuda:0 is one device for 2 processes"):
        local_device("cuda:0")
    started(world=4, on_this_machine=4)
    with pytest.raises(UserError, match="4 processes for 2 GPUs"):
        local_device("auto")
