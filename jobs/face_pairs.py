"""Photos → faces → the same photos with their faces painted anew: pairs of a good and a bad face,
which jobs/face_score.py learns from."""

import time

from raypipe.job import Job, run, tell
from raypipe.pair_settings import FacePairs


def face_pairs(job: Job[FacePairs]) -> str:
    """The recipe, from photos to a finished run directory; returns the directory."""
    from raypipe.directory import RunDirectory

    config, output = job.config, RunDirectory(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe import pair_results, pair_run
    from raypipe.report import face_pairs, sheet

    started = time.monotonic()
    directory = pair_run.PairRun(config.output)
    made_by = pair_run.identity(config)
    directory.check_model(made_by)
    pair_run.known_splits(config.splits.known)
    photos = pair_run.plan_photos(directory, config)
    if job.dry_run:
        tell(pair_run.describe(config, photos))
        return config.output

    directory.begin(config, model=made_by)
    if not directory.next_part():
        directory.add_samples(photos, 0)
    del photos  # as large as the run
    how = {"address": job.address, "verbose": job.verbose, "tell": tell}
    pair_run.look(directory, config, **how)
    pair_run.assign_splits(directory, config)
    pair_run.paint(directory, config, made_by, **how)

    results = pair_results.results(directory, config)
    directory.write_json("results.json", results)
    seconds = time.monotonic() - started
    manifest = pair_results.manifest(directory, config, made_by, results, seconds)
    page = sheet.render(face_pairs.sheet(results, directory.folder, config), manifest)
    directory.folder.write("report.html", page.encode())
    directory.finish(manifest)
    print(pair_results.summary(results))
    return config.output


if __name__ == "__main__":
    run(__doc__, FacePairs, face_pairs)
