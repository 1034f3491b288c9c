"""Fine-tune ImageReward to tell good faces from bad ones: pairs → Face Score, and how often it is
right on photos that it has not seen."""

import time

from raypipe.face_settings import FaceScore
from raypipe.job import Job, run, tell


def face_score(job: Job[FaceScore]) -> str:
    """The recipe, from pair runs to a finished run directory; returns the directory."""
    from raypipe.directory import RunDirectory

    config, output = job.config, RunDirectory(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe.train import pairs

    started = time.monotonic()
    pairs.check_runs(config.pairs)
    if job.dry_run:
        tell(
            f"would train {config.start.id} for {config.training.steps:,} steps of "
            f"{config.training.batch} pairs of {', '.join(config.pairs)}"
        )
        return config.output
    output.begin(config)
    counts = pairs.prepare(config.pairs, output.folder, config.kinds)

    from raypipe.report import sheet
    from raypipe.train import face_score_results, face_score_run

    face_score_run.train(config, output, address=job.address, verbose=job.verbose, tell=tell)
    results = face_score_results.results(config, output.folder, counts)
    output.write_json("results.json", results)
    manifest = face_score_run.manifest(config, results, time.monotonic() - started)
    page = sheet.render(face_score_results.sheet(results, output.folder), manifest)
    output.folder.write("report.html", page.encode())
    output.finish(manifest)
    print(face_score_results.summary(results))
    return config.output


if __name__ == "__main__":
    run(__doc__, FaceScore, face_score)
