"""Answers in a SQLite file: on disk before the app replies, one row per annotator and question.

One thread writes. It takes all answers that wait and commits them together (`synchronous=FULL` in
WAL mode: the commit returns when the disk has them), so that many annotators share one wait for the
disk. The reply follows the commit.
"""

import asyncio
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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

JOIN = "INSERT INTO annotators VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"

ANSWER = """
INSERT INTO answers
VALUES (:annotator, :question_id, :choice, :swapped, :position, 0, :seconds, :at)
ON CONFLICT (annotator, question_id) DO UPDATE SET
  choice = :choice, seconds = seconds + :seconds, answered_at = :at, changes = changes + 1
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


class Store:
    """The answers of one study. Its methods are for the event loop's thread."""

    def __init__(self, path: Path):
        """Open the file or make it. UserError where another process collects into it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"one process collects answers at a time, got another on {path}"
            ) from None
        self._connection = _connect(path)
        self._connection.executescript(TABLES)
        self._known: dict[str, dict[str, Known]] = defaultdict(dict)
        for annotator, *rest in self._connection.execute(
            "SELECT annotator, question_id, choice, changes + 1 FROM answers"
        ):
            self._known[annotator][rest[0]] = Known(rest[1], rest[2])
        self._names = {row[0] for row in self._connection.execute("SELECT name FROM annotators")}
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="answers")
        self._thread.start()

    @property
    def annotators(self) -> set[str]:
        """Pseudonyms of all who have joined."""
        return self._names

    def known(self, annotator: str) -> dict[str, Known]:
        """The stored answers of one annotator, by question."""
        return self._known[annotator]

    async def join(self, name: str, consent: str) -> bool:
        """Take a pseudonym, with what was agreed to; False where it is taken."""
        row = (name, _now(), consent)
        mine: bool = await self._do(lambda c: c.execute(JOIN, row).rowcount == 1)
        self._names.add(name)
        return mine

    async def save(self, answer: Answer) -> bool:
        """Keep an answer; returns when it is on disk.

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
        return await asyncio.wrap_future(item.done)

    def _write(self) -> None:
        """The writing thread: everything that waits, in one transaction, then the next."""
        while (first := self._waiting.get()) is not None:
            batch, last = [first], False
            while not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    last = True
                    break
                batch.append(item)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list["_Work"]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [item.work(self._connection) for item in batch]
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:  # such as a full disk: no answer is reported as kept
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for item in batch:
                item.done.set_exception(error)
            return
        for item, result in zip(batch, results, strict=True):
            item.done.set_result(result)


@dataclass(frozen=True)
class _Work:
    work: Callable[[sqlite3.Connection], Any]
    done: Future[Any]


def read_rows(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The tables of annotators and of answers, in a fixed order."""
    connection = _connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return (
            [dict(r) for r in connection.execute("SELECT * FROM annotators ORDER BY name")],
            [
                dict(r)
                for r in connection.execute("SELECT * FROM answers ORDER BY annotator, position")
            ],
        )
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
