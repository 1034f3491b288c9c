"""Train a LoRA that draws better faces: pairs of a good and a bad face → lora.safetensors."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.studies.face_lora.run import LoraRun
from raypipe.studies.face_lora.settings import FaceLora


def face_lora(job: Job[FaceLora, LoraRun]) -> None:
    from raypipe.models.lora.adapter import check_targets
    from raypipe.studies.face_lora import plan

    config, run = job.config, job.run
    base = plan.check_base(config)
    run.check_model(base)
    check_targets(config.model, config.adapter.targets)
    plan.check_inputs(config)
    plan.check_samples(config)
    pictures, texts, counts = plan.plan(config)
    if job.dry_run:
        message(plan.describe(config, counts))
        return
    if config.encoded is not None:
        plan.check_encoded(config.encoded, pictures, texts, base)

    job.begin(model=base)
    plan.keep_plan(run, pictures, texts)

    from raypipe.report import sheet
    from raypipe.studies.face_lora import page, results, work

    if config.encoded is None:
        work.encode(config, run, job.session)
    work.train(config, run, job.session)
    found = results.results(config, run.folder, counts)
    job.finish(
        found,
        work.manifest(config, base, found),
        partial(sheet.render, page.sheet(found, run.folder)),
        page.summary(found),
    )


JOB = Recipe(__doc__, FaceLora, LoraRun, face_lora)
