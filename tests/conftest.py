"""What tests share: small real models, made once a session."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's client is imported, later than this

# a busy machine is no reason to fail
settings.register_profile("raypipe", deadline=None)
settings.load_profile("raypipe")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> SimpleNamespace:
    """Directories of tiny models of every family, an encoder, and a LoRA on the SDXL-shaped one."""
    from tests import tiny  # loads torch and diffusers: only for those who need them

    root: Path = tmp_path_factory.mktemp("models")
    sdxl = tiny.sdxl(root / "sdxl")
    return SimpleNamespace(
        sdxl=sdxl,
        sd15=tiny.sd15(root / "sd15"),
        pixart=tiny.pixart(root / "pixart"),
        encoder=tiny.encoder(root / "encoder"),
        lora=tiny.lora(root / "lora", sdxl),
    )
