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


def check_jobs(plan: Plan) -> None:
    """UserError for what one of the jobs would refuse, as far as there are no LoRAs to see yet.

    In the order of the work: trainings, then pictures by the base, then scores.
    """
    from raypipe.inputs.prompts import read_prompts, read_seeds
    from raypipe.metrics.identity import identity
    from raypipe.weights.identity import encoder_identity, model_identity

    for training in plan.trainings:
        run = face_lora.JOB.directory(training.config.output)
        run.check(training.config)
        face_lora.check(training.config, run)
    for pictures in plan.pictures.values():
        consistency.JOB.directory(pictures.output).check(pictures)
        read_prompts(pictures.prompts, pictures.prompt_column)
        read_seeds(pictures.seeds)
        model_identity(pictures.models[0])
        for encoder in pictures.encoder:
            encoder_identity(encoder)
    for scores in plan.scores.values():
        evaluate.JOB.directory(scores.output).check(scores)
        for metric in scores.metrics:
            identity(metric)


def face_ablation(job: Job[FaceAblation, RunDirectory]) -> None:
    """Runs other jobs, one after the other; each resumes where it was stopped."""
    from raypipe.report import sheet
    from raypipe.studies.face_ablation import page, results
    from raypipe.studies.face_ablation.plan import SETS_OF_PROMPTS

    config, session = job.config, job.session
    plan = plan_jobs(config)
    check_jobs(plan)
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
