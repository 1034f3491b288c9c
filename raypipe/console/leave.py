"""How a command ends: its exit status, and the one line that says why.

Python tells the main thread of a signal when it is next at leisure, which may be never: it waits in
somebody's C++, or somebody swallows the exception. So a thread listens as well. It leaves the main
thread GRACE_S to end what must be ended, then ends the process, at once on a second signal.
"""

import contextlib
import errno
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from raypipe.console import as_line, message, streams
from raypipe.console.children import descendants, end
from raypipe.errors import UserError

GRACE_S = 8.0
"""How long leaving may take; the processes of a private Ray need two or three seconds."""

CHILDREN_S = 1.0
"""How long a process below this one may take to notice that a signal has ended it."""

ONCE_S = 0.5
"""Within which a second signal is the first one again: `timeout` sends it twice."""

STOPS = {
    number: word
    for name, word in (("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up"))
    if (number := getattr(signal, name, None)) is not None
}
"""Signals that end a command with 128 + their number, and what it says then."""

REFUSALS = {
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOTDIR),
    *(errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH),
}
"""What a machine or a network answers that no change of ours mends: one line, no traceback."""


@dataclass
class _State:
    """What has happened to this process so far."""

    number: int | None = None
    """The first signal that came."""
    doomed: set[int] = field(default_factory=set)
    """Processes to end besides those below this one: their parents may be gone already."""
    reason: str | None = None
    """Why this process has interrupted itself; None for a signal of others."""
    ending: bool = False
    """Whether the command has ended, and Python cleans up."""
    wake: int = -1
    """Where Python's own handler, which no C++ holds up, writes the numbers of signals."""
    terminal: int = -1
    """A copy of standard error, which Ray's start hides for a moment."""


_state = _State()
_told, _interrupted = threading.Lock(), threading.Lock()
"""Taken by whoever prints the line, and by whoever interrupts the main thread: once each."""


def run(command: Callable[[], None]) -> None:
    """Run this process's command to its exit, with `way_out`, in the main thread."""
    try:
        _prepare()
        with way_out():
            command()
    except KeyboardInterrupt:  # in the middle of another way out
        sys.exit(_last_words(_state.number or signal.SIGINT))
    finally:
        _state.ending = True
        if _state.number is not None:
            _end_children(CHILDREN_S)


def interrupt(reason: str) -> None:
    """Interrupt the main thread from another one, for a reason: the command ends with it, and 2."""
    _state.reason = reason
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def doom(pids: Iterable[int]) -> None:
    """Have these processes, and no others any more, ended with a command that a signal ends."""
    _state.doomed = set(pids)


def listen() -> None:
    """Take the signals (again): Ray and asyncio put handlers of their own in place.

    Nothing happens in a process that is not a command's own.
    """
    if _state.wake < 0 or threading.current_thread() is not threading.main_thread():
        return
    signal.set_wakeup_fd(_state.wake, warn_on_full_buffer=False)
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _stop)


@contextlib.contextmanager
def way_out() -> Iterator[None]:
    """Give the process its exit status for the block's end, a mistake or a signal.

    SystemExit with 2 and one line for a UserError and for what the machine refuses, with 128 + its
    number for a signal. Any other error is ours, and passes with its traceback.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
        if _state.number is not None:  # somebody has swallowed it
            raise KeyboardInterrupt
    except BaseException as error:
        if _state.number is not None or isinstance(error, KeyboardInterrupt):
            # whatever it has become on its way here
            raise SystemExit(_last_words(_state.number or signal.SIGINT)) from None
        line = str(error) if isinstance(error, UserError) else refusal(error)
        if line is None:
            raise
        message(f"error: {as_line(line)}")
        raise SystemExit(2) from None


def refusal(error: BaseException) -> str | None:
    """What a machine or a network has refused, as a line; None for other errors.

    An error of a worker, as Ray wraps it, is told as one of this process.
    """
    cause = getattr(error, "cause", None)
    error = cause if isinstance(cause, OSError) else error
    if not isinstance(error, OSError):
        return None
    no_temporary = error.errno == errno.ENOENT and "temporary directory" in str(error)
    if error.errno not in REFUSALS and not no_temporary:
        return None
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"the machine refuses: {what}; the same command goes on when that is mended"


def _prepare() -> None:
    """Mend the streams, and listen for signals."""
    streams.mend()
    try:
        _state.terminal = os.dup(2)
    except OSError:  # closed by whoever started this
        _state.terminal = os.open(os.devnull, os.O_WRONLY)
    reading, _state.wake = os.pipe()
    os.set_blocking(_state.wake, False)
    threading.Thread(target=_watch, args=(reading,), name="signals", daemon=True).start()
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread
    os.register_at_fork(after_in_child=_forked)
    listen()


def _stop(number: int, _: FrameType | None) -> None:
    """Interrupt the main thread, once; what comes of it is the watching thread's business."""
    _state.number = _state.number or number
    if _state.ending:
        _leave_now()
    if _interrupted.acquire(blocking=False):
        raise KeyboardInterrupt


def _watch(reading: int) -> None:
    """End the process if the main thread does not do so in time, or at a second signal."""
    while (number := os.read(reading, 1)[0]) not in STOPS:
        pass
    _state.number = _state.number or number
    first = time.monotonic()
    while (left := first + GRACE_S - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            again = os.read(reading, 1)[0] in STOPS
            if again and time.monotonic() - first > ONCE_S:
                break
    _leave_now()


def _leave_now() -> None:
    """End this process and those below it, whatever the main thread does."""
    line, status = _ending(_state.number or signal.SIGINT)
    if _told.acquire(blocking=False):
        with contextlib.suppress(OSError):
            os.write(_state.terminal, f"{line}\n".encode())
    _end_children(0)
    os._exit(status)


def _end_children(patience_s: float) -> None:
    me = os.getpid()
    end((descendants([me]) | _state.doomed) - {me}, patience_s)


def _last_words(number: int) -> int:
    """Print the line for a signal, once; returns the exit status."""
    line, status = _ending(number)
    if _told.acquire(blocking=False):
        message(line)
    return status


def _ending(number: int) -> tuple[str, int]:
    """The line and the exit status for a signal, which may be our own."""
    if _state.reason is not None:
        return f"error: {as_line(_state.reason)}", 2
    return f"{STOPS[number]}; the same command goes on from here", 128 + number


def _unraisable(found: Any) -> None:
    """Leave at once for an interrupt that nobody would ever see: it fell into a finalizer."""
    if _state.number is None:
        sys.__unraisablehook__(found)
    elif issubclass(found.exc_type, KeyboardInterrupt):
        _leave_now()


def _in_thread(found: Any) -> None:
    """Say nothing of what fails in a thread while the process ends."""
    if _state.number is None:
        threading.__excepthook__(found)


def _forked() -> None:
    """Leave a forked child its own signals."""
    with contextlib.suppress(ValueError):  # forked beside the main thread
        signal.set_wakeup_fd(-1)
        for number in STOPS:
            if signal.getsignal(number) is _stop:
                plain = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                signal.signal(number, plain)
