"""Is the bad face worse? The miniature world's ground truth judges a run of jobs/face_pairs.py.

python -m raypipe.miniature.pair_quality RUN [--split test]
"""

import argparse
import sys
from collections import defaultdict

import numpy as np

from raypipe.config.sections import SPLITS
from raypipe.errors import UserError
from raypipe.inputs.codec import decode
from raypipe.inputs.runs import batch_files, pairs_of
from raypipe.storage import schema
from raypipe.storage.files import Folder

from .face_judge import judged


def verdicts(folder: Folder, split: str | None = None) -> dict[tuple[str, float], list[bool]]:
    """For each (kind, strength), whether the judge scores each pair's bad face below the good one.

    split: of the judged pairs; None for all.

    UserError where the directory holds no pairs, or pictures that are not of the miniature world.
    """
    found: dict[tuple[str, float], list[bool]] = defaultdict(list)
    for name in batch_files(folder, "pairs"):
        scores: dict[bytes, float] = {}
        for pair in pairs_of(folder, name):
            if pair["status"] != schema.OK or split not in (None, pair["split"]):
                continue
            good, bad = (_score(pair[side], scores) for side in ("good", "bad"))
            found[pair["kind"], round(pair["strength"], 6)].append(bad < good)
    if not found:
        raise UserError(f"a run of jobs/face_pairs.py with pairs was expected, got {folder.uri}")
    return dict(found)


def _score(data: bytes, known: dict[bytes, float]) -> float:
    """The judge's score of an encoded picture, computed once."""
    if data not in known:
        known[data] = judged(decode(data), "the judge")
    return known[data]


def main() -> None:
    """Print the share of pairs whose bad face is the worse one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run directory of jobs/face_pairs.py on miniature photos")
    parser.add_argument("--split", choices=SPLITS, default="test", help="of the pairs judged")
    arguments = parser.parse_args()
    try:
        found = verdicts(Folder(arguments.run), arguments.split)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    rows = [(f"{kind}, strength {s:g}", right) for (kind, s), right in sorted(found.items())]
    rows.append(("all", [one for right in found.values() for one in right]))
    for name, right in rows:
        print(f"{name:<26}{100 * np.mean(right):6.1f} %  of {len(right)}")


if __name__ == "__main__":
    main()
