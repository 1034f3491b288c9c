"""How good are pictures, by every metric? Pictures × metrics → a table, and what it says."""

import time

from raypipe.evaluate_settings import Evaluate
from raypipe.job import Job, run, tell


def evaluate(job: Job[Evaluate]) -> str:
    """The recipe, from a config to a finished run directory; returns the directory."""
    from raypipe.evaluate_run import EvaluateRun

    config, output = job.config, EvaluateRun(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe.evaluate_plan import batches, describe, make_plan

    started = time.monotonic()
    plan = make_plan(config)
    new = output.new_pictures(plan.pictures)
    output.check_weights(plan.weights)
    if job.dry_run:
        tell(describe(config, plan, len(new)))
        return config.output
    output.begin(config, weights=plan.weights)
    if len(new):
        part = output.next_part()
        output.add_samples(batches(new, config.pools.read.batch_size, part), part)

    from raypipe import evaluate_results
    from raypipe.report import evaluate as report
    from raypipe.report import sheet
    from raypipe.stages import measure_all

    lacking = measure_all.missing(output, config)
    if lacking:
        measure_all.measure(
            output, config, lacking, address=job.address, verbose=job.verbose, tell=tell
        )
    outcome = evaluate_results.evaluate(output, config, plan)
    output.write_table("scores.parquet", outcome.table)
    output.write_json("results.json", outcome.results)
    manifest = evaluate_results.manifest(config, plan, outcome, time.monotonic() - started)
    shown = report.extremes(output, config, outcome)
    page = sheet.render(report.sheet(outcome.results, shown), manifest)
    output.folder.write("report.html", page.encode())
    output.finish(manifest)
    print(report.summary(outcome.results))
    return config.output


if __name__ == "__main__":
    run(__doc__, Evaluate, evaluate)
