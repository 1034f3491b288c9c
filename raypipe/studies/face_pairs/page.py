"""The page of a face_pairs run: counts, what was refused, and a contact sheet."""

import io
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from PIL import Image

from raypipe.core.masks import grow
from raypipe.core.regions import crop_for
from raypipe.inputs.codec import decode
from raypipe.inputs.runs import pairs_of, photos_of, tables
from raypipe.report.sheet import Section, Sheet, Strip, Table
from raypipe.report.thumbnail import make_thumbnail
from raypipe.report.words import count, number, share
from raypipe.storage import schema
from raypipe.storage.files import Folder
from raypipe.studies.face_pairs.settings import FacePairs

EXAMPLES = 3
"""Refused pairs shown of each reason."""


def sheet(results: dict[str, Any], folder: Folder, config: FacePairs) -> Sheet:
    """The report of a run in this directory."""
    counts, photos, pairs = (results[key] for key in ("counts", "photos", "pairs"))
    checks = results["checks"]
    near = photos["near_duplicates"]
    return Sheet(
        eyebrow="Face pairs",
        title="Good faces, and the same faces inpainted",
        sentences=[
            f"{count(counts['pairs'], 'pair')} of {count(pairs['faces'], 'face')} in "
            f"{pairs['photos']:,} of {count(counts['photos'], 'photo')}.",
            f"In the stored good crops the detector finds {share(checks['redetected'])} of the "
            f"faces again; {share(checks['identical_outside_mask'])} of the pairs are identical "
            "outside the mask.",
        ],
        facts=[
            ("faces found", f"{photos['faces_found']:,}"),
            ("near-duplicates", f"{near['photos']:,} photos in {count(near['groups'], 'group')}"),
            *((f"{split} pairs", f"{n:,}") for split, n in pairs["by_split"].items()),
        ],
        notes=results["notes"],
        sections=[
            Section("Pairs", tables=_tables(results)),
            Section(
                "Contact sheet",
                "Each photo, its good face, and the bad ones by strength.",
                strips=list(_contacts(folder, config)),
            ),
            Section(
                "Refused",
                "Photos and pairs that were left out, by reason, and some of the pairs.",
                tables=[_refusals(results)],
                strips=list(_examples(folder, config)),
            ),
        ],
    )


def _tables(results: dict[str, Any]) -> list[Table]:
    pairs = results["pairs"]
    by = [
        [f"{what}: {name}", f"{n:,}"]
        for what, key in (("split", "by_split"), ("kind", "by_kind"), ("size", "by_size"))
        for name, n in pairs[key].items()
    ]
    strengths = [
        [f"{row['strength']:g}", f"{row['pairs']:,}", f"{row['refused']:,}", number(row["change"])]
        for row in pairs["by_strength"]
    ]
    return [
        Table(
            ["strength", "pairs", "refused", "change"],
            strengths,
            "Change: mean difference under the mask, in levels of 255",
        ),
        Table(["pairs of", "n"], by),
    ]


def _refusals(results: dict[str, Any]) -> Table:
    rows = [
        [reason, unit, f"{n:,}"]
        for unit in ("photos", "pairs")
        for reason, n in results[unit]["refused"].items()
    ]
    return Table(["reason", "of", "n"], rows)


def _contacts(folder: Folder, config: FacePairs) -> Iterator[Strip]:
    """A strip for each of some faces from all over the run, one file of it at a time."""
    columns = ["photo_id", "face", "status"]
    faces = [
        face
        for name, table in tables(folder, "pairs", columns)
        for face in dict.fromkeys(
            (name, row["photo_id"], row["face"])
            for row in table.to_pylist()
            if row["status"] == schema.OK
        )
    ]
    n = min(config.report.faces, len(faces))
    chosen: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, *face in (faces[i * len(faces) // n] for i in range(n)):
        chosen[name].append(tuple(face))
    for name, here in chosen.items():
        photos = photos_of(folder, name)
        rows = pairs_of(folder, name)
        for photo_id, face in here:
            mine = [
                row
                for row in rows
                if (row["photo_id"], row["face"]) == (photo_id, face) and row["status"] == schema.OK
            ]
            yield _strip(photos[photo_id], mine, config)


def _strip(photo: bytes, pairs: list[dict[str, Any]], config: FacePairs) -> Strip:
    """The photo, its good sides, and the bad ones, each once."""
    first, size = pairs[0], config.report.thumbnail
    pictures = [(make_thumbnail(photo, size), "photo")]
    for kind in dict.fromkeys(pair["kind"] for pair in pairs):
        good = next(pair["good"] for pair in pairs if pair["kind"] == kind)
        pictures.append((_crop(good, first["box"], config), f"good, {kind}"))
    shown = dict.fromkeys((pair["strength"], pair["seed"], pair["bad"]) for pair in pairs)
    pictures += [(_crop(bad, first["box"], config), f"bad, {s:.3g}") for s, _, bad in shown]
    return Strip(f"{first['split']}: {first['caption']}", pictures)


def _examples(folder: Folder, config: FacePairs) -> Iterator[Strip]:
    """A few refused pairs of each reason, the first ones of the run."""
    left: dict[str, int] = defaultdict(lambda: EXAMPLES)
    for name, table in tables(folder, "pairs", ["reason"]):
        if not any(reason and left[reason] for reason in table["reason"].to_pylist()):
            continue
        for row in pairs_of(folder, name):
            if row["reason"] is None or row["bad"] is None or not left[row["reason"]]:
                continue
            left[row["reason"]] -= 1
            yield Strip(
                f"{row['reason']}: {row['kind']}, strength {row['strength']:.3g}",
                [
                    (_crop(row["good"], row["box"], config), "good"),
                    (_crop(row["bad"], row["box"], config), "bad"),
                ],
            )


def _crop(picture: bytes, box: list[float], config: FacePairs) -> bytes:
    """The surroundings of a face, at the size of a thumbnail."""
    image, size = decode(picture), config.report.thumbnail
    x0, y0, x1, y1 = crop_for(grow(box, config.mask.margin), (image.height, image.width), 1, 1.3)
    part = image.crop((x0, y0, x1, y1))
    scale = size / max(part.size)
    part = part.resize(
        (max(1, round(part.width * scale)), max(1, round(part.height * scale))),
        Image.Resampling.BICUBIC,
    )
    buffer = io.BytesIO()
    part.save(buffer, "WEBP", quality=85)
    return buffer.getvalue()
