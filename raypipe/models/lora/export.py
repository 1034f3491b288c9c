"""A trained LoRA as files that other programs take: diffusers' layout, kohya's, a model card."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import yaml
from safetensors.torch import save as to_bytes

from raypipe.models.lora.file import Layer
from raypipe.models.lora.ldm_names import unet_name
from raypipe.storage.files import Folder

DIFFUSERS = "lora.safetensors"
KOHYA = "lora_kohya.safetensors"
CARD = "README.md"


@dataclass(frozen=True)
class LoraFacts:
    """How the LoRA was made, as the files report it."""

    base: str
    """Id of the model that it was trained on."""
    revision: str | None
    """The base's commit, tag or branch; None where it has none."""
    family: str
    """Class of the base's pipeline: a key of FAMILIES."""
    pairs: tuple[str, ...]
    """Runs of jobs/face_pairs.py that it was trained on."""
    loss: str
    steps: int
    rank: int
    licence: str
    """Of the LoRA: an identifier (`openrail++`), or a name in words."""
    trained_on: int
    """Number of pairs."""
    weights_hash: str
    """Which weights of the base, as `raypipe.weights.locate.fingerprint` names them."""

    @property
    def title(self) -> str:
        """What lists of models show."""
        return f"Face LoRA for {self.base} ({self.loss} loss)"


@dataclass(frozen=True)
class _Family:
    """What other programs call a family of models."""

    architecture: str
    """ModelSpec's name."""
    version: str
    """Kohya's name."""
    names: str
    """ModelSpec's name of the code after which kohya's layout calls its layers."""
    tag: str
    """The Hugging Face hub's."""


FAMILIES = {
    "StableDiffusionPipeline": _Family(
        "stable-diffusion-v1", "sd_v1", "diffusers", "stable-diffusion"
    ),
    "StableDiffusionXLPipeline": _Family(
        "stable-diffusion-xl-v1-base",
        "sdxl_base_v1-0",
        "https://github.com/Stability-AI/generative-models",
        "stable-diffusion-xl",
    ),
}


def save(
    folder: Folder, layers: Mapping[str, Layer], facts: LoraFacts, unet_config: Mapping[str, Any]
) -> None:
    """Write `lora.safetensors`, `lora_kohya.safetensors` and `README.md`.

    layers: by the path of the UNet's module that each changes, all of facts.rank; they are written
    in their own precision.
    unet_config: the UNet's `config`: kohya's names of SDXL's layers count its blocks.
    UserError where the folder cannot be written.
    """
    assert facts.family in FAMILIES, f"not a family of LoRAs: {facts.family}"
    ranks = {len(layer.down) for layer in layers.values()}
    assert ranks == {facts.rank}, f"layers of rank {ranks} where the facts have {facts.rank}"
    family = FAMILIES[facts.family]
    plain = dict(_diffusers_tensors(layers))
    kohya = dict(_kohya_tensors(layers, facts, unet_config))
    assert len(plain) == 2 * len(layers), "two layers of one name"
    assert len(kohya) == 3 * len(layers), "two layers of one name"
    folder.write(DIFFUSERS, _with_header(plain, facts, {"modelspec.implementation": "diffusers"}))
    kohya_keys = {"modelspec.implementation": family.names, **_kohya_metadata(kohya, facts)}
    folder.write(KOHYA, _with_header(kohya, facts, kohya_keys))
    folder.write(CARD, model_card(facts).encode())


def _diffusers_tensors(layers: Mapping[str, Layer]) -> Iterator[tuple[str, torch.Tensor]]:
    """Keys and tensors as diffusers writes them: the layer's path, then peft's name of the matrix.

    Diffusers' older names exist for attention layers only, and of a file with both kinds its loader
    drops one without an error. No alpha: both take it for the rank.
    """
    for path, layer in layers.items():
        yield f"unet.{path}.lora_A.weight", _stored(layer.down)
        yield f"unet.{path}.lora_B.weight", _stored(layer.up)


def _kohya_tensors(
    layers: Mapping[str, Layer], facts: LoraFacts, unet_config: Mapping[str, Any]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Keys and tensors as kohya's trainer names them; `up` contains alpha, so it is the rank."""
    for path, layer in layers.items():
        name = kohya_name(path, facts.family, unet_config)
        yield f"{name}.lora_down.weight", _stored(layer.down)
        yield f"{name}.lora_up.weight", _stored(layer.up)
        yield f"{name}.alpha", torch.tensor(float(facts.rank))


def kohya_name(path: str, family: str, unet_config: Mapping[str, Any]) -> str:
    """Kohya's name of a UNet's layer: SD 1.x by diffusers' path, SDXL by the original code's."""
    if family == "StableDiffusionXLPipeline":
        kinds = unet_config["up_block_types"]
        attention = path.startswith("up_blocks.") and "Attn" in kinds[int(path.split(".")[1])]
        path = unet_name(path, unet_config["layers_per_block"], attention)
    return f"lora_unet_{path.replace('.', '_')}"


def _stored(matrix: torch.Tensor) -> torch.Tensor:
    return matrix.detach().cpu().contiguous()


def _with_header(
    tensors: Mapping[str, torch.Tensor], facts: LoraFacts, more: Mapping[str, str]
) -> bytes:
    """A safetensors file with the facts in its header, under ModelSpec's keys and under raypipe's.

    Source: github.com/Stability-AI/ModelSpec 1.0.0; `ARCHITECTURE/lora` as kohya's trainer has it.
    """
    described = f"Trained for {facts.steps} steps on {facts.trained_on} pairs of good and bad faces"
    metadata = {
        "format": "pt",
        **{
            f"raypipe.{key}": value if isinstance(value, str) else json.dumps(value)
            for key, value in asdict(facts).items()
            if value is not None
        },
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{FAMILIES[facts.family].architecture}/lora",
        "modelspec.title": facts.title,
        "modelspec.description": f"{described}, with the loss {facts.loss}.",
        "modelspec.license": facts.licence,
        "modelspec.hash_sha256": f"0x{_content_hash(tensors)}",
    }
    return to_bytes(dict(tensors), {**metadata, **more})


def _kohya_metadata(tensors: Mapping[str, torch.Tensor], facts: LoraFacts) -> dict[str, str]:
    """What kohya's trainer writes, where it applies. Source: its train_network.py."""
    return {
        "ss_sd_model_name": facts.base,
        "ss_base_model_version": FAMILIES[facts.family].version,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(facts.rank),
        "ss_network_alpha": str(float(facts.rank)),
        "ss_steps": str(facts.steps),
        "sshs_model_hash": _content_hash(tensors),
    }


def _content_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of everything after the header."""
    data = memoryview(to_bytes(dict(tensors)))
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def model_card(facts: LoraFacts) -> str:
    """The model card, with the front matter that the Hugging Face hub reads, from the facts alone.

    A licence that is not an identifier becomes the hub's `other` with a name.
    """
    identifier = not any(letter.isspace() or letter.isupper() for letter in facts.licence)
    licence = {"license": facts.licence}
    if not identifier:
        licence = {"license": "other", "license_name": facts.licence}
    front = {
        "base_model": facts.base,
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        **licence,
        "tags": ["text-to-image", "lora", "diffusers", FAMILIES[facts.family].tag],
    }
    revision = {} if facts.revision is None else {"revision": facts.revision}
    entry = {"name": "face-lora", "id": facts.base, **revision, "lora": {"id": f"./{DIFFUSERS}"}}
    return _CARD.format(
        front=_yaml(front),
        title=facts.title,
        base=facts.base,
        at="" if facts.revision is None else f" at revision `{facts.revision}`",
        family=facts.family,
        weights=facts.weights_hash,
        pairs="\n".join(f"  - `{pairs}`" for pairs in facts.pairs),
        trained_on=facts.trained_on,
        loss=facts.loss,
        steps=facts.steps,
        rank=facts.rank,
        licence=facts.licence,
        diffusers=_loading(facts),
        entry=_yaml({"models": [entry]}),
    )


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()


def _loading(facts: LoraFacts) -> str:
    """Lines of Python that load it with diffusers; `miniature/NAME` is a directory of raypipe's."""
    where, lines = repr(facts.base), [f"from diffusers import {facts.family}"]
    if facts.base.startswith("miniature/"):
        where = f"locate({where})"
        lines.append("from raypipe.weights.locate import locate")
    revision = "" if facts.revision is None else f", revision={facts.revision!r}"
    return "\n".join(
        [
            *lines,
            "",
            f"pipe = {facts.family}.from_pretrained({where}{revision})",
            f'pipe.load_lora_weights(".", weight_name="{DIFFUSERS}")',
        ]
    )


_CARD = """---
{front}
---

# {title}

A LoRA on the UNet that is meant to make better faces. It was trained on pairs of a picture with a
good face and the same picture with the face inpainted.

- base model: `{base}`{at}, a `{family}`
- the base's weights: `{weights}`
- pairs: {trained_on}, from
{pairs}
- loss: {loss}
- steps: {steps}
- rank: {rank}; alpha is in the weights, so a scale of 1 is the strength that was trained
- licence: {licence}

## Files

`lora.safetensors` is for diffusers and raypipe, `lora_kohya.safetensors` holds the same layers by
the names of kohya's trainer, for programs that read those. Both have these facts in their headers.

## How to load it

In diffusers, from this folder:

```python
{diffusers}
```

As a model of a raypipe config:

```yaml
{entry}
```

## Limits

It was trained for the base model above; on others of its kind it is untested. Faces unlike those
of the pairs may gain nothing or get worse. Its effect on faces and on pictures without one is not
reported here: raypipe's `jobs/evaluate.py` measures both, against the base model with the same
prompts and seeds. The base model's own limits and licence apply as well.
"""
