"""The miniature world: a renderer, and small models trained on it, in the real formats."""

from pathlib import Path

MODELS = ("sdxl", "pixart", "sd15", "clip", "lora", "reward")


def path(name: str) -> Path:
    """The directory of a model that comes with the package: `miniature/sdxl` is `path("sdxl")`.

    Raises ValueError, naming those there are.
    """
    if name not in MODELS:
        raise ValueError(f"miniature models are {', '.join(MODELS)}; got {name!r}")
    return Path(__file__).parent / "weights" / name
