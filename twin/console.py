"""What every command of the project does alike: exit status, JSON output, progress.

Standard output carries results, standard error progress and errors. Exit status: 0 done, 2 a user's error, 1 a defect.
"""

import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.exceptions import TyperException

from twin.errors import UserError

__all__ = [
    "EpisodeProgress",
    "as_user_error",
    "is_interrupt",
    "print_json",
    "progress_bar",
    "run_command_line",
    "standard_error_closed",
    "warn_in_one_line",
]

_USER_ERRNOS = {
    errno.ENOSPC: "the disk is full; free some space and run the command again",
    errno.EFBIG: "the file would be larger than the system allows; raise its limit or make a smaller dataset",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
    errno.EACCES: "permission denied; choose a place that you may read and write",
    errno.EPERM: "not permitted; choose a place that you may read and write",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOTDIR: "a file stands where a directory is needed; choose another place",
    errno.EISDIR: "a directory stands where a file is needed; remove it",
    errno.ENAMETOOLONG: "the name is too long; choose another place",
}


def _fail(message: str) -> NoReturn:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(2)


def run_command_line(commands: typer.Typer, program: str) -> NoReturn:
    """Run a typer application under the project's exit-status policy and leave the process. A warning is one line.

    Raises:
        SystemExit: 0 done, 2 a user's error (one line on standard error), 130 interrupted. Any other exception is a
            defect and keeps its traceback (exit status 1).
    """
    warn_in_one_line()
    _call(lambda: typer.main.get_command(commands).main(prog_name=program, standalone_mode=False))
    raise SystemExit(0)


def warn_in_one_line() -> None:
    """Have the warnings of this process be one line each, without the place in the code."""
    warnings.formatwarning = lambda message, *_rest, **_named: f"warning: {message}\n"


def _call(command: Callable[[], Any]) -> None:
    try:
        code = command()
    except UserError as error:
        _fail(str(error))
    except typer.Abort:
        raise SystemExit(130) from None
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        context = getattr(error, "ctx", None)
        _fail(f"{context.command_path if context else 'command line'}: {message.rstrip('.')}; see --help")
    except OSError as error:
        mendable = as_user_error(error)
        if mendable is None:
            raise
        _fail(str(mendable))
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interrupt(error):
            raise
        raise SystemExit(130) from None
    if isinstance(code, int) and code:
        raise SystemExit(code)


def is_interrupt(error: BaseException | None) -> bool:
    """Whether the user pressed Ctrl-C; where a kernel is just returning its arrays, SystemErrors hide it."""
    while isinstance(error, SystemError):
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


def as_user_error(error: OSError) -> UserError | None:
    """What a user can mend about a failure of the system, such as a full disk; None if nothing."""
    if error.errno not in _USER_ERRNOS:
        return None
    what, _, remedy = _USER_ERRNOS[error.errno].partition("; ")
    return UserError(what, error.filename or "output", remedy)


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on standard output; NaN and infinities are not JSON and raise ValueError."""
    print(json.dumps(value, indent=2, sort_keys=False, allow_nan=False))


def progress_bar(shown: bool = True) -> Progress:
    """A progress display on standard error where that is a terminal, for everything longer than two seconds."""
    return _bar(shown, TimeElapsedColumn(), TimeRemainingColumn())


def _bar(shown: bool, *columns: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not (shown and sys.stderr.isatty()),
    )


class _FrameRate(ProgressColumn):
    """Frames per second since the start."""

    def render(self, task: Task) -> Text:
        seconds = task.elapsed or 0.0
        return Text(f"{task.fields['frames'] / seconds if seconds else 0.0:,.1f} frames/s")


class _TimeLeft(ProgressColumn):
    """Time left if the other episodes take as long as those that were made so far."""

    def render(self, task: Task) -> Text:
        made = task.completed - task.fields["kept"]
        if not made or task.total is None or task.elapsed is None:
            return Text("-:--:-- left")
        took_s = task.fields["took_s"]
        left_s = took_s / made * (task.total - task.completed) - (task.elapsed - took_s)
        return Text(f"{timedelta(seconds=round(max(0.0, left_s)))} left")


class EpisodeProgress:
    """Progress of a generation on standard error where that is a terminal: episodes, frames a second, time left.

    Attributes:
        made_episodes, made_frames: what was made since the start.
    """

    def __init__(self) -> None:
        self.made_episodes = self.made_frames = 0
        self._bar = _bar(True, _FrameRate(), TimeElapsedColumn(), _TimeLeft())
        self._task = self._bar.add_task("generating", total=None, frames=0, kept=0, took_s=0.0)

    def __enter__(self) -> "EpisodeProgress":
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def episodes(self, done: int, total: int) -> None:
        """So many episodes of so many are there."""
        kept, took_s = done - self.made_episodes, self._bar.tasks[0].elapsed or 0.0
        self._bar.update(self._task, completed=done, total=total, kept=kept, took_s=took_s)

    def frames(self, made: int) -> None:
        """One more episode was made, of so many frames."""
        self.made_episodes += 1
        self.made_frames += made
        self._bar.update(self._task, frames=self.made_frames)


@contextmanager
def standard_error_closed() -> Iterator[None]:
    """Keep from the screen what a library writes on the file descriptor itself."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
