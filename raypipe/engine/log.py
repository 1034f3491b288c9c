"""Log lines of workers: JSON, one event a line, which names the sample or batch it is about.

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
    """Log one event, with whatever tells which sample, batch, step or worker it is about."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"time": stamp, "event": name, **fields}
    logger.info(json.dumps(line, ensure_ascii=False, default=str))
