"""Config sections that name existing pictures and photos."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from raypipe.config.paths import FilePath, WeightsId
from raypipe.config.strict import Strict, require_one


def as_folder(value: Any) -> Any:
    return {"folder": value} if isinstance(value, str) else value


class Photos(Strict):
    """Photos with captions: exactly one of the four sources."""

    folder: FilePath | None = None
    """Folder tree of .jpg, .jpeg, .png and .webp files. Captions are in `metadata.jsonl` (a line
    {"file_name": …, "caption": …} each) or beside a photo in a .txt file of its name."""
    parquet: FilePath | None = None
    """File or directory of Parquet with a column of encoded pictures."""
    huggingface: WeightsId | None = None
    """Id or path of a data set."""
    shards: FilePath | None = None
    """WebDataset: a .tar file, or a folder of them. Files of one stem belong together: the photo,
    and a .txt or .json with its caption."""
    revision: str | None = None
    split: str = "train"
    """Of the data set."""
    image: str = "image"
    """Column of the pictures."""
    captions: tuple[str, ...] = ("caption", "text")
    """Names of the caption's column, or key in JSON: the first one that is there."""
    default_caption: str | None = None
    """Caption of photos that have none; None: they are refused."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        require_one(self, ("folder", "parquet", "huggingface", "shards"))
        return self


class Images(Strict):
    """Pictures that exist already: exactly one of the three sources."""

    folder: FilePath | None = None
    """Root of <root>/<model>/<prompt>/<seed>.(png|jpg|jpeg|webp)."""
    parquet: FilePath | None = None
    """File or directory of Parquet with columns model, prompt, seed, image (encoded bytes)."""
    huggingface: WeightsId | None = None
    """Id or path of a data set whose rows hold model, prompt, seed and image."""
    revision: str | None = None
    split: str = "train"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        require_one(self, ("folder", "parquet", "huggingface"))
        return self


ExistingImages = Annotated[Images | None, BeforeValidator(as_folder)]
"""Pictures that exist; a bare path is a folder."""
