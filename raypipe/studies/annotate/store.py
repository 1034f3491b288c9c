"""Answers in a SQLite file: on disk before the app replies, one row per annotator and question.

One thread writes. It takes all answers that wait and commits them together (`synchronous=FULL` in
WAL mode: the commit returns when the disk has them), so that many annotators share one wait for the
disk. The reply follows the commit. An answer that makes a commit fail is tried alone and refused;
whatever happens, nothing waits for ever, and nothing is confirmed that is not on disk.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from raypipe.errors import UserError

TABLES = """
CREATE TABLE IF NOT EXISTS annotators (
  name TEXT PRIMARY KEY, joined_at TEXT NOT NULL, consent TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
  annotator TEXT NOT NULL, question_id TEXT NOT NULL, choice TEXT NOT NULL,
  swapped INTEGER NOT NULL, position INTEGER NOT NULL, changes INTEGER NOT NULL,
  seconds REAL NOT NULL, answered_at TEXT NOT NULL,
  PRIMARY KEY (annotator, question_id)
) WITHOUT ROWID;
"""

WAIT_S = 30.0
"""Seconds for which a request waits for the disk. What it wanted may still be kept after that."""

JOIN = "INSERT INTO annotators VALUES (?, ?, ?)"

IS_THERE = "SELECT 1 FROM annotators WHERE name = ?"

ANSWER = """
INSERT INTO answers
VALUES (:annotator, :question_id, :choice, :swapped, :position, 0, :seconds, :at)
ON CONFLICT (annotator, question_id) DO UPDATE SET
  choice = :choice, swapped = :swapped, position = :position,
  seconds = seconds + :seconds, answered_at = :at, changes = changes + 1
  WHERE changes + 1 = :version AND choice <> :choice
"""
"""`version` counts the answers to the question that the annotator had seen: 0 for the first."""

FOUND = "SELECT choice, changes + 1 FROM answers WHERE annotator = ? AND question_id = ?"


@dataclass(frozen=True)
class Answer:
    """One answer of an annotator."""

    annotator: str
    question_id: str
    choice: str
    swapped: bool
    position: int
    seconds: float
    version: int
    """Answers to the question that the annotator knew of: one that knew of fewer is refused."""


@dataclass(frozen=True)
class Known:
    """The stored answer to a question."""

    choice: str
    version: int


class NotSavedError(Exception):
    """Nothing was confirmed: the disk refuses, or takes too long."""


class Store:
    """The answers of one study. Its methods are for the event loop's thread."""

    def __init__(self, path: Path):
        """Open the file or make it. UserError where that fails, or another process has it open."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(f"{path}.lock")
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"one process collects answers at a time, got another on {path}"
            ) from None
        except OSError as error:
            raise UserError(f"answers cannot be written: {path}: {error.strerror}") from None
        try:
            self._connection = _connect(path)
            self._connection.executescript(TABLES)
            rows = self._connection.execute(
                "SELECT annotator, question_id, choice, changes + 1 FROM answers"
            ).fetchall()
            names = self._connection.execute("SELECT name FROM annotators").fetchall()
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise UserError(f"answers cannot be kept in {path}: {error}") from None
        self._known: dict[str, dict[str, Known]] = defaultdict(dict)
        for annotator, question_id, choice, version in rows:
            self._known[annotator][question_id] = Known(choice, version)
        self._names = {name for (name,) in names}
        self.trouble: str | None = None
        """Why the last commit failed; None while all is well."""
        self._dead = False
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="answers", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether answers can still be written at all."""
        return not self._dead

    @property
    def questions(self) -> set[str]:
        """Questions that have an answer."""
        return {question for known in self._known.values() for question in known}

    @property
    def annotators(self) -> set[str]:
        """Pseudonyms of all who have joined."""
        return self._names

    def known(self, annotator: str) -> dict[str, Known]:
        """The stored answers of one annotator, by question."""
        return self._known[annotator]

    async def join(
        self, name: str, consent: str, most: int
    ) -> Literal["joined", "taken", "closed"]:
        """Take a pseudonym, with what was agreed to, unless `most` have one. NotSavedError."""
        row = (name, _now(), consent)

        def work(connection: sqlite3.Connection) -> Literal["joined", "taken", "closed"]:
            if connection.execute(IS_THERE, (name,)).fetchone():
                return "taken"
            if connection.execute("SELECT COUNT(*) FROM annotators").fetchone()[0] >= most:
                return "closed"
            connection.execute(JOIN, row)
            return "joined"

        found: Literal["joined", "taken", "closed"] = await self._do(work)
        if found == "joined":
            self._names.add(name)
        return found

    async def save(self, answer: Answer) -> bool:
        """Keep an answer; returns when it is on disk, or raises NotSavedError.

        The same answer twice is kept once. False, and nothing changes, where the question has
        another answer by now that this one did not know of (a second window).
        """
        row = {**vars(answer), "at": _now()}

        def work(connection: sqlite3.Connection) -> Known:
            connection.execute(ANSWER, row)
            found = connection.execute(FOUND, (answer.annotator, answer.question_id)).fetchone()
            return Known(*found)

        found: Known = await self._do(work)
        mine = self._known[answer.annotator]
        before = mine.get(answer.question_id)
        if before is None or before.version <= found.version:  # replies may come out of order
            mine[answer.question_id] = found
        return found.choice == answer.choice

    def close(self) -> None:
        """Write the waiting answers, and release the file."""
        self._waiting.put(None)
        self._thread.join()
        self._connection.close()
        self._lock.release()

    async def _do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run `work` on the writing thread; returns its result, after the commit."""
        item = _Work(work, Future())
        self._waiting.put(item)
        if self._dead:
            self._refuse_waiting()
        try:
            async with asyncio.timeout(WAIT_S):
                return await asyncio.wrap_future(item.done)
        except TimeoutError:
            raise NotSavedError("the disk takes too long") from None

    def _write(self) -> None:
        """The writing thread: everything that waits, in one transaction, then the next."""
        batch: list[_Work] = []
        try:
            while (first := self._waiting.get()) is not None:
                batch, last = [first], False
                while not self._waiting.empty():
                    item = self._waiting.get()
                    if item is None:
                        last = True
                        break
                    batch.append(item)
                # one whose request has given up is left out; from here on none can
                batch = [one for one in batch if one.done.set_running_or_notify_cancel()]
                self._commit(batch)
                if last:
                    return
        except BaseException as error:  # nothing here should fail; if it does, the app must end
            self.trouble = f"{type(error).__name__}: {error}"
        finally:
            self._dead = True
            for item in batch:
                if isinstance(item, _Work) and not item.done.done():
                    item.done.set_exception(NotSavedError(self.trouble))
            self._refuse_waiting()

    def _commit(self, batch: list["_Work"]) -> None:
        """All of a batch, or each that can be kept where one cannot."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [item.work(self._connection) for item in batch]
            self._connection.execute("COMMIT")
        except Exception as error:  # such as a full disk: no answer is reported as kept
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if len(batch) > 1:
                for item in batch:
                    self._commit([item])
                return
            self.trouble = f"{type(error).__name__}: {error}"
            for item in batch:
                item.done.set_exception(NotSavedError(self.trouble))
            return
        self.trouble = None
        for item, result in zip(batch, results, strict=True):
            item.done.set_result(result)

    def _refuse_waiting(self) -> None:
        """Answer all that nobody will write any more."""
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._waiting.get_nowait()
                if item is not None and item.done.set_running_or_notify_cancel():
                    item.done.set_exception(
                        NotSavedError(self.trouble or "the app is being stopped")
                    )


@dataclass(frozen=True)
class _Work:
    work: Callable[[sqlite3.Connection], Any]
    done: Future[Any]


def read_rows(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The tables of annotators and of answers, in a fixed order."""
    connection = _connect(path)
    connection.row_factory = sqlite3.Row
    people = "SELECT * FROM annotators ORDER BY name"
    answers = "SELECT * FROM answers ORDER BY annotator, position, question_id"
    try:
        return (
            [dict(row) for row in connection.execute(people)],
            [dict(row) for row in connection.execute(answers)],
        )
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that its owner alone can read; SQLite's files beside it follow it."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for suffix in ("", "-wal", "-shm"):
        if (beside := path.with_name(path.name + suffix)).exists():
            beside.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
