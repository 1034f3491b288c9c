"""The Arrow schema of every table that a run directory holds. Column names live only here.

`image` is always an encoded picture (PNG, WebP or JPEG bytes), never an array of floats.
"""

import pyarrow as pa

SCHEMA_VERSION = 2
"""Version of `results.json` and of the tables below."""

SAMPLES = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("prompt_sent", pa.string(), nullable=False),
        pa.field("source", pa.string()),
    ]
)
"""What a run consists of, written before anything is computed; one row per sample.

`prompt` is what pairs a sample across models; `prompt_sent` is the text the model was given (with
the model's suffix); `source` names the picture where it exists already, and is null where it is to
be generated.
"""

PLANNED = SAMPLES.remove(SAMPLES.get_field_index("batch_id"))
"""A sample before it has a batch."""

IMAGES = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("image", pa.binary()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("device", pa.string()),
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One row per sample; `status` is `ok` or `quarantined`, with the `reason`."""

SCORES = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("encoder", pa.string(), nullable=False),
        pa.field("scs", pa.float64()),
        pa.field("scs_se", pa.float64()),
        pa.field("n_images", pa.int32(), nullable=False),
        pa.field("medoid_sample_id", pa.string()),
        pa.field("outlier_sample_id", pa.string()),
        pa.field("clip_score", pa.float64()),
        pa.field("reason", pa.string()),
    ]
)
"""One row per (model, prompt, encoder); `scs` is null, with a reason, under two usable images."""

SOURCES = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("batch_id", pa.string(), nullable=False),
    ]
)
"""What a face_pairs run consists of, written before any photo is opened; one row per photo."""

PHOTOS = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("image", pa.binary()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("hash", pa.list_(pa.uint64(), 4)),
        pa.field(
            "faces",
            pa.list_(
                pa.struct(
                    [
                        pa.field("box", pa.list_(pa.float32(), 4)),
                        pa.field("confidence", pa.float32()),
                        pa.field("neighbours", pa.int32()),
                    ]
                )
            ),
        ),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One row per photo of a face_pairs run: upright, at most `longest` pixels, encoded losslessly.

`photo_id` is a hash of the photo's own bytes; boxes are x0, y0, x1, y1 in pixels of `image`;
`hash` is the perceptual hash by which near-duplicates are found.
"""

SPLITS = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("group", pa.int64()),
        pa.field("split", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""Where each photo of a face_pairs run belongs, in the order and the batches of SOURCES.

`group` is shared by near-duplicates, and null for a photo without a face to inpaint. `split` is
null too where `reason` explains why a photo with a face makes no pairs.
"""

PAIRS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("face", pa.int32(), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("caption", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("strength", pa.float32(), nullable=False),
        pa.field("margin", pa.float32(), nullable=False),
        pa.field("feather", pa.float32(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("good", pa.binary()),
        pa.field("bad", pa.binary()),
        pa.field("change", pa.float32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One row per pair of a face_pairs run, refused ones (`quarantined`) with their reason.

`good` and `bad` are encoded pictures of the photo's size, equal to the last bit outside the mask
that `box`, `margin` and `feather` define (raypipe.core.masks). `kind` is what the good side has
been through: `photo` nothing (`good` is null: the photo itself), `roundtrip` the VAE, `generated`
that the photo is itself a model's picture. `change` is raypipe.core.masks.change between them.
"""

CHECKS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("redetected", pa.bool_(), nullable=False),
        pa.field("identical", pa.bool_(), nullable=False),
    ]
)
"""One row per pair that was not refused, from its stored pictures, read back.

`redetected`: the detector finds the good face again in the crop around it; `identical`: photo, good
and bad picture are equal outside the mask.
"""

EVALUATED = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4)),
        pa.field("is_reference", pa.bool_(), nullable=False),
        pa.field("batch_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""One row per picture that jobs/evaluate.py scores, reference sets included.

`image_id` is what people's choices refer to; `model` is a side (`good` or `bad`) for a pair's
picture. `prompt_id` and `seed` pair pictures across models, `photo_id` names their cluster: the
source photo, else the prompt. `box` is the face that a pair is about. `source` is what
`raypipe.studies.evaluate.read` opens.
"""

TABLE = pa.schema(
    [
        *(EVALUATED.field(n) for n in ("image_id", "model", "prompt_id", "prompt", "seed")),
        EVALUATED.field("photo_id"),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""First columns of `scores.parquet` of jobs/evaluate.py, one row per picture.

After them stand two for each metric: its name, with the score (null where there is none), and
`NAME.reason`, why there is none. `status` and `reason` are the picture's own.
"""

MEASURED = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One metric's scores of a batch of pictures: a file of `scores/`."""

FACES = pa.list_(
    pa.struct(
        [
            pa.field("box", pa.list_(pa.float32(), 4)),
            pa.field("confidence", pa.float32()),
            pa.field("score", pa.float64()),
        ]
    )
)
"""Type of the further column `faces` of a metric of faces, the largest face first."""


def measured(reads: str) -> pa.Schema:
    """Columns of a metric's file: MEASURED, with `faces`, or a `feature` that is compared later."""
    if reads == "face":
        return MEASURED.append(pa.field("faces", FACES))
    if reads in ("set", "prompt"):
        return MEASURED.append(pa.field("feature", pa.list_(pa.float32())))
    return MEASURED


OK = "ok"
QUARANTINED = "quarantined"


def embeddings(dim: int) -> pa.Schema:
    """Schema of `embeddings/`: unit-length vectors of `dim` float32.

    `clip_score` is 100·max(cos(image, prompt), 0), null for an encoder that reads no text.
    """
    return pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("encoder", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim)),
            pa.field("clip_score", pa.float32()),
        ]
    )


CHOICES = pa.schema(
    [
        pa.field("left_id", pa.string(), nullable=False),
        pa.field("right_id", pa.string(), nullable=False),
        pa.field("choice", pa.string(), nullable=False),
        pa.field("annotator", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("photo_id", pa.string()),
        pa.field("subset", pa.string()),
    ]
)
"""One answer of a person who saw two pictures: `choice` is left, right or tie.

`photo_id` names the cluster that pairs share (answers about it depend on each other); `subset` is
any part of the data that is to have an accuracy of its own.
"""

DECIDED = pa.schema(
    [
        *(CHOICES.field(name) for name in ("left_id", "right_id", "choice", "prompt")),
        pa.field("photo_id", pa.string(), nullable=False),
        CHOICES.field("subset"),
        *(
            pa.field(f"votes_{choice}", pa.int64(), nullable=False)
            for choice in ("left", "right", "tie")
        ),
    ]
)
"""One pair of pictures with the majority's choice; left_id is the smaller of the two."""

QUESTIONS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("repeat_of", pa.string()),
        pa.field("a_id", pa.string(), nullable=False),
        pa.field("b_id", pa.string()),
        pa.field("a_picture", pa.string(), nullable=False),
        pa.field("b_picture", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("subset", pa.string()),
        pa.field("expected", pa.string()),
    ]
)
"""One row per question that people are asked about two things, or (`rate`) about one.

`kind` is `grid`, `pair` or `rate`; `role` is `question`, `repeat` (of `repeat_of`), `check`, whose
answer is `expected`, or `example`, which is shown and not asked. `a_id` and `b_id` name what is
compared: MODEL/PROMPT_ID for a grid, a picture's id in jobs/evaluate.py otherwise. `a_picture` and
`b_picture` name files of `pictures/`; neither they nor `question_id` reveal the model.
"""

ANSWERS = pa.schema(
    [
        pa.field("annotator", pa.string(), nullable=False),
        *(QUESTIONS.field(n) for n in ("question_id", "kind", "role", "repeat_of")),
        *(QUESTIONS.field(n) for n in ("a_id", "b_id", "prompt", "photo_id", "subset", "expected")),
        pa.field("choice", pa.string(), nullable=False),
        pa.field("swapped", pa.bool_(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("changes", pa.int32(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("answered_at", pa.string(), nullable=False),
    ]
)
"""One row per annotator and question: what jobs/annotate.py has collected.

`choice` is `a`, `b` or `tie` between two things, `1` to `5` or `none` for a rating; `swapped` is
true where b was shown first. `position` counts from 0 in the annotator's own order, `changes` how
often the answer was changed, `seconds` the time for which the question was shown.
"""
