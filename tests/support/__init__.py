"""What tests share: small real models, runs, servers, and clients."""

import json
import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
"""The checkout."""

DATA = ROOT / "tests" / "data"
"""Files that tests compare with."""


HOSTILE = [
    "it's a \"quoted\" 'prompt' & its <b>cub</b>",
    "a/b\\c: d* <e> |f?",
    "a cat 😀 with 👩‍👩‍👧 und Umlauten äöü",
    "two\nlines\tand a tab",
    "word " * 499 + "word",
    "../../../etc/passwd",
    "<script>alert(1)</script>",
    "</style></title><img src=x onerror=alert(1)>",
    "$(rm -rf /); `ls`; %s %n {0} {{x}}",
    "{{ 7 * 7 }} {% raw %} ${x} $a_b$",
    "-- --dry-run",
    "\u202eright to left\u202c",
    "null",
]
"""Prompts that do harm to careless code."""


def free_port() -> int:
    """A port of this machine on which nothing listens yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def plan_batches(folder: Path) -> None:
    """Give a run directory that a test wrote by hand its plan, of which others read the batches."""
    for plan, made in (("samples", "images"), ("sources", "pairs")):
        batches = sorted(path.stem for path in (folder / made).glob("*.parquet"))
        if batches and not (folder / plan).exists():
            (folder / plan).mkdir()
            pq.write_table(pa.table({"batch_id": batches}), folder / plan / "0000.parquet")


def finish_run(folder: Path, job: str, **config: object) -> Path:
    """Give a run directory that a test wrote by hand its plan and manifest; returns it."""
    plan_batches(folder)
    manifest = {"status": "complete", "job": job, "config_hash": "x", "config": config}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
