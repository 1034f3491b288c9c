"""How a training goes: the config section that every training job has."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from raypipe.config.strict import Strict
from raypipe.config.values import Once, Seed

Decay = Annotated[float, Field(ge=0, lt=1)]


class Training(Strict):
    """Steps, rates and what is kept."""

    steps: int = Field(gt=0, le=10_000_000)
    batch: int = Field(64, ge=1, le=65_536)
    """Rows in a step, whatever the number of workers."""
    micro_batch: int = Field(8, ge=1, le=65_536)
    """Rows in one forward pass; workers share the micro-batches of a step."""
    lr: float = Field(1e-5, gt=0, le=1)
    """AdamW's rate after the warm-up; it falls to zero along a cosine."""
    warmup: int = Field(0, ge=0, le=10_000_000)
    """Steps over which the rate rises."""
    weight_decay: float = Field(0.01, ge=0, le=100)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    clip: float = Field(1.0, gt=0, le=1e9)
    """Largest norm of the gradient."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of a running average of the weights, which is what is validated and kept in their
    place; 0 for none. The first steps decay faster, by (1 + step) / (10 + step)."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the forward pass; weights and the optimiser's state are float32."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    seed: Seed = 0
    validate_every: int = Field(100, ge=1, le=10_000_000)
    """Steps between two validations; the last step is always followed by one."""
    checkpoint_every: int = Field(100, ge=1, le=10_000_000)
    """Steps between two checkpoints; at most so many are repeated after a failure."""
    keep: int = Field(2, ge=1, le=10_000)
    """Newest checkpoints that are kept, beside the best one."""

    @model_validator(mode="after")
    def _micro_fits(self) -> Self:
        if self.micro_batch > self.batch:
            raise ValueError(
                f"micro_batch must not exceed batch, got {self.micro_batch} > {self.batch}"
            )
        return self


def check_workers(training: Training, workers: int) -> None:
    """ValueError unless every worker has a micro-batch of its own."""
    pieces = -(-training.batch // training.micro_batch)
    if pieces < workers:
        raise ValueError(
            "pools.train.max: every worker needs a micro-batch of its own, but a batch of "
            f"{training.batch} has {pieces} of {training.micro_batch} for {workers} workers"
        )


class Adapter(Strict):
    """The LoRA: W becomes W + alpha / rank · B A, with A drawn at random and B zero at first."""

    rank: int = Field(16, ge=1, le=4096)
    alpha: float | None = Field(None, gt=0, le=1e6)
    """None: the rank, so that B A is added unscaled."""
    targets: Annotated[tuple[str, ...], Field(min_length=1), Once] = (
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
    )
    """Ends of the names of the UNet's layers that get one; each must be found."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of A's inputs that are zeroed in training."""
