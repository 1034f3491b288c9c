"""results.json, the manifest and the last lines of jobs/face_pairs.py."""

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from raypipe.config.sections import SPLITS
from raypipe.engine.stage import SECONDS
from raypipe.inputs.runs import batch_files, columns_of, tables
from raypipe.report.words import share
from raypipe.storage import schema
from raypipe.storage.parquet import ParquetFile
from raypipe.storage.provenance import provenance
from raypipe.studies.face_pairs.run import PairRun, SplitPlan
from raypipe.studies.face_pairs.settings import FacePairs

PACKAGES = ("ray", "torch", "diffusers", "transformers", "scikit-image", "numpy", "scipy", "pillow")

COLUMNS = ["photo_id", "split", "face", "kind", "strength", "tags", "change", "status", "reason"]
"""Columns of a pair that the results need: no pictures."""


def results(run: PairRun, config: FacePairs) -> dict[str, Any]:
    """results.json, from the files of the run, one after the other."""
    photos = _photos(run)
    tally = _Tally()
    for _, pairs in tables(run.folder, "pairs", COLUMNS):
        for pair in pairs.to_pylist():
            tally.add(pair)
    checks = columns_of(run.folder, "checks", ["redetected", "identical"])
    refused = dict(tally.refused.most_common())
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "counts": {
            "photos": photos["all"],
            "pairs": tally.pairs,
            "refused": photos["refused"] | refused,
        },
        "photos": photos,
        "pairs": {
            "refused": refused,
            "photos": len(tally.photos),
            "faces": len(tally.faces),
            "by_split": {split: tally.by["split"][split] for split in SPLITS},
            "by_kind": {kind: tally.by["kind"][kind] for kind in config.kinds},
            "by_size": dict(sorted(tally.by["size"].items())),
            "by_strength": [tally.of_strength(strength) for strength in config.strengths],
        },
        "checks": {
            "redetected": _share(checks["redetected"].to_pylist()),
            "identical_outside_mask": _share(checks["identical"].to_pylist()),
        },
        "notes": _notes(tally, config),
    }


class _Tally:
    """Counts of pairs that were not refused, and of reasons."""

    def __init__(self) -> None:
        self.pairs = 0
        self.refused: Counter[str] = Counter()
        self.photos: set[str] = set()
        self.faces: set[tuple[str, int]] = set()
        self.by: dict[str, Counter[str]] = defaultdict(Counter)
        self.made: Counter[float] = Counter()
        self.asked: Counter[float] = Counter()
        self.changes: dict[float, float] = defaultdict(float)

    def add(self, pair: dict[str, Any]) -> None:
        """Count one pair."""
        strength = round(pair["strength"], 6)  # single precision in the table
        self.asked[strength] += 1
        if pair["status"] != schema.OK:
            self.refused[pair["reason"]] += 1
            return
        self.pairs += 1
        self.made[strength] += 1
        self.changes[strength] += pair["change"]
        self.photos.add(pair["photo_id"])
        self.faces.add((pair["photo_id"], pair["face"]))
        self.by["split"][pair["split"]] += 1
        self.by["kind"][pair["kind"]] += 1
        self.by["size"][pair["tags"][1]] += 1

    def of_strength(self, strength: float) -> dict[str, Any]:
        """Counts of one strength; `change` is the mean under the mask, in levels of 255."""
        key = round(float(np.float32(strength)), 6)
        n = self.made[key]
        return {
            "strength": strength,
            "pairs": n,
            "refused": self.asked[key] - n,
            "change": round(self.changes[key] / n, 3) if n else None,
        }


def _photos(run: PairRun) -> dict[str, Any]:
    """Counts of the photos."""
    reasons: Counter[str] = Counter()
    faces = 0
    for _, table in tables(run.folder, "photos", ["reason", "faces"]):
        for row in table.to_pylist():
            faces += len(row["faces"] or [])
            if row["reason"] is not None:
                reasons[row["reason"]] += 1
    splits = SplitPlan(run.uri).samples()
    reasons.update(reason for reason in splits["reason"].to_pylist() if reason is not None)
    groups = Counter(group for group in splits["group"].to_pylist() if group is not None)
    shared = [size for size in groups.values() if size > 1]
    by_split = Counter(splits["split"].to_pylist())
    return {
        "all": len(splits),
        "refused": dict(reasons.most_common()),
        "faces_found": faces,
        "by_split": {split: by_split[split] for split in SPLITS},
        "near_duplicates": {"groups": len(shared), "photos": sum(shared)},
    }


def _share(found: list[bool]) -> dict[str, Any]:
    """A share of pairs; null where there are none."""
    return {"value": sum(found) / len(found) if found else None, "n": len(found)}


def _notes(tally: _Tally, config: FacePairs) -> list[str]:
    notes = [
        f"there are no pairs for {split}: more photos, or another share in splits, would make some"
        for split, share in config.splits.shares.items()
        if share > 0 and not tally.by["split"][split]
    ]
    lost = sum(tally.refused.values())
    if lost > tally.pairs:
        reason, n = tally.refused.most_common(1)[0]
        notes.append(
            f"more pairs were refused ({lost:,}) than made ({tally.pairs:,}), most of them as "
            f"“{reason}” ({n:,}): other strengths or another model may do better"
        )
    return notes


def manifest(
    run: PairRun, config: FacePairs, made_by: dict[str, Any], results: dict[str, Any]
) -> dict[str, Any]:
    return {
        **provenance("face_pairs", PACKAGES),
        "model": {"name": config.model.name, "id": config.model.id, **made_by},
        "inputs": [config.splits.known] if config.splits.known else [],
        "counts": results["counts"],
        "device_seconds": {
            step: round(
                sum(_seconds(run, f"{folder}/{n}") for n in batch_files(run.folder, folder)), 3
            )
            for step, folder in (("look", "photos"), ("inpaint", "pairs"), ("check", "checks"))
        },
    }


def _seconds(run: PairRun, name: str) -> float:
    """Seconds that an actor spent on a batch."""
    metadata = ParquetFile(run.folder, name).metadata.metadata or {}
    return float(metadata.get(SECONDS, 0))


def summary(results: dict[str, Any]) -> str:
    counts, pairs, checks = (results[key] for key in ("counts", "pairs", "checks"))
    lines = [
        f"{counts['pairs']:,} pairs of {pairs['faces']:,} faces in {pairs['photos']:,} of "
        f"{counts['photos']:,} photos",
        "  " + ", ".join(f"{split} {n:,}" for split, n in pairs["by_split"].items()),
        "  " + ", ".join(f"{kind} {n:,}" for kind, n in pairs["by_kind"].items()),
        f"faces found again in the stored good crops: {share(checks['redetected'])}",
        f"identical outside the mask: {share(checks['identical_outside_mask'])}",
    ]
    if counts["refused"]:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in counts["refused"].items())
        lines.append(f"refused: {reasons}")
    return "\n".join([*lines, *results["notes"]])
