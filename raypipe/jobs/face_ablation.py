"""Which loss improves faces, and what does it cost elsewhere? Variants × training seeds of a LoRA →
the same pictures by each and by the base → every metric, paired by prompt."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.jobs import consistency, evaluate, face_lora
from raypipe.storage.directory import RunDirectory
from raypipe.studies.face_ablation.plan import Plan, make_plan
from raypipe.studies.face_ablation.settings import FaceAblation


def plan_jobs(config: FaceAblation) -> Plan:
    """The jobs that an ablation consists of, each with its config."""
    jobs = {"face_lora": face_lora, "consistency": consistency, "evaluate": evaluate}
    return make_plan(config, {name: job.JOB.settings for name, job in jobs.items()})


def face_ablation(job: Job[FaceAblation, RunDirectory]) -> None:
    """Runs other jobs, one after the other; each resumes where it was stopped."""
    from raypipe.report import sheet
    from raypipe.studies.face_ablation import page, results
    from raypipe.studies.face_ablation.plan import SETS_OF_PROMPTS

    config, session = job.config, job.session
    plan = plan_jobs(config)
    if job.dry_run:
        message(page.describe(plan))
        return

    job.begin()
    for number, training in enumerate(plan.trainings, 1):
        message(f"LoRA {number} of {len(plan.trainings)}: {training.name}")
        face_lora.JOB.perform(training.config, session)
    for name in SETS_OF_PROMPTS:
        message(f"{name}: pictures and scores")
        consistency.JOB.perform(plan.pictures[name], session)
        evaluate.JOB.perform(plan.scores[name], session)
    found = results.results(config, plan)
    job.finish(
        found,
        results.manifest(config, plan),
        partial(sheet.render, page.sheet(found, page.side_by_side(plan))),
        page.summary(found),
    )


JOB = Recipe(__doc__, FaceAblation, RunDirectory, face_ablation)
