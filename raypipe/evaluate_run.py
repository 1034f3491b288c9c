"""The run directory of jobs/evaluate.py: what of it is there, and what may be added."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raypipe import schema
from raypipe.config import JobConfig, changes
from raypipe.directory import RunDirectory
from raypipe.errors import UserError


class EvaluateRun(RunDirectory):
    """A table of pictures × metrics at a path or URI."""

    plan = schema.EVALUATED
    folders = (*RunDirectory.folders, "scores")

    def _changed(
        self, before: dict[str, Any], after: dict[str, Any], config: JobConfig
    ) -> list[str]:
        keys = super()._changed(before, after, config)
        metrics = {_label(metric): metric for metric in after["metrics"]}
        for metric in before["metrics"]:
            label = _label(metric)
            keys += changes(metric, metrics.get(label), f"metrics.{label}.")
        if before["reference"] is not None:
            keys += changes(before["reference"], after["reference"], "reference.")
        return keys

    def check_weights(self, weights: dict[str, Any]) -> None:
        """Refuse a metric whose weights are not those that its stored scores came from."""
        known = json.loads(self.folder.read("weights.json") or b"{}")
        for label, identity in weights.items():
            if known.get(label, identity) != identity:
                raise UserError(
                    f"the weights of metric {label} are not those that {self.uri} was begun with; "
                    "choose another output"
                )

    def new_pictures(self, wanted: pa.Table) -> pa.Table:
        """Those of the wanted pictures that were not planned before.

        UserError if the run holds one that is no longer wanted: the images have changed.
        """
        planned = self.samples()
        gone = planned.filter(pc.invert(pc.is_in(_keys(planned), _keys(wanted))))
        gone = gone.filter(pc.invert(gone["is_reference"]))
        if len(gone):
            raise UserError(
                f"the images are not those that {self.uri} was begun with: "
                f"{len(gone)} are no longer there, such as {gone['image_id'][0].as_py()}; choose "
                "another output"
            )
        new = wanted.filter(pc.invert(pc.is_in(_keys(wanted), _keys(planned))))
        added = new.filter(pc.invert(new["is_reference"]))
        if len(planned) and len(added):
            raise UserError(
                f"the images are not those that {self.uri} was begun with: {len(added)} are new, "
                f"such as {added['image_id'][0].as_py()}; choose another output"
            )
        return new


def _label(metric: dict[str, Any]) -> str:
    return str(metric["name"] or metric["metric"])


def _keys(pictures: pa.Table) -> pa.ChunkedArray:
    """What tells pictures of a run apart: two models may have made the same picture."""
    kind = pictures["is_reference"].cast(pa.string())
    return pc.binary_join_element_wise(
        kind, pictures["model"], pictures["image_id"], pictures["source"], "\n"
    )
