"""The one place that speaks to the person at the terminal, and listens for Ctrl-C."""

import sys


def message(line: str) -> None:
    """Print one line now; standard output is kept for results and the run directory's path."""
    print(line, file=sys.stderr, flush=True)
