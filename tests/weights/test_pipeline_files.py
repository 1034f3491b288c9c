"""Of everything in a pipeline's repository, what is loaded, for layouts as they are on the hub."""

import pytest

from raypipe.weights.pipeline_files import pipeline_files


def listing(text: str) -> list[str]:
    """Names from lines of `folder: file file ...`."""
    names = []
    for line in text.strip().splitlines():
        folder, _, inside = line.strip().partition(": ")
        names += [name if folder == "." else f"{folder}/{name}" for name in inside.split()]
    return names


SDXL = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.19.0.dev0",
    "force_zeros_for_empty_prompt": True,
    "add_watermarker": None,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SDXL_FILES = listing("""
.: .gitattributes LICENSE.md README.md model_index.json sd_xl_base_1.0.safetensors
.: sd_xl_base_1.0_0.9vae.safetensors sd_xl_offset_example-lora_1.0.safetensors 01.png
scheduler: scheduler_config.json
text_encoder: config.json flax_model.msgpack model.fp16.safetensors model.onnx model.safetensors
text_encoder: openvino_model.bin openvino_model.xml
text_encoder_2: config.json flax_model.msgpack model.fp16.safetensors model.onnx model.onnx_data
text_encoder_2: model.safetensors openvino_model.bin openvino_model.xml
tokenizer: merges.txt special_tokens_map.json tokenizer_config.json vocab.json
tokenizer_2: merges.txt special_tokens_map.json tokenizer_config.json vocab.json
unet: config.json diffusion_flax_model.msgpack diffusion_pytorch_model.fp16.safetensors
unet: diffusion_pytorch_model.safetensors model.onnx model.onnx_data openvino_model.bin
unet: openvino_model.xml
vae: config.json diffusion_flax_model.msgpack diffusion_pytorch_model.fp16.safetensors
vae: diffusion_pytorch_model.safetensors
vae_1_0: config.json diffusion_pytorch_model.fp16.safetensors diffusion_pytorch_model.safetensors
vae_decoder: config.json model.onnx openvino_model.bin openvino_model.xml
""")
SDXL_CONFIGS = listing("""
.: model_index.json
scheduler: scheduler_config.json
tokenizer: merges.txt special_tokens_map.json tokenizer_config.json vocab.json
tokenizer_2: merges.txt special_tokens_map.json tokenizer_config.json vocab.json
text_encoder: config.json
text_encoder_2: config.json
unet: config.json
vae: config.json
""")

PIXART = {
    "_class_name": "PixArtAlphaPipeline",
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
PIXART_LOADED = listing("""
.: model_index.json
scheduler: scheduler_config.json
text_encoder: config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors
text_encoder: model.safetensors.index.json
tokenizer: added_tokens.json special_tokens_map.json spiece.model tokenizer_config.json
transformer: config.json diffusion_pytorch_model.safetensors
vae: config.json diffusion_pytorch_model.safetensors
""")
PIXART_FILES = PIXART_LOADED + listing("""
.: .gitattributes README.md PixArt-XL-2-1024-MS.pth
text_encoder: pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin
text_encoder: pytorch_model.bin.index.json
transformer: diffusion_pytorch_model.bin
vae: diffusion_pytorch_model.bin
""")

SD15 = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
SD15_FILES = listing("""
.: model_index.json v1-5-pruned.ckpt v1-5-pruned-emaonly.safetensors v1-inference.yaml
feature_extractor: preprocessor_config.json
safety_checker: config.json model.fp16.safetensors model.safetensors pytorch_model.bin
safety_checker: pytorch_model.fp16.bin
unet: config.json diffusion_pytorch_model.bin diffusion_pytorch_model.fp16.safetensors
unet: diffusion_pytorch_model.non_ema.safetensors diffusion_pytorch_model.safetensors
unet: diffusion_pytorch_model.non_ema.bin
""")


@pytest.mark.parametrize(("variant", "tag"), [(None, ""), ("fp16", ".fp16")])
def test_sdxl(variant, tag):
    weights = listing(f"""
    text_encoder: model{tag}.safetensors
    text_encoder_2: model{tag}.safetensors
    unet: diffusion_pytorch_model{tag}.safetensors
    vae: diffusion_pytorch_model{tag}.safetensors
    """)
    assert pipeline_files(SDXL, SDXL_FILES, variant) == sorted(SDXL_CONFIGS + weights)


def test_shards_come_with_their_index():
    assert pipeline_files(PIXART, PIXART_FILES, None) == sorted(PIXART_LOADED)


def test_a_component_without_the_variant_comes_without_it():
    half = "vae/diffusion_pytorch_model.fp16.safetensors"
    expected = {*PIXART_LOADED, half} - {"vae/diffusion_pytorch_model.safetensors"}
    assert pipeline_files(PIXART, [*PIXART_FILES, half], "fp16") == sorted(expected)


@pytest.mark.parametrize(
    "names",
    [
        "model.fp16-00001-of-00002.safetensors model.fp16-00002-of-00002.safetensors "
        "model.safetensors.index.fp16.json",
        "model-00001-of-00002.fp16.safetensors model-00002-of-00002.fp16.safetensors "
        "model.safetensors.fp16.index.json",
    ],
)
def test_shards_of_a_variant_in_either_way_of_naming(names):
    halves = listing(f"text_encoder: {names}")
    chosen = pipeline_files(PIXART, PIXART_FILES + halves, "fp16")
    inside = {name for name in chosen if name.startswith("text_encoder/")}
    assert inside == {"text_encoder/config.json", *halves}


def test_sd15_without_training_weights():
    assert pipeline_files(SD15, SD15_FILES, None) == listing("""
    feature_extractor: preprocessor_config.json
    .: model_index.json
    safety_checker: config.json model.safetensors
    unet: config.json diffusion_pytorch_model.safetensors
    """)


def test_absent_components_and_ignored_files_are_left():
    index = {**SD15, "safety_checker": [None, None], "_ignore_files": ["unet/config.json"]}
    assert pipeline_files(index, SD15_FILES, None) == listing("""
    feature_extractor: preprocessor_config.json
    .: model_index.json
    unet: diffusion_pytorch_model.safetensors
    """)


def test_what_cannot_be_loaded_is_refused():
    pickled = [name for name in SD15_FILES if not name.endswith(".safetensors")]
    with pytest.raises(ValueError, match="safety_checker has no safetensors weights"):
        pipeline_files(SD15, pickled, None)
    with pytest.raises(ValueError, match="no component has weights of variant int8"):
        pipeline_files(SD15, SD15_FILES, "int8")
