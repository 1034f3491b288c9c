"""The one place that speaks to the person at the terminal, and listens for Ctrl-C."""

import re
import sys
import unicodedata

LONGEST = 2000
"""Letters of a line about a mistake."""

SECRETS = (
    (re.compile(r"(:/+)[^\s@/]*:[^\s@]*@|(:/+)[^\s@/:]+@"), r"\1\2...@"),
    (
        re.compile(r"((?:secret|token|passw|pwd|credential|access_key)[\w-]*=)[^&\s]+", re.I),
        r"\1...",
    ),
)
"""What a URI or an override may hold that no log should: user and password, or a key's value."""


def message(line: str) -> None:
    """Print one line now; standard output is kept for results and the run directory's path."""
    print(line, file=sys.stderr, flush=True)


def as_line(text: object) -> str:
    """A text on one line: at most LONGEST letters, without passwords, controls written out."""
    line = " ".join(str(text)[: 10 * LONGEST].split())
    for pattern, replacement in SECRETS:
        line = pattern.sub(replacement, line)
    if len(line) > LONGEST:
        line = f"{line[:LONGEST]}..."
    return "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in ("Cc", "Cf", "Cs") else letter
        for letter in line
    )
