"""`make bench`: every benchmark as ratios measured in one run, as a table and build/bench.json.

Each bench_*.py beside this file has `run() -> [{name, ratio, low, high, goal}]`. Names on the
command line choose some, `python tests/benchmarks/run.py scs`; the others' figures are kept.
"""

import json
import os
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "build" / "bench.json"
sys.path.insert(0, str(HERE.parents[1]))  # a package of site-packages is called `tests` too


def main(chosen: list[str]) -> None:
    """Run them one after another; nothing else should run on the machine."""
    files = sorted(HERE.glob("bench_*.py"))
    if chosen:
        files = [HERE / f"bench_{name}.py" for name in chosen]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    rows = {}
    if chosen and OUTPUT.exists():
        rows = {row["name"]: row for row in json.loads(OUTPUT.read_text())}
    OUTPUT.parent.mkdir(exist_ok=True)
    for file in files:
        for row in import_module(f"tests.benchmarks.{file.stem}").run():
            rows[row["name"]] = {**row, "machine": machine}
            print(_line(row), flush=True)
        OUTPUT.write_text(json.dumps(list(rows.values()), indent=1, ensure_ascii=False))
    print(OUTPUT)


def _line(row: dict[str, Any]) -> str:
    spread = f"{row['ratio']:8.2f}  ({row['low']:.2f} to {row['high']:.2f})"
    return f"{spread:<34} goal {row['goal']:<9} {row['name']}"


if __name__ == "__main__":
    main(sys.argv[1:])
