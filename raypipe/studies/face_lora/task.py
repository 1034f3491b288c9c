"""The face LoRA as a task of the training loop: its losses on noised pairs.

Shape letters: B rows, c h w latents, T timesteps.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch

from raypipe.core import guidance
from raypipe.core.guidance import Level, Prediction
from raypipe.errors import UserError
from raypipe.models.diffusion.loading import load_pipeline
from raypipe.models.lora import export as lora_export
from raypipe.models.lora.adapter import add_adapter, base_of, trained_layers
from raypipe.storage.files import Folder
from raypipe.studies.face_lora.data import FOLDER, LatentTable, Pictures
from raypipe.studies.face_lora.plan import text_id
from raypipe.studies.face_lora.samples import write_samples
from raypipe.studies.face_lora.settings import FaceLora
from raypipe.training import state
from raypipe.training.group import Group
from raypipe.training.loop import Outcome
from raypipe.weights.fetch import fetch
from raypipe.weights.locate import pipeline_index
from raypipe.weights.node import model_on_node

HELD = "held_out.json"
"""Losses of the base and of the LoRA on the validation split; written last."""

CRITERION = "minus_loss"
"""The number that picks the best step: minus the held-out loss."""

TIMES = 4
"""Timesteps, in the middle of equal shares, at which a validation takes every row."""


@dataclass
class Noised:
    """Rows with their timesteps and their noise, which both sides of a pair share."""

    pictures: Pictures
    t_B: torch.Tensor
    noise_Bchw: torch.Tensor


@dataclass
class Batch:
    """A micro-batch."""

    pairs: Noised
    general: Noised | None


class FaceLoraTask:
    """The UNet with its LoRA, and the encoded pairs, on one worker."""

    def __init__(self, config: FaceLora, uri: str, device: str):
        self.device = device
        self._config, self._uri, self._loss = config, uri, config.loss
        pipe = load_pipeline(model_on_node(config.model), config.sampler_of_model, "denoiser")
        self.module = pipe.unet
        self._dtype = self.module.dtype
        add_adapter(self.module, config.adapter, config.training.seed)
        if config.training.gradient_checkpointing:
            self.module.enable_gradient_checkpointing()
        self.module.to(device).train()
        self._prediction = prediction_of(pipe.scheduler.config.prediction_type)
        self._alphas_T = pipe.scheduler.alphas_cumprod.float().to(device)
        data = fetch(f"{config.encoded or uri}/{FOLDER}", what="training data")
        self._train, self._held = LatentTable(data, "train"), LatentTable(data, "validation")
        self._general: LatentTable | None = None
        if config.keeps:
            self._general = LatentTable(data, "general")
            self._general_held = LatentTable(data, "general_validation")
        self.n_rows = len(self._train)

    def load(self, rows: np.ndarray, seed: int) -> Batch:
        """Pairs, general pictures, captions left out, timesteps and noise: all from the seed."""
        generator = torch.Generator().manual_seed(seed)
        count = len(rows)
        pairs = self._draw(self._train, rows.tolist(), generator)
        general = None
        if self._general is not None:
            chosen = torch.randint(len(self._general), (count,), generator=generator)
            general = self._draw(self._general, chosen.tolist(), generator)
        return Batch(pairs, general)

    def _draw(self, table: LatentTable, rows: list[int], generator: torch.Generator) -> Noised:
        gone = torch.rand(len(rows), generator=generator) < self._config.caption_dropout
        empty = text_id("")
        pictures = table.read(rows, [empty if dropped else None for dropped in gone.tolist()])
        t_B = guidance.uniform_timesteps(len(rows), len(self._alphas_T), generator)
        return Noised(pictures, t_B, torch.randn(pictures.good_Bchw.shape, generator=generator))

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Every term of each row, and `loss`, their weighted sum."""
        terms = self._of_pairs(batch.pairs)
        if batch.general is not None:
            terms["keep"] = self._of_general(batch.general)
        return {"loss": sum(self._weights[n] * v for n, v in terms.items()), **terms}

    @property
    def _weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {
            "denoising": 1.0,
            "preference": 1.0,
            "guidance": self._loss.weight,
            "keep": self._loss.keep,
        }

    def _of_pairs(self, rows: Noised) -> dict[str, torch.Tensor]:
        """(B,) of each term of the loss but `keep`."""
        bad_Bchw, mask_B1hw = rows.pictures.bad_Bchw, rows.pictures.mask_B1hw
        assert bad_Bchw is not None
        assert mask_B1hw is not None
        good_Bchw, noise_Bchw = self._here(rows.pictures.good_Bchw), self._here(rows.noise_Bchw)
        bad_Bchw, t_B = self._here(bad_Bchw), rows.t_B.to(self.device)
        at = guidance.level(self._alphas_T, t_B)
        sides = [good_Bchw] if self._loss.kind == "sft" else [good_Bchw, bad_Bchw]
        x_Nchw = torch.cat([guidance.noised(side, noise_Bchw, at) for side in sides])
        outputs = self._predict(x_Nchw, t_B, rows.pictures).chunk(len(sides))
        targets = [guidance.target(s, noise_Bchw, at, self._prediction) for s in sides]
        errors = [guidance.squared_error(o, t) for o, t in zip(outputs, targets, strict=True)]
        if self._loss.kind == "dpo":
            with base_of(self.module):
                before = self._predict(x_Nchw, t_B, rows.pictures).chunk(2)
            known = [guidance.squared_error(o, t) for o, t in zip(before, targets, strict=True)]
            return {"preference": guidance.dpo_loss(*errors, *known, self._loss.beta)}
        terms = {"denoising": self._weighted(errors[0], at)}
        if self._loss.kind == "guidance":
            stride = self._loss.stride if self._loss.form == "step" else len(self._alphas_T)
            terms["guidance"] = guidance.guidance_loss(
                outputs[1],
                noise_Bchw,
                good_Bchw,
                bad_Bchw,
                self._here(mask_B1hw),
                at,
                guidance.level(self._alphas_T, t_B - stride),
                self._prediction,
            )
        return terms

    def _of_general(self, rows: Noised) -> torch.Tensor:
        """(B,): how far the prediction is from that of the base."""
        t_B = rows.t_B.to(self.device)
        at = guidance.level(self._alphas_T, t_B)
        good_Bchw = self._here(rows.pictures.good_Bchw)
        x_Bchw = guidance.noised(good_Bchw, self._here(rows.noise_Bchw), at)
        with base_of(self.module):
            base_Bchw = self._predict(x_Bchw, t_B, rows.pictures)
        output_Bchw = self._predict(x_Bchw, t_B, rows.pictures)
        return self._weighted(guidance.squared_error(output_Bchw, base_Bchw), at)

    def _weighted(self, error_B: torch.Tensor, at: Level) -> torch.Tensor:
        if self._loss.weighting == "uniform":
            return error_B
        return error_B * guidance.min_snr_weights(at, self._prediction)

    def _here(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device)

    def _predict(self, x_Nchw: torch.Tensor, t_B: torch.Tensor, pictures: Pictures) -> torch.Tensor:
        """The network's output, float32; N is a multiple of B, whose texts are repeated."""
        times = len(x_Nchw) // len(t_B)

        def repeated(tensor: torch.Tensor) -> torch.Tensor:
            return torch.cat([tensor.to(self.device, self._dtype)] * times)

        options = {}
        if "pooled_prompt_embeds" in pictures.text:
            options["added_cond_kwargs"] = {
                "text_embeds": repeated(pictures.text["pooled_prompt_embeds"]),
                "time_ids": torch.cat([self._here(pictures.time_ids_B6)] * times),
            }
        output = self.module(
            x_Nchw.to(self._dtype),
            torch.cat([t_B] * times),
            encoder_hidden_states=repeated(pictures.text["prompt_embeds"]),
            **options,
        )
        return output.sample.float()

    def validate(self, rank: int, world: int) -> dict[str, tuple[float, float]]:
        """Every term on the held-out rows, at fixed timesteps and noise; and minus the loss."""
        totals: dict[str, list[float]] = {}
        sizes: dict[str, int] = {}
        parts = [(self._held, self._of_pairs)]
        if self._general is not None:
            parts.append((self._general_held, lambda rows: {"keep": self._of_general(rows)}))
        for table, terms_of in parts:
            places = self._places(table)
            mine = places[rank::world]
            for first in range(0, len(mine), self._config.training.micro_batch):
                some = mine[first : first + self._config.training.micro_batch]
                for name, values_B in terms_of(self._fixed(table, some)).items():
                    total = totals.setdefault(name, [0.0, 0.0])
                    total[0] += float(values_B.sum())
                    total[1] += len(some)
                    sizes[name] = len(places)
        share = sum(self._weights[name] * t[0] / sizes[name] for name, t in totals.items())
        sums = {name: (total, count) for name, (total, count) in totals.items()}
        return sums | {CRITERION: (-share, 1.0 if rank == 0 else 0.0)}

    def _places(self, table: LatentTable) -> list[tuple[int, int]]:
        """(row, number of the timestep) of all that a validation takes, spread over the table."""
        count = min(len(table), self._config.held_out)
        rows = np.linspace(0, len(table) - 1, count).round().astype(int).tolist()
        return [(row, time) for row in rows for time in range(TIMES)]

    def _fixed(self, table: LatentTable, places: list[tuple[int, int]]) -> Noised:
        pictures = table.read([row for row, _ in places], [None] * len(places))
        shape = pictures.good_Bchw.shape[1:]
        noises = [
            torch.randn(shape, generator=torch.Generator().manual_seed(row * TIMES + time))
            for row, time in places
        ]
        total = len(self._alphas_T)
        t_B = torch.tensor([int((time + 0.5) / TIMES * total) for _, time in places])
        return Noised(pictures, t_B, torch.stack(noises))

    def finish(self, outcome: Outcome, group: Group, folder: Folder) -> None:
        """Write the LoRA of the best step, pictures of it, and its held-out losses."""
        best = outcome.result
        state.put_back(folder, best, self.module)
        self.module.eval()
        with torch.no_grad():
            after = group.means(self.validate(group.rank, group.world))
            with base_of(self.module):
                before = group.means(self.validate(group.rank, group.world))
        if group.rank:
            return
        layers = trained_layers(self.module)
        lora_export.save(folder, layers, self._facts(folder, best), self.module.config)
        self.module.cpu()
        write_samples(self._config, self._uri, self.device)
        record = {"best_step": best, "base": before, "lora": after}
        folder.write(HELD, json.dumps(record).encode())

    def _facts(self, folder: Folder, step: int) -> lora_export.LoraFacts:
        config = self._config
        assert config.model.id is not None
        identity = json.loads(folder.read("model.json") or b"{}")
        return lora_export.LoraFacts(
            base=config.model.id,
            revision=config.model.revision,
            family=pipeline_index(config.model)["_class_name"],
            pairs=config.pairs,
            loss=config.loss.name,
            steps=step,
            rank=config.adapter.rank,
            licence=config.product_licence,
            trained_on=self.n_rows,
            weights_hash=str(identity.get("weights")),
        )


def prediction_of(name: str) -> Prediction:
    """What a network predicts, by its scheduler's config. UserError for anything else."""
    if name == "epsilon":
        return "epsilon"
    if name == "v_prediction":
        return "v_prediction"
    raise UserError(f"the base must predict epsilon or v_prediction, got {name}")


def make(config: str, uri: str, device: str) -> FaceLoraTask:
    """The task, from a config as JSON: what is sent to workers."""
    return FaceLoraTask(FaceLora.model_validate(json.loads(config)), uri, device)
