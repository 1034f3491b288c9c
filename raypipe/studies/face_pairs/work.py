"""Makes the missing parts of a run of pairs: look, then inpaint, then check."""

from functools import partial
from typing import Any

from raypipe.core.ids import content_hash
from raypipe.engine.session import Session
from raypipe.engine.stage import Step
from raypipe.engine.work import parts_without, work_through
from raypipe.studies.face_pairs.check import CHECKS_FILE, CheckPairs, stored_checks
from raypipe.studies.face_pairs.look import Look, stored_photos
from raypipe.studies.face_pairs.paint import PAIRS_FILE, PHOTOS_FILE, Paint, stored_pairs
from raypipe.studies.face_pairs.run import PairRun, SplitPlan
from raypipe.studies.face_pairs.settings import FacePairs
from raypipe.weights.identity import pinned_model

PHOTOS = "photos"
"""What each step counts."""


def look(run: PairRun, config: FacePairs, session: Session) -> None:
    """Open the photos that were not opened yet, and find their faces."""
    pool = config.pools.look
    make = partial(Look, config)
    step = Step("look", make, pool, run.uri, PHOTOS_FILE, stored_photos, unit=PHOTOS)
    work_through(run.folder, [(parts_without(run, [PHOTOS_FILE]), [step])], session)


def paint(run: PairRun, config: FacePairs, made_by: dict[str, Any], session: Session) -> None:
    """Make the pairs that are not there yet, then check the stored pictures."""
    plan, pools = SplitPlan(run.uri), config.pools
    pinned = config.model_copy(update={"model": pinned_model(config.model)})
    make = partial(Paint, pinned, run.uri, content_hash(made_by))
    inpainting = Step(
        "inpaint", make, pools.inpaint, run.uri, PAIRS_FILE, stored_pairs, unit=PHOTOS
    )
    check = partial(CheckPairs, config, run.uri)
    checking = Step("check", check, pools.look, run.uri, CHECKS_FILE, stored_checks, "look", PHOTOS)
    chains = [
        (parts_without(plan, [PAIRS_FILE]), [inpainting]),
        (parts_without(plan, [CHECKS_FILE]), [checking]),
    ]
    work_through(run.folder, chains, session)
