"""Which metric chooses what people choose? Human choices × scores → each metric's accuracy."""

import time

from raypipe.evaluate_settings import Align
from raypipe.job import Job, run, tell


def align(job: Job[Align]) -> str:
    """The recipe, from a config to a finished run directory; returns the directory."""
    from raypipe.directory import RunDirectory

    config, output = job.config, RunDirectory(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe import align as parts

    started = time.monotonic()
    scored = parts.read_scores(config)
    decided = parts.read_pairs(config, scored)
    if job.dry_run:
        tell(parts.describe(config, scored, decided))
        return config.output
    output.begin(config)

    from raypipe.report import align as report
    from raypipe.report import sheet

    results = parts.results(config, scored, decided)
    output.write_json("results.json", results)
    manifest = parts.manifest(config, results, time.monotonic() - started)
    output.folder.write("report.html", sheet.render(report.sheet(results), manifest).encode())
    output.finish(manifest)
    print(report.summary(results))
    return config.output


if __name__ == "__main__":
    run(__doc__, Align, align)
