"""Train a LoRA that draws better faces: pairs of a good and a bad face → lora.safetensors."""

from functools import partial
from typing import Any

import pyarrow as pa

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.studies.face_lora.run import LoraRun
from raypipe.studies.face_lora.settings import FaceLora

Counts = dict[str, int]


def check(config: FaceLora, run: LoraRun) -> tuple[dict[str, Any], pa.Table, pa.Table, Counts]:
    """Everything that files and headers show; the base's identity, and what there is to encode."""
    from raypipe.models.lora.adapter import check_adapter
    from raypipe.studies.face_lora import plan

    base = plan.check_base(config)
    run.check_model(base)
    check_adapter(config.model, config.adapter)
    plan.check_inputs(config)
    plan.check_samples(config)
    return base, *plan.plan(config)


def face_lora(job: Job[FaceLora, LoraRun]) -> None:
    from raypipe.studies.face_lora import plan

    config, run = job.config, job.run
    base, pictures, texts, counts = check(config, run)
    if config.encoded is not None:
        plan.check_encoded(config.encoded, pictures, texts, base)
    if job.dry_run:
        message(plan.describe(config, counts))
        return

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
