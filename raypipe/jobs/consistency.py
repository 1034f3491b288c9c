"""Which text-to-image model is more consistent? Prompts × seeds × models → a verdict."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.studies.consistency.run import Run
from raypipe.studies.consistency.settings import Consistency


def consistency(job: Job[Consistency, Run]) -> None:
    from raypipe.studies.consistency import cost, plan, rates, work

    config, run = job.config, job.run
    planned = plan.make_plan(config)
    for warning in planned.warnings:
        message(f"warning: {warning}")
    new = run.new_samples(planned.samples())
    run.check_note("encoders", planned.encoders, "encoder {name}")
    if job.dry_run:
        message(plan.describe(config, planned, len(new)))
        message(cost.describe(config, rates.read_rates(config), cost.missing(run, config, new)))
        return

    job.begin(encoders=planned.encoders)
    if len(new):
        part = run.next_part()
        run.add_samples(plan.batches(new, config, part), part)
    del new  # as large as the run
    work.fill(run, config, work.missing(run, config), job.session)

    from raypipe.studies.consistency import page, pictures, results, scores, summary

    samples = run.samples().drop_columns(["prompt_sent", "source"])
    known = scores.survey(run, samples)
    found, table = results.evaluate(run, config, planned, samples, known)
    html = partial(
        page.render,
        found,
        table,
        thumbnails=pictures.thumbnails(run, config, samples),
        quarantined=known.failed,
        max_prompts=config.report.prompts,
    )
    job.finish(
        found,
        results.manifest(config, planned, known, samples),
        html,
        summary.summary(found),
        {"scores": table},
    )


JOB = Recipe(__doc__, Consistency, Run, consistency)
