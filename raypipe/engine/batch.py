"""What follows a stage's work on a batch, on Ray or locally: check, write, log."""

import pyarrow as pa

from raypipe.engine import log
from raypipe.engine.stage import SECONDS, Stage, Step, check_output
from raypipe.storage import parquet, schema
from raypipe.storage.files import Folder


def finish_batch(
    step: Step, stage: Stage, batch_id: str, samples: pa.Table, new: pa.Table, loading_s: float
) -> tuple[pa.Table, int]:
    """Check a stage's output, keep what its file holds, and log the samples that it refused.

    samples: the batch with all its columns so far. new: the stage's. loading_s: seconds that the
    stage took to load, of its first batch. Returns the batch with the new columns, and how many
    samples were refused.
    """
    check_output(step.name, samples, new)
    for column in new.column_names:
        samples = samples.append_column(new.schema.field(column), new[column])
    if step.file is not None:
        seconds = stage.device.taken() + loading_s
        kept = samples if step.keep is None else step.keep(samples)
        kept = kept.replace_schema_metadata({SECONDS: f"{seconds:.4f}"})
        name = step.file.format(batch_id=batch_id)
        parquet.write(Folder(step.uri), name, [kept], kept.schema)
    return samples, _log_quarantined(step.name, new, samples)


def _log_quarantined(step: str, new: pa.Table, samples: pa.Table) -> int:
    """Log each sample that this step found unusable; returns how many."""
    if "status" not in new.column_names:
        return 0
    names = ("sample_id", "model", "prompt_id", "seed", "source", "batch_id", "status", "reason")
    rows = samples.select([name for name in names if name in samples.column_names]).to_pylist()
    failed = [row for row in rows if row["status"] != schema.OK]
    for row in failed:
        log.event("quarantined", step=step, **row)
    return len(failed)
