"""Many people answer at once: how long does one wait, and is every answer kept?

Everybody answers as fast as the app lets him, with the pictures of every question, in an order of
his own. The people live in one process, the app in another, on the same machine.
"""

import asyncio
import os
import random
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.ratios import row
from tests.support import study_runs
from tests.support.annotators import Serving, all_work, questions

QUESTIONS = int(os.environ.get("RAYPIPE_BENCH_QUESTIONS", "5000"))
PEOPLE = int(os.environ.get("RAYPIPE_BENCH_ANNOTATORS", "50"))
EACH = int(os.environ.get("RAYPIPE_BENCH_ANSWERS", "100"))
"""Answers that each annotator gives."""


def run() -> list[dict[str, Any]]:
    """Seconds from sending an answer to holding the next question, and how many were lost."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        scs = {f"prompt {number}": (60.0, 70.0) for number in range(QUESTIONS)}
        source = study_runs.write(root / "source", scs, seeds=2)
        begun = time.monotonic()
        study = questions(source, root / "questions", "grid", "size=64")
        made = time.monotonic() - begun
        rng = random.Random(0)
        people = {
            f"person-{number}": (lambda row: rng.choice(("a", "b", "tie")))
            for number in range(PEOPLE)
        }
        with Serving(study, root / "answers", "rate=100000") as serving:
            begun = time.monotonic()
            workers = asyncio.run(all_work(serving, study, people, most=EACH, pictures=True))
            took = time.monotonic() - begun
            serving.kill()
        with sqlite3.connect(root / "answers" / "answers.sqlite") as connection:
            rows = connection.execute("SELECT annotator, question_id, choice FROM answers")
            kept = {row[:2]: row[2] for row in rows}
    given = {(w.name, question): c for w in workers for question, c in w.given.items()}
    waits = [wait for worker in workers for wait in worker.waits]
    lost = sum(kept.get(key) != choice for key, choice in given.items())
    doubled = len(kept) - len(given) + lost
    assert len(given) == PEOPLE * min(EACH, QUESTIONS)
    name = f"{PEOPLE} annotators, {QUESTIONS} questions, {len(given)} answers"
    p95 = float(np.quantile(waits, 0.95))
    rate = len(given) / took
    return [
        row(f"{name}: lost or doubled", lost + doubled, "0"),
        row(
            f"{name}: 95 % of waits for the next question at most, s (median, longest)",
            [float(np.median(waits)), p95, float(np.max(waits))],
            "<= 0.2",
        ),
        row(f"{name}: answers a second", rate, "none"),
        row(f"{QUESTIONS} questions made, s", made, "none"),
    ]
