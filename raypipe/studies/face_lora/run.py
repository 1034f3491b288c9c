"""The run directory of jobs/face_lora.py, and its two plans: pictures and texts."""

import pyarrow as pa

from raypipe.storage.directory import RunDirectory

PICTURES = pa.schema(
    [
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("run", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("text_id", pa.string(), nullable=False),
    ]
)
"""One row per pair, or general picture, that is encoded: row `row` of a file of a run."""

TEXTS = pa.schema(
    [
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("must_fit", pa.bool_(), nullable=False),
    ]
)
"""One row per text that is encoded; one that must fit the tokenizers is refused where it does not.
The empty text is that of unconditional sampling."""


class LoraRun(RunDirectory):
    """A face_lora run; its plan is the list of pictures."""

    plan = PICTURES
    plan_folder = "pictures"
    plan_folders = ("pictures", "texts")
    keys = ("role", "run", "file", "row")
    folders = ("pictures", "texts", "data", "metrics", "checkpoints", "log")

    def plans(self) -> list[RunDirectory]:
        return [LoraRun(self.uri), TextPlan(self.uri)]


class TextPlan(LoraRun):
    """The same run by its texts."""

    plan = TEXTS
    plan_folder = "texts"
    keys = ("text_id",)
