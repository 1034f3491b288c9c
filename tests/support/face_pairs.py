"""jobs/face_pairs.py on a few miniature photos, and its chains without Ray."""

from pathlib import Path
from typing import Any

from raypipe.engine.session import Session
from raypipe.miniature.photos import photo_specs, write_folder
from raypipe.studies.face_pairs import plan, work
from raypipe.studies.face_pairs.run import PairRun
from raypipe.studies.face_pairs.settings import FacePairs

HERE = Session(local=True)


def photos(folder: Path, count: int, first: int = 0, faceless: float = 0.0) -> Path:
    """A folder of miniature photos with their captions."""
    write_folder(photo_specs(count, faceless, first), folder)
    return folder


def tree(photos: Path | dict[str, Any], output: Path, **changes: Any) -> dict[str, Any]:
    """A config of few steps."""
    return {
        "photos": photos if isinstance(photos, dict) else str(photos),
        "model": {"name": "sd15", "id": "miniature/sd15"},
        "sampler": {"steps": 4, "guidance": 1, "width": 64, "height": 64},
        "longest": 64,
        "min_face": 16,
        "strengths": [0.5, 1.0],
        "splits": {"train": 0.5, "validation": 0.25, "test": 0.25},
        "pools": {"look": {"batch_size": 3}},
        "output": str(output),
        **changes,
    }


def config(photos: Path | dict[str, Any], output: Path, **changes: Any) -> FacePairs:
    """The config itself."""
    return FacePairs.model_validate(tree(photos, output, **changes))


def begin(config: FacePairs) -> PairRun:
    """A run directory as far as its plan, as the job begins one."""
    run = PairRun(config.output)
    run.check(config)
    made_by = plan.identity(config)
    run.check_model(made_by)
    planned = plan.plan_photos(run, config)
    run.begin(config, model=made_by)
    if not run.next_part():
        run.add_samples(planned, 0)
    return run


def look(run: PairRun, config: FacePairs) -> None:
    """The first chain, in this process."""
    work.look(run, config, HERE)


def paint(run: PairRun, config: FacePairs) -> None:
    """The chains that follow the splits, in this process."""
    work.paint(run, config, plan.identity(config), HERE)
