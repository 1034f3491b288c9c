"""The run directory of jobs/annotate.py: serving until it is stopped, and what is kept."""

import asyncio
import csv
import io
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
from aiohttp import web

from raypipe import schema
from raypipe.annotate.access import Keys
from raypipe.annotate.server import App
from raypipe.annotate.settings import Annotate
from raypipe.annotate.store import Store, read_rows
from raypipe.annotate.study import Study
from raypipe.directory import RunDirectory
from raypipe.errors import UserError
from raypipe.job import tell
from raypipe.provenance import provenance

PACKAGES = ("aiohttp", "pyarrow")

ANSWERS = "answers.sqlite"


class AnswerRun(RunDirectory):
    """A local directory that collects answers; each start goes on where the last one stopped."""

    def __init__(self, uri: str):
        """UserError for a bucket, in which no database can live."""
        if "://" in uri:
            raise UserError(f"answers are collected on a local disk, got output {uri}")
        super().__init__(uri)
        self.path = Path(self.uri)


def describe(config: Annotate, study: Study) -> str:
    """What would be served, for --dry-run."""
    where = f"port {config.port} of {config.share_on or '127.0.0.1'}"
    return f"{len(study.questions):,} questions ({study.kind}) would be asked on {where}"


def serve(run: AnswerRun, config: Annotate, study: Study) -> None:
    """Ask until SIGINT or SIGTERM. UserError for an address that cannot be listened on."""
    store = Store(run.path / ANSWERS)
    try:
        asyncio.run(_serve(config, App(config, study, store, Keys(run.path / "keys.json")), run))
    finally:
        store.close()


async def _serve(config: Annotate, app: App, run: AnswerRun) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(app.application(), access_log=None, handle_signals=False)
    await runner.setup()
    host = config.share_on or "127.0.0.1"
    site = web.TCPSite(runner, host, config.port, shutdown_timeout=5)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise UserError(
            f"the app must be able to listen on {host}, port {config.port}: {error.strerror}"
        ) from None
    port = runner.addresses[0][1]
    tell(f"asking on {_link(config, host, port, run)} until Ctrl-C")
    await stopped.wait()
    await runner.cleanup()


def _link(config: Annotate, host: str, port: int, run: AnswerRun) -> str:
    """The address to open or to send."""
    shown = f"[{host}]" if ":" in host else host
    token = f"?token={Keys(run.path / 'keys.json').token}" if config.share_on is not None else ""
    return f"http://{shown}:{port}/{token}"


def export(run: AnswerRun, study: Study) -> dict[str, int]:
    """Write the answers as tables; returns how much there is of what.

    `answers.parquet` and `.csv` hold everything (schema.ANSWERS), `choices.parquet` and `.csv` the
    comparisons as jobs/align.py reads them (schema.CHOICES): no checks, no repeats, no ratings.
    """
    people, rows = read_rows(run.path / ANSWERS)
    answers = answers_table(rows, study.questions)
    choices = choices_table(answers)
    for name, table in (("answers", answers), ("choices", choices)):
        run.write_table(f"{name}.parquet", table)
        run.folder.write(f"{name}.csv", _csv(table))
    asked = len(study.questions)
    mine = answers["annotator"].to_pylist()
    whole = sum(mine.count(person["name"]) == asked for person in people)
    return {
        "questions": asked,
        "annotators": len(people),
        "annotators_with_all_answers": whole,
        "answers": len(answers),
    }


def manifest(config: Annotate, counts: dict[str, int], seconds: float) -> dict[str, Any]:
    """Where the answers come from."""
    return {
        **provenance("annotate", config, PACKAGES),
        "inputs": [config.run],
        "counts": counts,
        "wall_seconds": seconds,
    }


def answers_table(rows: list[dict[str, Any]], questions: dict[str, dict[str, Any]]) -> pa.Table:
    """Stored answers with what they are about (schema.ANSWERS)."""
    told = []
    for row in rows:
        about = questions[row["question_id"]]
        about = {k: about[k] for k in schema.ANSWERS.names if k in about}
        at = row.pop("answered_at")
        told.append({**about, **row, "swapped": bool(row["swapped"]), "answered_at": at})
    return pa.Table.from_pylist(told, schema=schema.ANSWERS)


def choices_table(answers: pa.Table) -> pa.Table:
    """First answers to comparisons, as they stood on the screen (schema.CHOICES)."""
    rows = []
    for row in answers.to_pylist():
        if row["role"] != "question" or row["b_id"] is None:
            continue
        sides = (row["b_id"], row["a_id"]) if row["swapped"] else (row["a_id"], row["b_id"])
        first = "b" if row["swapped"] else "a"
        choice = (
            "tie" if row["choice"] == "tie" else ("left" if row["choice"] == first else "right")
        )
        kept = {name: row[name] for name in ("annotator", "prompt", "photo_id", "subset")}
        rows.append({"left_id": sides[0], "right_id": sides[1], "choice": choice, **kept})
    return pa.Table.from_pylist(rows, schema=schema.CHOICES)


def _csv(table: pa.Table) -> bytes:
    """A table as CSV with a header."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, table.column_names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.to_pylist())
    return out.getvalue().encode()
