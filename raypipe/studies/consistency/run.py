"""The run directory of the consistency job, and the rules for extending it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from raypipe.config.strict import JobConfig, changes
from raypipe.errors import UserError
from raypipe.storage import schema
from raypipe.storage.directory import BatchFile, RunDirectory, split_batches


class Run(RunDirectory):
    """A consistency run at a path or URI."""

    plan = schema.SAMPLES
    keys = ("model", "sample_id")  # two models may send one text to the same weights
    folders = (*RunDirectory.folders, "images", "embeddings")
    made = ("images", "embeddings", "texts")

    def changed_keys(
        self, before: dict[str, Any], after: dict[str, Any], config: JobConfig
    ) -> list[str]:
        keys = super().changed_keys(before, after, config)
        if after["encoder"][: len(before["encoder"])] != before["encoder"]:
            keys.append("encoder")
        models = {model["name"]: model for model in after["models"]}
        for model in before["models"]:
            if model["name"] in models:
                keys += changes(model, models[model["name"]], f"models.{model['name']}.")
        return keys

    def batch_files(self, config: Any) -> Iterator[BatchFile]:
        from raypipe.studies.consistency import embed, read

        files = embed.embedding_files(self.folder, config.encoder)
        for batch_id, batch in split_batches(self.samples()):
            name = f"images/{batch_id}.parquet"
            yield BatchFile(name, partial(read.check_images, self.folder, name, batch))
            for encoder in config.encoder:
                name = files.of(encoder.name, batch_id)
                check = partial(embed.check_file, self.folder, name, batch, encoder.name)
                yield BatchFile(name, check)

    def new_samples(self, wanted: pa.Table) -> pa.Table:
        """Those of the wanted samples (schema.PLANNED) that were not planned before.

        UserError if the run holds a sample that is no longer wanted: the config asks for fewer, or
        the weights behind a name have changed.
        """
        planned, new, dropped = self.compare(wanted)
        if len(dropped):
            raise UserError(self._why_dropped(planned, wanted, dropped))
        return new

    def finish(self, manifest: dict[str, Any]) -> None:
        """Also deletes the encoded texts: one of PixArt's is as large as its picture."""
        self.folder.delete_folder("texts")
        super().finish(manifest)

    def _why_dropped(self, planned: pa.Table, wanted: pa.Table, dropped: pa.Table) -> str:
        """The reason why planned samples are no longer wanted."""
        for column, what in (("model", "models"), ("prompt", "prompts"), ("seed", "seeds")):
            gone = set(planned[column].unique().to_pylist())
            gone -= set(wanted[column].unique().to_pylist())
            if gone:
                named = ", ".join(str(item)[:60] for item in sorted(gone)[:3])
                return (
                    f"a run can be extended, not cut: {self.uri} holds {what} that this config "
                    f"does not ask for: {named}{' ...' if len(gone) > 3 else ''}"
                )
        names = sorted(dropped["model"].unique().to_pylist())
        return (
            f"the weights or images of {', '.join(names)} are not those that {self.uri} was begun "
            "with; choose another output"
        )
