"""Scores pictures with the package image-reward, in its own environment, over pipes.

Run by that environment's Python, from a folder that holds bert-base-uncased: nothing of raypipe
can be imported here. Its argument is JSON: {weights, med_config, device}, paths and a device. Each
request on stdin is a line of JSON, {texts, sizes}, and then the pictures, encoded, of those sizes
in bytes. Each answer on stdout is a line of JSON: {scores}, raw head outputs, or {error}. The first
answer, {}, means that the model is loaded. It ends at the end of stdin.
"""

import io
import json
import os
import sys

FORMATS = ("PNG", "JPEG", "WEBP")
"""As in raypipe.core.pictures, whose limits the pictures have met before they are sent."""

UNUSED = ("blip.vision_proj.", "blip.text_proj.", "blip.text_encoder.embeddings.position_ids")


def main():
    # Libraries print to stdout; answers go out by a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        model = load(**json.loads(sys.argv[1]))
    except Exception as error:
        answer(answers, {"error": f"{type(error).__name__}: {error}"})
        return
    answer(answers, {})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        pictures = [sys.stdin.buffer.read(size) for size in request["sizes"]]
        try:
            answer(answers, {"scores": score(model, request["texts"], pictures)})
        except Exception as error:
            answer(answers, {"error": f"{type(error).__name__}: {error}"})


def answer(answers, content):
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def load(weights, med_config, device):
    """Upstream's model with the weights, every key accounted for, without its shift and scale."""
    import torch
    from ImageReward.ImageReward import ImageReward

    if weights.endswith(".safetensors"):
        from safetensors.torch import load_file

        state = load_file(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    model = ImageReward(med_config=med_config, device=device)
    loaded = model.load_state_dict(state, strict=False)
    missing = [name for name in loaded.missing_keys if not name.startswith(UNUSED)]
    foreign = [name for name in loaded.unexpected_keys if not name.startswith(UNUSED)]
    if missing or foreign:
        raise ValueError(f"missing keys {missing}, foreign keys {foreign}")
    model.mean, model.std = 0.0, 1.0
    return model.to(device).eval()


def score(model, texts, pictures):
    """One picture at a time, as upstream does."""
    from PIL import Image

    return [
        model.score(text, Image.open(io.BytesIO(picture), formats=FORMATS))
        for text, picture in zip(texts, pictures)  # noqa: B905 - also for Python 3.9
    ]


if __name__ == "__main__":
    main()
