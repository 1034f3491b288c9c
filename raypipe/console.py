"""The one place that writes to the person at the terminal: standard error, a line at a time."""

import sys


def message(line: str) -> None:
    """Print one line now; standard output is kept for results and the run directory's path."""
    print(line, file=sys.stderr, flush=True)
