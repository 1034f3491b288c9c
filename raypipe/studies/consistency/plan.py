"""The plan of a run: every sample with its id, decided on the driver before anything runs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raypipe.config.model import Model
from raypipe.core import ids
from raypipe.errors import UserError
from raypipe.inputs import pictures as existing
from raypipe.inputs.prompts import read_prompts, read_seeds
from raypipe.storage import schema
from raypipe.storage.directory import batch_numbers
from raypipe.studies.consistency.settings import Consistency
from raypipe.weights.identity import encoder_identity, model_identity, pinned_model


@dataclass(frozen=True)
class Plan:
    """The resolved question: which models, prompts, seeds, and which samples that makes."""

    models: tuple[Model, ...]
    comparisons: tuple[tuple[str, str], ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    identities: dict[str, Any]
    """Per model name, all that determines its pictures."""
    encoders: dict[str, Any]
    """Per encoder name, the identity of its weights."""
    warnings: tuple[str, ...]
    pictures: dict[str, tuple[dict[str, str], list[existing.Picture]]]
    """Per model whose pictures exist: the text that matches each prompt, and the pictures."""

    @property
    def n_samples(self) -> int:
        """How many pictures there will be."""
        return len(self.models) * len(self.prompts) * len(self.seeds)

    def samples(self) -> pa.Table:
        """Every sample (schema.PLANNED), by model, then prompt, then seed; as large as the run."""
        return pa.concat_tables(
            _found(self, model) if model.name in self.pictures else _generated(self, model)
            for model in self.models
        )


def make_plan(config: Consistency) -> Plan:
    """Resolve a config. Everything that files and headers show is checked here."""
    pictures = existing.list_pictures(config.images) if config.images else []
    found_models = list(dict.fromkeys(picture.model for picture in pictures))
    models = config.models or tuple(_found_model(name) for name in found_models)
    absent = [model.name for model in models if not model.id and model.name not in found_models]
    if absent:
        raise UserError(f"no images of model {', '.join(absent)}; there are {found_models}")
    read = {model.name for model in models if not model.id}
    pictures = [picture for picture in pictures if picture.model in read]

    prompts, warnings = _prompts(config, models, pictures)
    seeds = _seeds(config, pictures)
    identities = {model.name: _identity(config, model) for model in models}
    _check_distinct(models, identities)
    found = {}
    for model in models:
        if not model.id:
            mine = [picture for picture in pictures if picture.model == model.name]
            found[model.name] = _match(model, prompts, mine, warnings), mine
    return Plan(
        models=models,
        comparisons=_comparisons(config, [model.name for model in models]),
        prompts=tuple(prompts),
        seeds=tuple(seeds),
        identities=identities,
        encoders={encoder.name: encoder_identity(encoder) for encoder in config.encoder},
        warnings=tuple(warnings),
        pictures=found,
    )


def batches(samples: pa.Table, config: Consistency, part: int) -> pa.Table:
    """Give each sample its batch (schema.SAMPLES).

    Neighbours share a batch, of one model and one kind of source, so that the seeds of a prompt
    stay together. `part` numbers the extensions of a run.
    """
    names = samples["model"].combine_chunks().dictionary_encode()
    generates = {model.name: bool(model.id) for model in config.models}
    pools = config.pools
    size_of = [
        (pools.generate if generates.get(name, False) else pools.read).batch_size
        for name in names.dictionary.to_pylist()
    ]
    codes = names.indices.to_numpy()
    numbers = batch_numbers(codes, np.array(size_of, dtype=np.int64)[codes])
    n_batches = int(numbers[-1]) + 1 if len(numbers) else 0
    batch_ids = pa.array([f"{part:04d}-{batch:08d}" for batch in range(n_batches)], pa.string())
    return (
        samples.append_column("batch_id", batch_ids.take(pa.array(numbers)))
        .select(schema.SAMPLES.names)
        .cast(schema.SAMPLES)
    )


def _found_model(name: str) -> Model:
    """A model that is known from its pictures alone."""
    try:
        return Model(name=name)
    except ValueError:
        raise UserError(
            "a model's name must be letters, digits and . _ + -, beginning with a letter or "
            f"digit, got {name!r} among the images"
        ) from None


def _check_distinct(models: tuple[Model, ...], identities: dict[str, Any]) -> None:
    """UserError for two models that make the same pictures: a forgotten key, not a comparison."""
    seen: dict[str, str] = {}
    for model in models:
        if model.id is None:
            continue
        content = {**identities[model.name], "suffix": model.prompt_suffix}
        twin = seen.setdefault(ids.content_hash(content), model.name)
        if twin != model.name:
            raise UserError(
                f"models must differ in what they make, but {twin} and {model.name} have the same "
                "weights, sampler and prompts"
            )


def _identity(config: Consistency, model: Model) -> dict[str, Any]:
    if model.id is None:
        assert config.images is not None
        return {"images": True, "revision": config.images.revision}
    sampler = config.sampler_of(model).model_dump(mode="json")
    return {**model_identity(model), "sampler": sampler}


def _prompts(
    config: Consistency, models: tuple[Model, ...], pictures: list[existing.Picture]
) -> tuple[list[str], list[str]]:
    if config.prompts is not None:
        return read_prompts(config.prompts, config.prompt_column)
    suffixes = {model.name: model.prompt_suffix for model in models}
    prompts: dict[str, None] = {}
    first_in: dict[str, str] = {}
    for picture in pictures:
        text = picture.prompt.removesuffix(suffixes[picture.model])
        # another model's spelling of a prompt is the same prompt: see existing.match_prompts
        if first_in.setdefault(existing.letters(text) or text, picture.model) == picture.model:
            prompts[text] = None
    return list(prompts), []


def _seeds(config: Consistency, pictures: list[existing.Picture]) -> list[int]:
    by_model = existing.seeds_by_model(pictures)
    if config.seeds is None:
        return read_seeds(tuple(existing.check_seeds(by_model)))
    seeds = read_seeds(config.seeds)
    existing.check_seeds(
        {"seeds of the config": set(seeds)}
        | {name: found & set(seeds) for name, found in by_model.items()}
    )
    return seeds


def _generated(plan: Plan, model: Model) -> pa.Table:
    """Samples to be made: every prompt with every seed."""
    prompts, seeds = plan.prompts, plan.seeds
    digest = {"model": ids.content_hash(plan.identities[model.name])}
    sent = [prompt + model.prompt_suffix for prompt in prompts]
    of_prompt = pa.array(np.repeat(np.arange(len(prompts)), len(seeds)))
    n = len(of_prompt)
    sample_ids = [
        pa.array([ids.sample_id(digest, text, seed) for seed in seeds], pa.string())
        for text in sent
    ]
    columns = {
        "sample_id": pa.chunked_array(sample_ids, pa.string()),
        "model": pa.repeat(model.name, n),
        "prompt_id": pa.array([ids.prompt_id(prompt) for prompt in prompts]).take(of_prompt),
        "prompt": pa.array(prompts).take(of_prompt),
        "seed": pa.array(np.tile(np.array(seeds, dtype=np.int64), len(prompts))),
        "prompt_sent": pa.array(sent).take(of_prompt),
        "source": pa.nulls(n, pa.string()),
    }
    return pa.table(columns, schema=schema.PLANNED).combine_chunks()


def _match(
    model: Model, prompts: list[str], pictures: list[existing.Picture], warnings: list[str]
) -> dict[str, str]:
    """The found text that matches each prompt. UserError for a prompt without pictures."""
    texts = existing.match_prompts(prompts, model.prompt_suffix, {p.prompt for p in pictures})
    absent = [prompt for prompt in prompts if prompt not in texts]
    if absent:
        raise UserError(
            f"{len(absent)} of {len(prompts)} prompts have no images of model {model.name}, "
            f"the first is {absent[0][:80]!r}"
        )
    unused = {picture.prompt for picture in pictures} - set(texts.values())
    if unused:
        warnings.append(f"{model.name}: images of {len(unused)} other prompts are left out")
    return texts


def _found(plan: Plan, model: Model) -> pa.Table:
    """Samples whose pictures exist; a missing picture has an empty source."""
    texts, pictures = plan.pictures[model.name]
    at = {(picture.prompt, picture.seed): picture for picture in pictures}
    rows = []
    for prompt in plan.prompts:
        for seed in plan.seeds:
            picture = at.get((texts[prompt], seed))
            size = picture.size if picture else -1
            content = {**plan.identities[model.name], "name": model.name, "size": size}
            rows.append(
                {
                    "sample_id": ids.sample_id(content, texts[prompt], seed),
                    "model": model.name,
                    "prompt_id": ids.prompt_id(prompt),
                    "prompt": prompt,
                    "seed": seed,
                    "prompt_sent": texts[prompt],
                    "source": picture.source if picture else "",
                }
            )
    return pa.Table.from_pylist(rows, schema=schema.PLANNED)


def _comparisons(config: Consistency, names: list[str]) -> tuple[tuple[str, str], ...]:
    if config.comparisons is None:
        return tuple((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    unknown = {name for pair in config.comparisons for name in pair} - set(names)
    if unknown:
        raise UserError(f"comparisons name unknown models: {sorted(unknown)}")
    return config.comparisons


def describe(config: Consistency, plan: Plan, n_new: int) -> str:
    """What a run would do, for --dry-run."""
    size = sum(
        _bytes_of(config, model) * len(plan.prompts) * len(plan.seeds) for model in plan.models
    )
    lines = [
        f"{len(plan.prompts):,} prompts × {len(plan.seeds):,} seeds × {len(plan.models)} models "
        f"= {plan.n_samples:,} images, {n_new:,} of them new to {config.output}",
        f"about {size / 2**30:.2f} GiB of pictures",
    ]
    for model in plan.models:
        if model.id is None:
            lines.append(f"  {model.name}: pictures that exist")
            continue
        sampler = config.sampler_of(model)
        lora = f" + {model.lora.id} × {model.lora.scale:g}" if model.lora else ""
        lines.append(
            f"  {model.name}: {model.id}{lora}, {sampler.scheduler or 'own scheduler'}, "
            f"{sampler.steps} steps, guidance {sampler.guidance:g}, "
            f"{sampler.width}×{sampler.height}, {model.dtype}"
        )
    for name, pool in config.pools:
        if pool is not None:
            lines.append(f"  pool {name}: {pool}, batches of {pool.batch_size}")
    lines += [f"  compared: {a} with {b}" for a, b in plan.comparisons]
    return "\n".join(lines)


def _bytes_of(config: Consistency, model: Model) -> float:
    """Bytes of one stored picture, as a rule of thumb: 1.6 a pixel lossless, 0.4 as JPEG."""
    if model.id is None:
        return 0.0
    sampler = config.sampler_of(model)
    return sampler.width * sampler.height * (0.4 if config.storage.format == "jpeg" else 1.6)


def pinned(config: Consistency) -> Consistency:
    """The config with hub models at the commits that the plan resolved, which workers then load."""
    return config.model_copy(
        update={"models": tuple(pinned_model(model) for model in config.models)}
    )
