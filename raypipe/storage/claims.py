"""Who works on a run directory: one driver at a time, which the others are told of.

A claim is the file `claims/NNNNNN.json`, created exclusively. The highest number is that of the
driver that may commit, its epoch; to take over is to create the next number, which only one of
several can. Commits are checked against it, and name it, so that a driver that was away while
another took over changes nothing: nothing rests on clocks. The holder's sign of life beside it,
`NNNNNN.beat`, only decides when another machine's claim may be taken over.
"""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from raypipe.console import leave, message
from raypipe.errors import UserError
from raypipe.storage.files import Folder

FOLDER = "claims"

BEAT_S = 10.0
"""Seconds between two signs of life of a holder."""

STILL_S = 60.0
"""Seconds without one, by the observer's own clock, after which a claim may be taken over."""


@dataclass(frozen=True)
class Holder:
    """Who holds a claim."""

    id: str = ""
    host: str = "an unknown host"
    boot: str = ""
    """Which start of which machine; with it a process id means something."""
    pids: str = ""
    """The machine's space of process ids, of which each container may have one."""
    pid: int = 0
    started: str = ""
    """When the process began: process ids are used again."""
    since: str = "an unknown time"
    released: bool = False

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        pid = os.getpid()
        place = socket.gethostname(), _boot(), _pids()
        return cls(uuid.uuid4().hex, *place, pid, _started(pid) or "", now)

    def is_gone(self) -> bool | None:
        """Whether the process has ended; None for one that cannot be seen from here."""
        if not self.boot or (self.host, self.boot, self.pids) != (
            socket.gethostname(), _boot(), _pids(),
        ):  # fmt: skip
            return None
        return _started(self.pid) != self.started


class Claim:
    """A run directory held by this process, until it is released."""

    def __init__(self, folder: Folder, epoch: int, holder: Holder):
        self.epoch = epoch
        self.lost: str | None = None
        """Who has taken over, as a message."""
        self._folder, self._holder = folder, holder
        self._beats = 0
        self._stop = threading.Event()
        self.beat()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def confirm(self) -> None:
        """UserError where another driver has taken over, or the claim is gone."""
        if self.lost is None:
            epoch, holder = _last(self._folder)
            if epoch == self.epoch and holder is not None and holder.id == self._holder.id:
                return
            self.lost = _lost(self._folder, holder)
        raise UserError(self.lost)

    def beat(self) -> None:
        """Give a sign of life. Where another has taken over, interrupts the main thread."""
        self._beats += 1
        with contextlib.suppress(OSError, UserError):  # a commit reports what is wrong
            self._folder.write(_beat(self.epoch), str(self._beats).encode())
            epoch, holder = _last(self._folder)
            if epoch > self.epoch and self.lost is None:
                self.lost = _lost(self._folder, holder)
                leave.interrupt(self.lost)

    def release(self, keep: bool) -> None:
        """Let others work. keep: remember the epoch, where no manifest does."""
        _held.pop(self._folder.uri, None)
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError, UserError):
            self.confirm()
            if keep:
                content = asdict(replace(self._holder, released=True))
                self._folder.write(_name(self.epoch), json.dumps(content).encode())
            _forget(self._folder, self.epoch, keep)

    def _live(self) -> None:
        while not self._stop.wait(BEAT_S):
            self.beat()


_held: dict[str, Claim] = {}
"""Claims of this process, by URI."""

_still: set[str] = set()
"""Ids of holders that gave no sign of life while this process watched."""


def held(folder: Folder) -> Claim | None:
    """This process's claim on a run directory."""
    return _held.get(folder.uri)


def confirm(folder: Folder) -> None:
    """UserError where this process has held a run directory that another driver took over.

    To be called before each commit: a part of the plan, results, the manifest.
    """
    claim = held(folder)
    if claim is not None:
        claim.confirm()


def go_on(uri: str) -> None:
    """UserError where a sign of life has found this process's claim lost; asks nobody."""
    claim = _held.get(uri)
    if claim is not None and claim.lost is not None:
        raise UserError(claim.lost)


def take(folder: Folder, finished: Callable[[], int], what: str) -> Claim:
    """Claim a run directory. UserError while another driver holds it.

    finished: the epoch that the manifest names, or 0. what: one process does at a time, in the
    words of the message.
    """
    while True:
        holder, epoch = Holder.here(), max(wait(folder, what), finished()) + 1
        if not folder.create(_name(epoch), json.dumps(asdict(holder)).encode()):
            continue  # somebody was faster: who it is comes next
        if finished() >= epoch:  # it was, and has ended since
            folder.delete(_name(epoch))
            continue
        _held[folder.uri] = Claim(folder, epoch, holder)
        return _held[folder.uri]


def last_epoch(folder: Folder) -> int:
    """The highest epoch that is remembered in the directory; 0 where there is none."""
    return _last(folder)[0]


def wait(folder: Folder, what: str) -> int:
    """The last claim's epoch, once it is known that its holder no longer works.

    That is at once where the holder has released it or was a process of this machine that has
    ended. For another machine it takes until it has given no sign of life for STILL_S. UserError
    for a holder that works.
    """
    epoch, holder = _last(folder)
    if holder is None or holder.released or holder.id in _still:
        return epoch
    gone = holder.is_gone()
    if gone is None:
        message(
            f"{holder.host} has worked on {folder.uri} since {holder.since}; waiting up to "
            f"{STILL_S:g} s to see whether it still does"
        )
        gone = _stands_still(folder, epoch, holder)
        if gone is None:
            return wait(folder, what)
    if not gone:
        raise UserError(
            f"one process {what} at a time, got another on {folder.uri}: process {holder.pid} of "
            f"{holder.host}, since {holder.since}"
        )
    return epoch


def _forget(folder: Folder, epoch: int, keep: bool) -> None:
    """Delete the claims up to this one, the last one first; all but its name where it is kept."""
    for name in reversed(folder.names(FOLDER)):
        number = name.partition(".")[0]
        is_older = number.isdecimal() and int(number) <= epoch
        if is_older and not (keep and f"{FOLDER}/{name}" == _name(epoch)):
            folder.delete(f"{FOLDER}/{name}")
    folder.delete_empty(FOLDER)


def _stands_still(folder: Folder, epoch: int, holder: Holder) -> bool | None:
    """Whether a holder gives no sign of life while we watch; None where its claim has changed."""
    begun, first = time.monotonic(), folder.read(_beat(epoch))
    while time.monotonic() - begun < STILL_S:
        time.sleep(1)
        if _last(folder) != (epoch, holder):
            return None
        if folder.read(_beat(epoch)) != first:
            return False
    _still.add(holder.id)
    return True


def _last(folder: Folder) -> tuple[int, Holder | None]:
    """Epoch and holder of the last claim; 0 and None where there is none."""
    names = [n for n in folder.names(FOLDER) if n.endswith(".json") and n[:-5].isdecimal()]
    if not names:
        return 0, None
    data = folder.read(f"{FOLDER}/{names[-1]}")
    if data is None:  # released meanwhile
        return int(names[-1][:-5]), None
    try:
        holder = Holder(**json.loads(data))
    except (ValueError, TypeError):
        holder = Holder(id=names[-1])  # of another version, or half of one: judged by its beat
    return int(names[-1][:-5]), holder


def _lost(folder: Folder, holder: Holder | None) -> str:
    who = f"process {holder.pid} of {holder.host}" if holder else "another process"
    return (
        f"{who} has taken over {folder.uri} from this one, which stops before it commits; what it "
        "has made is kept"
    )


def _name(epoch: int) -> str:
    return f"{FOLDER}/{epoch:06d}.json"


def _beat(epoch: int) -> str:
    return f"{FOLDER}/{epoch:06d}.beat"


def _boot() -> str:
    """What this machine's uptime is called; empty where it cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return _output("sysctl", "-n", "kern.boottime") or ""


def _pids() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process of this machine began, in its own terms; None where it is gone or dead."""
    if not Path("/proc/self/stat").exists():
        return _output("ps", "-o", "lstart=", "-p", str(pid))
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else numbers[18]


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
