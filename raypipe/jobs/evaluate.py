"""How good are pictures, by every metric? Pictures × metrics → a table, and comparisons."""

from functools import partial

from raypipe.console import message
from raypipe.job import Job, Recipe
from raypipe.studies.evaluate.run import EvaluateRun
from raypipe.studies.evaluate.settings import Evaluate


def evaluate(job: Job[Evaluate, EvaluateRun]) -> None:
    from raypipe.studies.evaluate import plan

    config, run = job.config, job.run
    planned = plan.make_plan(config)
    new = run.new_pictures(planned.pictures)
    run.check_note("weights", planned.weights, "metric {name}")
    if job.dry_run:
        message(plan.describe(config, planned, len(new)))
        return

    job.begin(weights=planned.weights)
    if len(new):
        part = run.next_part()
        run.add_samples(plan.batches(new, config.pools.read.batch_size, part), part)

    from raypipe.report import sheet
    from raypipe.studies.evaluate import page, results, work

    work.measure(run, config, work.missing(run, config), job.session)
    outcome = results.evaluate(run, config, planned)
    shown = page.extremes(run, config, outcome)
    job.finish(
        outcome.results,
        results.manifest(config, planned, outcome),
        partial(sheet.render, page.sheet(outcome.results, shown)),
        page.summary(outcome.results),
        {"scores": outcome.table},
    )


JOB = Recipe(__doc__, Evaluate, EvaluateRun, evaluate)
