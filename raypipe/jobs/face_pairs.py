"""Photos → faces → the same photos with their faces inpainted: pairs of a good and a bad face,
which jobs/face_score.py learns from."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.studies.face_pairs.run import PairRun
from raypipe.studies.face_pairs.settings import FacePairs


def face_pairs(job: Job[FacePairs, PairRun]) -> None:
    from raypipe.studies.face_pairs import plan, work

    config, run = job.config, job.run
    made_by = plan.identity(config)
    run.check_model(made_by)
    plan.known_splits(config.splits.known)
    photos = plan.plan_photos(run, config)
    if job.dry_run:
        message(plan.describe(config, photos))
        return

    job.begin(model=made_by)
    if not run.next_part():
        run.add_samples(photos, 0)
    del photos  # as large as the run
    work.look(run, config, job.session)
    plan.assign_splits(run, config)
    work.paint(run, config, made_by, job.session)

    from raypipe.report import sheet
    from raypipe.studies.face_pairs import page, results

    found = results.results(run, config)
    job.finish(
        found,
        results.manifest(run, config, made_by, found),
        partial(sheet.render, page.sheet(found, run.folder, config)),
        results.summary(found),
    )


JOB = Recipe(__doc__, FacePairs, PairRun, face_pairs)
