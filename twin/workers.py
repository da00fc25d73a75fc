"""Who else does work than this process: processes of this machine, or a Dask cluster.

Either is a `concurrent.futures.Executor`, and nothing more is asked of it.
"""

import asyncio
import logging
import multiprocessing
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from twin.console import warn_in_one_line
from twin.errors import UserError

__all__ = ["cluster", "processes"]

T = TypeVar("T")

ANSWER_S = 5.0
"""How long a scheduler may take to answer."""
WATCH_S = 10.0
"""How often a cluster is asked whether any worker is left."""
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _Processes(ProcessPoolExecutor):
    """Fresh processes of one thread each, which leave a Ctrl-C to their parent and do not outlive it."""

    def __init__(self, count: int) -> None:
        super().__init__(count, multiprocessing.get_context("spawn"), initializer=_begin)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As an executor does; it is here that processes are started."""
        with _seen_by_children(ONE_THREAD), _interrupts_held_back():
            return super().submit(fn, *args, **kwargs)

    def stop(self) -> None:
        """End what is being done at once."""
        for process in list((self._processes or {}).values()):  # Python 3.14 has terminate_workers
            process.terminate()
        self.shutdown(cancel_futures=True)


def _begin() -> None:
    warn_in_one_line()
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _seen_by_children(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables of the processes that are started meanwhile: libraries read them when they are imported."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A process that is started meanwhile never gets a SIGINT; this one gets it a moment later.

    Blocking it in this thread keeps it from the child, and does not keep another thread from taking it: Python then
    interrupts the main thread all the same, and a process would be left half started.
    """
    held: list[int] = []
    here = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number)) if here else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if here:
            signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Processes of this machine. When the block raises, what is begun is finished first; at a Ctrl-C it is not.

    Raises:
        BrokenExecutor: a process died.
    """
    pool = _Processes(count)
    try:
        yield pool
    except Exception:
        pool.shutdown(cancel_futures=True)
        raise
    except BaseException:
        pool.stop()
        raise
    pool.shutdown()


@contextmanager
def cluster(address: str) -> Iterator[Executor]:
    """The workers of the Dask scheduler at `address`. What a lost worker was doing is done by another.

    Raises:
        UserError: Dask is not installed, nothing answers, no worker is there, or work is lost for good.
    """
    if not re.fullmatch(r"(tcp|tls|ucx|ws|wss)://[^\s/]+:\d{1,5}", address):
        raise UserError("is no address of a scheduler", f"--cluster {address}", "give one like tcp://127.0.0.1:8786")
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise UserError("Dask is not installed", "--cluster", "pip install 'jepa-msac-twin[cluster]'") from None
    with _silent("distributed.client", "tornado.application"):  # what they say in pages is one line here
        client = _connected(Client, address)
        done = threading.Event()
        threading.Thread(target=_watch, args=(client, address, done), daemon=True).start()
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except KilledWorker:
            what = "several workers died of the same piece of work, of too little memory perhaps"
            raise UserError(what, address, "see their logs") from None
        except CancelledError:
            raise UserError("the scheduler is gone", address, "start it again") from None
        except ImportError as error:
            raise UserError(f"a worker lacks a package ({error})", address, "install the same there as here") from None
        finally:
            done.set()
            with suppress(OSError, CancelledError):
                executor.shutdown(wait=False)
            client.close(ANSWER_S)


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Nothing is logged under these names."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _connected(make_client: Callable[..., Any], address: str) -> Any:
    try:
        with ThreadPoolExecutor(1) as thread:  # this one may have an event loop of its own
            thread.submit(asyncio.run, asyncio.wait_for(_greet(address), ANSWER_S)).result()
        client = make_client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        what = f"no scheduler answers within {ANSWER_S:g} s ({type(error).__name__})"
        raise UserError(what, address, "start one with `dask scheduler`, or mend the address") from None
    try:
        client.wait_for_workers(1, timeout=ANSWER_S)
    except TimeoutError:
        client.close(ANSWER_S)
        raise UserError("the scheduler has no workers", address, f"start some with `dask worker {address}`") from None
    return client


async def _greet(address: str) -> None:
    """Exchange greetings with a scheduler: a client would wait for ever for what listens and never speaks."""
    from distributed import Security
    from distributed.comm import connect

    greeted = await connect(address, timeout=ANSWER_S, **Security().get_connection_args("client"))
    await greeted.close()


def _watch(client: Any, address: str, done: threading.Event) -> None:
    """Warn when no worker is left: the scheduler waits for another one, and says nothing."""
    told = False
    while not done.wait(WATCH_S):
        try:
            left = len(client.nthreads())
        except Exception:  # what is lost now, the work itself notices
            return
        if not left and not told:
            warnings.warn(f"{address}: no worker is left, waiting for one", stacklevel=1)
        told = not left
