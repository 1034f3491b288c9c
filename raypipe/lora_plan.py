"""What a face LoRA is trained on: which pairs and general pictures of finished runs, and texts.

All of it is read from the runs' metadata; no picture is opened here.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe import schema
from raypipe.core.ids import content_hash
from raypipe.directory import RunDirectory
from raypipe.errors import UserError
from raypipe.files import Folder
from raypipe.lora_settings import FaceLora
from raypipe.settings import Model
from raypipe.train.pairs import check_runs
from raypipe.weights import locate, model_identity, pipeline_index

KINDS = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
"""Pipelines whose UNet is trained."""

ROLES = ("train", "validation", "general", "general_validation")
"""What a row is for; batch ids begin with it."""
HELD_BACK = 10
"""One in so many general prompts is for validation."""

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
The empty text is what sampling takes for no text."""


class LoraRun(RunDirectory):
    """A face_lora run; its plan is the list of pictures."""

    plan = PICTURES
    plan_folder = "pictures"
    folders = ("pictures", "texts", "data", "metrics", "checkpoints", "log")


class TextPlan(LoraRun):
    """The same run by its texts."""

    plan = TEXTS
    plan_folder = "texts"


def text_id(text: str) -> str:
    """Name of a text in the run's tables."""
    return content_hash({"text": text})


def check_base(config: FaceLora) -> dict[str, Any]:
    """All that determines what the base paints. UserError for what cannot be trained."""
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
    check_runs(config.pairs)
    mine = family(config.model)
    for uri in config.pairs:
        manifest = json.loads(Folder(uri).read("manifest.json") or b"{}")
        painter = manifest.get("config", {}).get("model")
        if painter is None:
            continue
        model = Model.model_validate(painter)
        try:
            theirs = family(model)
        except UserError:
            continue  # what painted them is not to be had any more
        if theirs != mine:
            raise UserError(
                f"the base must be of the family that painted the pairs, but {config.model.name} is"
                f" {mine} and {uri} was painted by {model.id}, {theirs}"
            )
    if config.keeps:
        assert config.general is not None
        folder = Folder(config.general)
        if folder.read("manifest.json") is None or not folder.names("images"):
            raise UserError(
                f"general must name a finished run of jobs/consistency.py, got {config.general}"
            )


def check_samples(config: FaceLora) -> None:
    """UserError for a prompt of `samples` that the base's text encoder would cut off.

    A base in a bucket is not looked into: its files come to the workers only.
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
            told = ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items())) or "none at all"
            raise UserError(
                f"there must be pictures of {config.size} pixels or more for {role}, got none; "
                f"there are: {told}"
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
    """Write what is to be encoded, once: from here on it is fixed which rows share a file.

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
    """UserError unless all that is planned lies encoded in another run, by the same base."""
    source = LoraRun(uri)
    there = set(source.folder.names("data"))
    for run, table in ((source, pictures), (TextPlan(uri), texts)):
        planned = run.samples()
        if not planned.drop_columns(["batch_id"]).equals(table.drop_columns(["batch_id"])):
            raise UserError(
                "encoded must name a run of jobs/face_lora.py with the same pairs, general "
                f"pictures and texts, got {uri}"
            )
        lacking = {f"{i}.arrow" for i in planned["batch_id"].to_pylist()} - there
        if lacking:
            raise UserError(
                f"encoded must name a run whose pictures are all encoded, but {uri} lacks "
                f"{len(lacking)} files of them"
            )
    source.check_model(base)


def _in_batches(rows: list[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """Rows with their batches: neighbours of one role and file, at most `size`."""
    number, inside, before = -1, 0, None
    for row in rows:
        key = row.get("role"), row.get("run"), row.get("file")
        if key != before or inside == size:
            number, inside, before = number + 1, 0, key
        inside += 1
        row["batch_id"] = f"{row.get('role', 'text')}-{number:06d}"
    return rows


Found = Iterator[tuple[str, str, str, int, str]]
"""Role, run, file, row in the file, text."""


def _pairs(config: FaceLora, counts: Counter[str]) -> Found:
    columns = ["photo_id", "split", "kind", "caption", "status"]
    for uri in config.pairs:
        folder = Folder(uri)
        for name in folder.names("pairs"):
            photos = pq.read_table(
                folder.open(f"photos/{name}"), columns=["photo_id", "width", "height"]
            )
            sides = {p["photo_id"]: (p["width"], p["height"]) for p in photos.to_pylist()}
            pairs = pq.read_table(folder.open(f"pairs/{name}"), columns=columns)
            for row, pair in enumerate(pairs.to_pylist()):
                reason = None
                if pair["status"] != schema.OK:
                    reason = "refused"
                elif pair["split"] == "test":
                    reason = "test"
                elif pair["kind"] not in config.kinds:
                    reason = "other kind"
                elif not pair["caption"]:
                    reason = "no caption"
                elif min(sides[pair["photo_id"]]) < config.size:
                    reason = "small"
                if reason is not None:
                    counts[reason] += 1
                    continue
                yield (
                    pair["split"],
                    folder.uri,
                    name,
                    row,
                    pair["caption"] + config.model.prompt_suffix,
                )


def _general(config: FaceLora, counts: Counter[str]) -> Found:
    if not config.keeps:
        return
    assert config.general is not None
    folder = Folder(config.general)
    names = folder.names("images")
    columns = ["prompt_id", "prompt", "status", "width", "height"]
    tables = {n: pq.read_table(folder.open(f"images/{n}"), columns=columns) for n in names}
    prompts = sorted({i for table in tables.values() for i in table["prompt_id"].to_pylist()})
    held = set(prompts[::HELD_BACK])
    for name, table in tables.items():
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
    told = ", ".join(f"{n:,} {name}" for name, n in sorted(counts.items()))
    return (
        f"would train a LoRA of rank {adapter.rank} on {', '.join(adapter.targets)} of "
        f"{config.model.id} for {training.steps:,} steps of {training.batch} pairs at "
        f"{config.size}×{config.size}, {config.loss.name}\n  pictures: {told}"
    )
