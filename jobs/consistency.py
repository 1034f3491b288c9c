"""Which text-to-image model is more consistent? Prompts × seeds × models → a verdict."""

import time

from raypipe.job import Job, run, tell
from raypipe.settings import Consistency


def consistency(job: Job[Consistency]) -> str:
    """The recipe, from a config to a finished run directory; returns the directory."""
    from raypipe.run import Run

    config, output = job.config, Run(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe import cost, study
    from raypipe.plan import batches, make_plan
    from raypipe.rates import read_rates
    from raypipe.report import page, terminal
    from raypipe.stages import fill, score

    started = time.monotonic()
    plan = make_plan(config)
    for warning in plan.warnings:
        tell(f"warning: {warning}")
    new = output.new_samples(plan.samples())
    output.check_encoders(plan.encoders)
    if job.dry_run:
        tell(study.describe(config, plan, len(new)))
        tell(cost.describe(config, read_rates(config), cost.missing(output, config, new)))
        return config.output

    output.begin(config, encoders=plan.encoders)
    if len(new):
        part = output.next_part()
        output.add_samples(batches(new, config, part), part)
    del new  # as large as the run
    work = fill.missing(output, config)
    if work.parts:
        fill.fill(output, config, work, address=job.address, verbose=job.verbose, tell=tell)

    samples = output.samples().drop_columns(["prompt_sent", "source"])
    known = score.survey(output, samples)
    results, scores = study.evaluate(output, config, plan, samples, known)
    output.write_table("scores.parquet", scores)
    output.write_json("results.json", results)
    manifest = study.manifest(config, plan, known, samples, time.monotonic() - started)
    html = page.render(
        results,
        scores,
        manifest,
        study.thumbnails(output, config, samples),
        quarantined=known.failed,
        max_prompts=config.report.prompts,
    )
    output.folder.write("report.html", html.encode())
    output.finish(manifest)
    print(terminal.summary(results))
    return config.output


if __name__ == "__main__":
    run(__doc__, Consistency, consistency)
