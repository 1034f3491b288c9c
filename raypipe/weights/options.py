"""A model's `options` against the signature of its pipeline's call, which would ignore no typo."""

import inspect
from collections.abc import Collection

from raypipe.config.mistakes import near_miss
from raypipe.config.model import Model
from raypipe.errors import UserError
from raypipe.weights.locate import pipeline_index

OURS = frozenset(
    {
        *("prompt", "prompt_2", "negative_prompt", "negative_prompt_2", "generator", "latents"),
        *("num_inference_steps", "guidance_scale", "height", "width", "output_type", "return_dict"),
        *("num_images_per_prompt", "image", "mask_image", "strength", "timesteps", "sigmas"),
        *("callback", "callback_steps", "callback_on_step_end"),
        *("callback_on_step_end_tensor_inputs", "cross_attention_kwargs"),
    }
)
"""Arguments that raypipe sets by keys of its own, or that a config cannot hold."""


def check_options(model: Model) -> None:
    """UserError for an option that the pipeline does not take, or that has a key of its own.

    Loads diffusers, only where there are options and diffusers knows the pipeline's class.
    """
    if not model.options:
        return
    what = f"models' options ({model.name})"
    for name in model.options:
        if name in OURS or name.endswith(("_embeds", "_attention_mask")):
            raise UserError(f"{what}: {name} is set by raypipe: it is no option")
    import diffusers

    kind = getattr(diffusers, str(pipeline_index(model)["_class_name"]), None)
    if kind is None or not callable(kind):
        return
    # its **kwargs, where it has some, are names of the past that it drops
    known = inspect.signature(kind.__call__).parameters
    for name in model.options:
        if name not in known:
            raise UserError(f"{what}: {kind.__name__} takes no {name}{_near(name, known)}")


def _near(name: str, known: Collection[str]) -> str:
    free = [key for key in known if key not in OURS and key != "self"]
    return near_miss(name, free).replace("known keys", "its options")
