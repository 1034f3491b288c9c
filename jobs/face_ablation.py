"""Which loss mends faces, and what does it cost elsewhere? Variants × training seeds of a LoRA →
the same pictures by each and by the base → every metric, paired by prompt."""

import time
from dataclasses import replace

from raypipe.ablation_settings import FaceAblation
from raypipe.job import Job, run, tell


def face_ablation(job: Job[FaceAblation]) -> str:
    """The recipe: other jobs, one after the other, each of which goes on where it was stopped."""
    from raypipe.directory import RunDirectory

    config, output = job.config, RunDirectory(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from consistency import consistency  # the jobs beside this file
    from evaluate import evaluate
    from face_lora import face_lora

    from raypipe import ablation
    from raypipe.report import ablation as report
    from raypipe.report import sheet

    started = time.monotonic()
    plan = ablation.make_plan(config)
    if job.dry_run:
        tell(report.describe(plan))
        return config.output
    output.begin(config)
    for number, training in enumerate(plan.trainings, 1):
        tell(f"LoRA {number} of {len(plan.trainings)}: {training.name}")
        face_lora(replace(job, config=training.config))
    for name in ablation.SETS_OF_PROMPTS:
        tell(f"{name}: pictures and scores")
        consistency(replace(job, config=plan.pictures[name]))
        evaluate(replace(job, config=plan.scores[name]))
    results = ablation.results(config, plan)
    output.write_json("results.json", results)
    manifest = ablation.manifest(config, plan, time.monotonic() - started)
    page = sheet.render(report.sheet(results, report.side_by_side(plan)), manifest)
    output.folder.write("report.html", page.encode())
    output.finish(manifest)
    print(report.summary(results))
    return config.output


if __name__ == "__main__":
    run(__doc__, FaceAblation, face_ablation)
