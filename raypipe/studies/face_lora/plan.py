"""What a face LoRA is trained on: which pairs and general pictures of finished runs, and texts.

All of it is read from the runs' metadata; no picture is opened here.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.config.model import Model
from raypipe.core.ids import content_hash
from raypipe.errors import UserError
from raypipe.inputs.finished import finished
from raypipe.inputs.runs import check_pairs, tables
from raypipe.storage import parquet, schema
from raypipe.storage.directory import batch_numbers
from raypipe.storage.files import Folder
from raypipe.studies.face_lora.run import PICTURES, TEXTS, LoraRun, TextPlan
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.weights.identity import model_identity
from raypipe.weights.locate import locate, pipeline_index

KINDS = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
"""Pipelines whose UNet is trained."""

ROLES = ("train", "validation", "general", "general_validation")
"""What a row is for; batch ids begin with it."""
HELD_BACK = 10
"""One in this many general prompts is for validation."""


def text_id(text: str) -> str:
    """Name of a text in the run's tables."""
    return content_hash({"text": text})


def check_base(config: FaceLora) -> dict[str, Any]:
    """All that determines the base's pictures. UserError for what cannot be trained."""
    kind = pipeline_index(config.model)["_class_name"]
    if kind not in KINDS:
        raise UserError(
            "the base of a face LoRA must be of Stable Diffusion 1.5 or SDXL, for text to image, "
            f"got {kind} (model {config.model.name})"
        )
    channels = pipeline_index(config.model, "unet/config.json").get("in_channels", 4)
    if channels != 4:
        raise UserError(
            f"the UNet of a text-to-image model has 4 channels, got {channels} (model "
            f"{config.model.name})"
        )
    return model_identity(config.model)


def family(model: Model) -> str:
    """Stable Diffusion 1.5 or SDXL, by the model's pipeline."""
    is_xl = "XL" in pipeline_index(model)["_class_name"]
    return "SDXL" if is_xl else "Stable Diffusion 1.5"


def check_inputs(config: FaceLora) -> None:
    """UserError unless all inputs are finished runs, the pairs of one family with the base."""
    check_pairs(config.pairs)
    mine = family(config.model)
    for uri in config.pairs:
        inpainter = finished(uri, "face_pairs", "pairs").config.get("model")
        if inpainter is None:
            continue  # pictures that no model of raypipe's has made
        model = Model.model_validate(inpainter)
        try:
            theirs = family(model)
        except UserError:
            continue  # the model that inpainted them is no longer available
        if theirs != mine:
            raise UserError(
                "the base must be of the family that inpainted the pairs, but "
                f"{config.model.name} is {mine} and {uri} was inpainted by {model.id}, {theirs}"
            )
    if config.keeps:
        assert config.general is not None
        finished(config.general, "consistency", "general")


def check_samples(config: FaceLora) -> None:
    """UserError for a prompt of `samples` that the base's text encoder would cut off.

    A base in a bucket is not checked: its files are only fetched to the workers.
    """
    model = config.model
    assert model.id is not None
    where = locate(model.config or model.id)
    if not config.samples.prompts or "://" in where:
        return
    from transformers import CLIPTokenizer

    revision = model.config_revision if model.config else model.revision
    tokenizer = CLIPTokenizer.from_pretrained(where, subfolder="tokenizer", revision=revision)
    limit = tokenizer.model_max_length
    for prompt in config.samples.prompts:
        length = len(tokenizer(prompt + model.prompt_suffix, verbose=False).input_ids)
        if length > limit:
            raise UserError(
                f"a prompt of samples must have at most {limit} tokens, got {length}: {prompt[:60]}"
            )


def plan(config: FaceLora) -> tuple[pa.Table, pa.Table, dict[str, int]]:
    """PICTURES, TEXTS, and how many rows each role has, with what was left out and why.

    Left out are `refused` pairs, those of an `other kind` or of the split `test`, those without a
    caption, and pictures smaller than those that are trained on (`small`), since nothing is
    enlarged. UserError where nothing is left for a role.
    """
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    texts: dict[str, bool] = {"": False}
    for found in (_pairs(config, counts), _general(config, counts)):
        for role, run, file, row, text in found:
            counts[role] += 1
            texts.setdefault(text, False)
            rows.append(
                {"role": role, "run": run, "file": file, "row": row, "text_id": text_id(text)}
            )
    for role in ROLES if config.keeps else ROLES[:2]:
        if not counts[role]:
            found = (
                ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items())) or "none at all"
            )
            raise UserError(
                f"there must be pictures of {config.size} pixels or more for {role}, got none; "
                f"there are: {found}"
            )
    suffix = config.model.prompt_suffix
    texts |= {prompt + suffix: True for prompt in config.samples.prompts}
    table = [{"text_id": text_id(t), "text": t, "must_fit": fits} for t, fits in texts.items()]
    size = config.pools.encode.batch_size
    return (
        pa.Table.from_pylist(_in_batches(rows, size), schema=PICTURES),
        pa.Table.from_pylist(_in_batches(table, size), schema=TEXTS),
        dict(counts),
    )


def keep_plan(run: LoraRun, pictures: pa.Table, texts: pa.Table) -> None:
    """Write the plan of the encoding, once: from here on it is fixed which rows share a file.

    Raises UserError where the runs no longer hold what was planned.
    """
    for planned, table in ((run, pictures), (TextPlan(run.uri), texts)):
        if not planned.next_part():
            planned.add_samples(table, 0)
            continue
        before = planned.samples().drop_columns(["batch_id"])  # pools may have changed since
        if not before.equals(table.drop_columns(["batch_id"])):
            raise UserError(
                f"the pairs and general pictures are not those that {run.uri} was begun with; "
                "choose another output"
            )


def check_encoded(uri: str, pictures: pa.Table, texts: pa.Table, base: dict[str, Any]) -> None:
    """UserError unless another run has encoded all that is planned, by the same base."""
    source = LoraRun(uri)
    there = set(source.folder.names("data"))
    for run, table in ((source, pictures), (TextPlan(uri), texts)):
        planned = run.samples()
        if not planned.drop_columns(["batch_id"]).equals(table.drop_columns(["batch_id"])):
            raise UserError(
                "encoded must name a run of jobs/face_lora.py with the same pairs, general "
                f"pictures and texts, got {uri}"
            )
        missing = {f"{i}.arrow" for i in planned["batch_id"].to_pylist()} - there
        if missing:
            raise UserError(
                f"encoded must name a run whose pictures are all encoded, but {uri} has "
                f"{len(missing)} files missing"
            )
    source.check_model(base)


def _in_batches(rows: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Rows with their batches: neighbours of one role and file, at most `size`."""
    keys = [f"{row.get('role')}\n{row.get('run')}\n{row.get('file')}" for row in rows]
    for row, number in zip(rows, batch_numbers(np.array(keys), size), strict=True):
        row["batch_id"] = f"{row.get('role', 'text')}-{number:06d}"
    return rows


Found = Iterator[tuple[str, str, str, int, str]]
"""Role, run, file, row in the file, text."""


def _pairs(config: FaceLora, counts: Counter[str]) -> Found:
    columns = ["photo_id", "split", "kind", "caption", "status"]
    for uri in config.pairs:
        folder = Folder(uri)
        for name, pairs in tables(folder, "pairs", columns):
            sizes = ["photo_id", "width", "height"]
            photos = parquet.read(folder, f"photos/{name}", sizes, schema.PHOTOS)
            sides = {p["photo_id"]: (p["width"], p["height"]) for p in photos.to_pylist()}
            for row, pair in enumerate(pairs.to_pylist()):
                reason = _left_out(pair, sides[pair["photo_id"]], config)
                if reason is not None:
                    counts[reason] += 1
                    continue
                text = pair["caption"] + config.model.prompt_suffix
                yield pair["split"], folder.uri, name, row, text


def _left_out(pair: dict[str, Any], sides: tuple[int, int], config: FaceLora) -> str | None:
    """Why a pair is not trained on."""
    if pair["status"] != schema.OK:
        return "refused"
    if pair["split"] == "test":
        return "test"
    if pair["kind"] not in config.kinds:
        return "other kind"
    if not pair["caption"]:
        return "no caption"
    return "small" if min(sides) < config.size else None


def _general(config: FaceLora, counts: Counter[str]) -> Found:
    if not config.keeps:
        return
    assert config.general is not None
    folder = Folder(config.general)
    columns = ["prompt_id", "prompt", "status", "width", "height"]
    files = list(tables(folder, "images", columns))
    prompts = sorted({i for _, table in files for i in table["prompt_id"].to_pylist()})
    held = set(prompts[::HELD_BACK])
    for name, table in files:
        for row, picture in enumerate(table.to_pylist()):
            if picture["status"] != schema.OK:
                counts["refused"] += 1
            elif min(picture["width"], picture["height"]) < config.size:
                counts["small"] += 1
            else:
                role = "general_validation" if picture["prompt_id"] in held else "general"
                text = picture["prompt"] + config.model.prompt_suffix
                yield role, folder.uri, name, row, text


def describe(config: FaceLora, counts: dict[str, int]) -> str:
    """What a run would do, for --dry-run."""
    training, adapter = config.training, config.adapter
    listed = ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items()))
    return (
        f"would train a LoRA of rank {adapter.rank} on {', '.join(adapter.targets)} of "
        f"{config.model.id} for {training.steps:,} steps of {training.batch} pairs at "
        f"{config.size}×{config.size}, {config.loss.name}\n  pictures: {listed}"
    )
