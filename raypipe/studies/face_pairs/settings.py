"""The config of jobs/face_pairs.py; importing it loads nothing heavy."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from raypipe.config.inputs import Photos, as_folder
from raypipe.config.model import Model, Sampler
from raypipe.config.networks import Detector
from raypipe.config.paths import FilePath
from raypipe.config.sections import SPLITS, Actors, Pool, Storage
from raypipe.config.strict import JobConfig, Strict
from raypipe.config.values import AnySeed, Seed
from raypipe.config.zoo import fill_config

Strength = Annotated[float, Field(gt=0, le=1)]


class Mask(Strict):
    """What is inpainted, and how much of the photo the model sees."""

    margin: float = Field(0.1, ge=0, le=10)
    """Share of the face's box that is added on each side."""
    feather: float = Field(0.1, ge=0, le=10_000)
    """Width of the soft edge inside the grown box: a share of its shorter side below 1, else
    pixels."""
    context: float = Field(2.0, ge=1, le=100)
    """Side of the square that the model sees, in sides of the grown box."""
    magnify: float = Field(1.0, ge=1, le=100)
    """How many times a small face may be enlarged for the model. At 1 it inpaints small faces
    as badly as in whole pictures; those who repair faces take 4 and more."""


class Splits(Strict):
    """How photos are divided; near-duplicates stay together."""

    train: float = Field(0.8, ge=0, le=1)
    validation: float = Field(0.1, ge=0, le=1)
    test: float = Field(0.1, ge=0, le=1)
    seed: AnySeed = 0
    within: int = Field(15, ge=0, le=100)
    """Bits of 255 in which the perceptual hashes of near-duplicates may differ."""
    known: FilePath | None = None
    """A finished run of this job, whose photos (and their near-duplicates) keep their splits."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError(f"train, validation and test must sum to 1, got {self.shares}")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The expected share of photos of each split."""
        return {name: getattr(self, name) for name in SPLITS}


class PairPools(Strict):
    """Resources of the stages."""

    look: Pool = Pool(batch_size=16)
    """Opens photos and finds faces, and checks the finished pairs; inpainting has the same
    batches of photos."""
    inpaint: Actors = Actors()


class PairReport(Strict):
    """What the page shows."""

    faces: int = Field(24, ge=0, le=10_000)
    """Faces shown with their pairs, from all over the run."""
    thumbnail: int = Field(160, ge=16, le=2048)
    """Longest side of a picture on the page, pixels."""


class FacePairs(JobConfig):
    """jobs/face_pairs.py: photos → faces → the same photos with their faces inpainted."""

    photos: Annotated[Photos, BeforeValidator(as_folder)]
    """A bare path is a folder."""
    model: Model
    """Any checkpoint of Stable Diffusion 1.5 or SDXL, made for inpainting or not."""
    sampler: Sampler = Sampler()
    """Its width and height, which are equal, are what the model sees of a photo."""
    detector: Detector = Detector()
    longest: int = Field(1024, ge=64, le=16_384)
    """Longer photos are reduced to this longest side, pixels."""
    min_face: float = Field(32, ge=1, le=16_384)
    """Shorter side of the smallest face that is inpainted, pixels of the reduced photo."""
    faces: int = Field(4, ge=1, le=1000)
    """Most faces of a photo that are inpainted, the largest ones."""
    mask: Mask = Mask()
    strengths: Annotated[tuple[Strength, ...], Field(min_length=1)] = (0.5, 0.7, 0.9)
    """Every face is inpainted with each: 1 starts from noise alone, less from the noised photo."""
    seeds: (
        Annotated[int, Field(ge=1, le=1000)] | Annotated[tuple[Seed, ...], Field(min_length=1)]
    ) = 1
    """A count (0, 1, ...) or a list; every face is inpainted with each. A face's noise is drawn
    from the seed, the photo and the face's number, so that no two faces share it."""
    kinds: Annotated[
        tuple[Literal["photo", "roundtrip", "generated"], ...], Field(min_length=1)
    ] = ("photo", "roundtrip")
    """What the good side is: the photo, the photo whose face has been through the VAE, or a photo
    that is itself a model's picture (`generated`, which stands alone)."""
    min_change: float = Field(2.0, gt=0, le=255)
    """Pairs that differ by less under the mask, in mean levels of 255, are refused."""
    overlap: float = Field(0.3, gt=0, le=1)
    """A face counts as found again where intersection over union of the boxes is at least this."""
    splits: Splits = Splits()
    storage: Storage = Storage()
    pools: PairPools = PairPools()
    report: PairReport = PairReport()

    @model_validator(mode="before")
    @classmethod
    def _sampler_from_zoo(cls, value: Any) -> Any:
        """The run's `sampler` wins over a zoo model's own."""
        return fill_config(value)

    @field_validator("strengths", "seeds", "kinds")
    @classmethod
    def _distinct(cls, value: Any) -> Any:
        given = value if isinstance(value, tuple) else ()
        twice = sorted({item for item in given if given.count(item) > 1})
        if twice:
            raise ValueError(f"each may be given once only, given twice: {twice[0]}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        sampler = self.sampler_of_model
        if self.model.id is None:
            raise ValueError(f"model {self.model.name} needs an id, got none")
        if sampler.width != sampler.height:
            raise ValueError(
                "the model sees a square, so sampler.width and sampler.height must be equal, got "
                f"{sampler.width}×{sampler.height}"
            )
        if sampler.guidance_interval is not None:
            raise ValueError("inpainting guides in every step: it takes no guidance_interval")
        if self.min_face > self.longest:
            raise ValueError(
                f"min_face must not exceed longest, got {self.min_face:g} > {self.longest}"
            )
        idle = [s for s in self.strengths if int(sampler.steps * s) < 1]
        if idle:
            raise ValueError(
                f"strengths must leave a step of sampler.steps = {sampler.steps}, {idle[0]} does "
                "not"
            )
        if "generated" in self.kinds and len(self.kinds) > 1:
            raise ValueError(f"kind generated stands alone, got {', '.join(self.kinds)}")
        if self.storage.format == "jpeg":
            raise ValueError(
                "pairs are equal to the last bit outside the mask, so storage.format must be png "
                "or webp, got jpeg"
            )
        if self.model.memory.offload != "none" and not self.pools.inpaint.gpus_per_actor:
            raise ValueError("memory.offload needs a GPU (pools.inpaint.gpus_per_actor), got none")
        return self

    @property
    def sampler_of_model(self) -> Sampler:
        """The run's sampler with the model's own keys over it."""
        return Sampler.model_validate({**self.sampler.model_dump(), **self.model.sampler})

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds themselves."""
        return self.seeds if isinstance(self.seeds, tuple) else tuple(range(self.seeds))
