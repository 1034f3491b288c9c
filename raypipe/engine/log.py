"""Log lines of workers: one JSON event per line, which names its sample or batch.

They go to the worker's standard error, which Ray keeps in the session's log files (`ray logs`), and
which `--verbose` brings to the driver.
"""

import json
import logging
import sys
import time

logger = logging.getLogger("raypipe")


def to_stderr() -> None:
    """Send this process's events to its standard error; once."""
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def event(name: str, **fields: object) -> None:
    """Log one event, with fields that name its sample, batch, step or worker."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"time": stamp, "event": name, **fields}
    logger.info(json.dumps(line, ensure_ascii=False, default=str))
