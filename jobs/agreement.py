"""Do people agree with each other, and the scores with people? Answers × scores → a report."""

import time

from raypipe.annotate.settings import Agreement
from raypipe.job import Job, run, tell


def agreement(job: Job[Agreement]) -> str:
    """The recipe, from a config to a finished run directory; returns the directory."""
    from raypipe.annotate import agree as parts

    config, output = job.config, parts.AgreementRun(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe.annotate import answers, collect
    from raypipe.annotate import scores as automatic

    started = time.monotonic()
    answered = answers.read(config)
    scores = automatic.read(config, answered)
    if job.dry_run:
        tell(parts.describe(config, answered, scores))
        return config.output
    output.begin(config)

    from raypipe.report import agreement as report
    from raypipe.report import disputed, sheet

    results = parts.results(config, answered, scores)
    decisions = parts.decisions(answered, scores)
    output.write_json("results.json", results)
    output.write_table("decisions.parquet", decisions)
    output.write_table("choices.parquet", collect.choices_table(answered.table))
    manifest = parts.manifest(config, results, time.monotonic() - started)
    page = report.sheet(results, disputed.strips(config, answered, decisions))
    output.folder.write("report.html", sheet.render(page, manifest).encode())
    output.finish(manifest)
    print(report.summary(results))
    return config.output


if __name__ == "__main__":
    run(__doc__, Agreement, agreement)
