"""tests/support/stand_in.py, stopped by the test at a point of its life, and with quicker beats.

Environment: BEAT_S, STILL_S of raypipe.storage.claims; STOP_AFTER, a method of the run directory,
after whose first call the driver writes the file STOP_AT and waits until the test has removed it.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # before others' packages named tests

from raypipe.console import leave
from raypipe.storage import claims
from raypipe.studies.consistency.run import Run
from tests.support import stand_in

claims.BEAT_S = float(os.environ.get("BEAT_S", claims.BEAT_S))
claims.STILL_S = float(os.environ.get("STILL_S", claims.STILL_S))


def stop_after(name: str, at: Path) -> None:
    """Let the method write `at` when it has returned, and wait until somebody removes it."""
    method = getattr(Run, name)

    def stopping(self, *arguments, **more):
        result = method(self, *arguments, **more)
        setattr(Run, name, method)
        at.write_text("")
        while at.exists():
            time.sleep(0.02)
        return result

    setattr(Run, name, stopping)


if __name__ == "__main__":
    if "STOP_AFTER" in os.environ:
        stop_after(os.environ["STOP_AFTER"], Path(os.environ["STOP_AT"]))
    stand_in.work.steps = stand_in.steps
    leave.run(stand_in.JOB.main)
