"""The run directory of jobs/evaluate.py, and the rules for extending it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe.config.strict import JobConfig, changes
from raypipe.errors import UserError
from raypipe.storage import schema
from raypipe.storage.directory import BatchFile, RunDirectory, split_batches


class EvaluateRun(RunDirectory):
    """A table of pictures × metrics at a path or URI."""

    plan = schema.EVALUATED
    keys = ("is_reference", "model", "image_id", "source")  # two models may share a picture
    folders = (*RunDirectory.folders, "scores")
    made = ("scores",)

    def changed_keys(
        self, before: dict[str, Any], after: dict[str, Any], config: JobConfig
    ) -> list[str]:
        keys = super().changed_keys(before, after, config)
        metrics = {_label(metric): metric for metric in after["metrics"]}
        for metric in before["metrics"]:
            label = _label(metric)
            keys += changes(metric, metrics.get(label), f"metrics.{label}.")
        if before["reference"] is not None:
            keys += changes(before["reference"], after["reference"], "reference.")
        return keys

    def batch_files(self, config: Any) -> Iterator[BatchFile]:
        from raypipe.studies.evaluate.measure import check_file, score_files
        from raypipe.studies.evaluate.work import wanted

        files = score_files(self.folder, config.metrics)
        for batch_id, batch in split_batches(self.samples()):
            for metric in wanted(config, batch["is_reference"][0].as_py()):
                name = files.of(metric.label, batch_id)
                yield BatchFile(name, partial(check_file, self.folder, name, batch, metric))

    def new_pictures(self, wanted: pa.Table) -> pa.Table:
        """Those of the wanted pictures that were not planned before.

        UserError if the run holds one that is no longer wanted: the images have changed.
        """
        planned, new, dropped = self.compare(wanted)
        gone = dropped.filter(pc.invert(dropped["is_reference"]))
        added = new.filter(pc.invert(new["is_reference"]))
        if len(gone):
            raise UserError(self._changed(gone, "are no longer there"))
        if len(planned) and len(added):
            raise UserError(self._changed(added, "are new"))
        return new

    def _changed(self, pictures: pa.Table, how: str) -> str:
        return (
            f"the images are not those that {self.uri} was begun with: {len(pictures)} {how}, "
            f"such as {pictures['image_id'][0].as_py()}; choose another output"
        )


def _label(metric: dict[str, Any]) -> str:
    return str(metric["name"] or metric["metric"])
