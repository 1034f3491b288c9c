"""Train a LoRA that paints better faces: pairs of a good and a bad face → lora.safetensors."""

import time

from raypipe.job import Job, run, tell
from raypipe.lora_settings import FaceLora


def face_lora(job: Job[FaceLora]) -> str:
    """The recipe, from pair runs to a finished run directory; returns the directory."""
    from raypipe.directory import RunDirectory

    config, output = job.config, RunDirectory(job.config.output)
    if output.is_finished(config) and not job.dry_run:
        tell(f"already complete: {config.output}")
        return config.output
    output.check(config)

    from raypipe import lora_plan
    from raypipe.models.adapter import check_targets

    started = time.monotonic()
    directory = lora_plan.LoraRun(config.output)
    base = lora_plan.check_base(config)
    directory.check_model(base)
    check_targets(config.model, config.adapter.targets)
    lora_plan.check_inputs(config)
    lora_plan.check_samples(config)
    pictures, texts, counts = lora_plan.plan(config)
    if job.dry_run:
        tell(lora_plan.describe(config, counts))
        return config.output
    if config.encoded is not None:
        lora_plan.check_encoded(config.encoded, pictures, texts, base)
    directory.begin(config, model=base)
    lora_plan.keep_plan(directory, pictures, texts)

    from raypipe.report import sheet
    from raypipe.train import face_lora_results, face_lora_run

    how = {"address": job.address, "verbose": job.verbose, "tell": tell}
    if config.encoded is None:
        face_lora_run.encode(config, directory, **how)
    face_lora_run.train(config, directory, **how)
    results = face_lora_results.results(config, directory.folder, counts)
    directory.write_json("results.json", results)
    seconds = time.monotonic() - started
    manifest = face_lora_run.manifest(config, base, results, seconds)
    page = sheet.render(face_lora_results.sheet(results, directory.folder), manifest)
    directory.folder.write("report.html", page.encode())
    directory.finish(manifest)
    print(face_lora_results.summary(results))
    return config.output


if __name__ == "__main__":
    run(__doc__, FaceLora, face_lora)
