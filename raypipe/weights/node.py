"""Fetches the weights that a config names to this node, so that all is loaded from local files.

Loading from a hub id would ask the hub for every file, in every actor: so an entry of the config is
replaced by one that names directories, which `raypipe.weights.fetch` has filled once.
"""

from raypipe.config.model import Lora, Model
from raypipe.config.networks import Encoder, Reward
from raypipe.weights.fetch import fetch, fetch_pipeline
from raypipe.weights.locate import CONFIG_SUFFIXES, is_local, locate
from raypipe.weights.single_file import split_hub_file

CONFIGS = [f"*{suffix}" for suffix in sorted(CONFIG_SUFFIXES)]

BERT = "google-bert/bert-base-uncased"
BERT_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"
"""The tokenizer that ImageReward was trained with; no published reward includes it."""

TOKENIZERS = ["vocab.txt", "tokenizer.json", "tokenizer_config.json"]
REWARDS = ["*ImageReward.pt", "*FS_model.pt", "*med_config.json", "model.safetensors"]


def model_on_node(model: Model) -> Model:
    """The model with every id a local path. UserError for what cannot be fetched."""
    assert model.id is not None
    what = f"model {model.name}"
    there: dict[str, object] = {"revision": None}
    if model.config is None:
        there["id"] = fetch_pipeline(model.id, model.revision, model.variant, what)
    else:
        there["id"] = file_on_node(model.id, model.revision, what)
        configs = fetch(
            model.config, model.config_revision, what=f"config of {what}", files=CONFIGS
        )
        there |= {"config": configs, "config_revision": None}
    if model.vae is not None:
        files = ["config.json", "diffusion_pytorch_model*.safetensors"]
        there["vae"] = fetch(model.vae, model.vae_revision, what=f"VAE of {what}", files=files)
        there["vae_revision"] = None
    if model.lora is not None:
        there["lora"] = _lora_on_node(model.lora, what)
    return model.model_copy(update=there)


def encoder_on_node(encoder: Encoder) -> Encoder:
    """The encoder with its directory on this node; a name of a library's is left to it."""
    if "://" in encoder.id:
        return encoder.model_copy(update={"id": fetch(encoder.id, what="the encoder")})
    return encoder


def reward_on_node(reward: Reward) -> Reward:
    """The reward with its directory on this node. UserError for what cannot be fetched."""
    files = [*REWARDS, "config.json", *TOKENIZERS]
    path = fetch(reward.id, reward.revision, what=f"reward {reward.id}", files=files)
    return reward.model_copy(update={"id": path, "revision": None})


def bert_on_node() -> str:
    """The directory of the published rewards' tokenizer. UserError if it cannot be fetched."""
    return fetch(BERT, BERT_REVISION, what="the rewards' tokenizer", files=TOKENIZERS)


def file_on_node(identifier: str, revision: str | None, what: str) -> str:
    """The local path of one file: of a path, a URI, or org/name/FILE on the hub. UserError."""
    where = locate(identifier)
    if is_local(where) or "://" in where:
        return fetch(where, what=what)
    repository, file = split_hub_file(where, what)
    return f"{fetch(repository, revision, what=what, files=[file])}/{file}"


def _lora_on_node(lora: Lora, what: str) -> Lora:
    files = [lora.weight_name] if lora.weight_name else ["*.safetensors"]
    where = locate(lora.id)
    if "://" in where and where.endswith(".safetensors"):
        files = None
    path = fetch(where, lora.revision, what=f"LoRA of {what}", files=files)
    return lora.model_copy(update={"id": path, "revision": None})
