"""The one place that speaks to the person at the terminal, and listens for Ctrl-C."""

import sys
import unicodedata

from raypipe.errors import without_secrets

LONGEST = 2000
"""Letters of a line about a mistake."""


def message(line: str) -> None:
    """Print one line now; standard output is kept for results and the run directory's path."""
    print(line, file=sys.stderr, flush=True)


def as_line(text: object) -> str:
    """A text on one line: at most LONGEST letters, without passwords, controls written out."""
    line = without_secrets(" ".join(str(text)[: 10 * LONGEST].split()))
    if len(line) > LONGEST:
        line = f"{line[:LONGEST]}..."
    return "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter
        for letter in line
    )
