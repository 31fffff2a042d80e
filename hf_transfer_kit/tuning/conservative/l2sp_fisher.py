"""L2-SP that holds each weight as firmly as it matters: importances from the Fisher information, estimated once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.shards import has_shards
from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.options import check_choice, check_int, check_seed
from hf_transfer_kit.tuning.conservative.anchor import Source, stateful_callbacks
from hf_transfer_kit.tuning.conservative.anchor_penalty import placed_like
from hf_transfer_kit.tuning.conservative.fisher import LABELS, estimate_fisher, fisher_key, normalised
from hf_transfer_kit.tuning.conservative.holding import Selector
from hf_transfer_kit.tuning.conservative.l2sp import L2SP
from hf_transfer_kit.tuning.networks import GIVEN
from hf_transfer_kit.tuning.shared_rows import sum_over_processes
from hf_transfer_kit.values.rows import check_rows


class L2SPFisher(L2SP):
    """L2-SP with alpha/2 sum F (w - w0)^2, F the diagonal Fisher information of the pretrained model.

    L2-SP-Fisher of Li et al. 2018, elastic weight consolidation of Kirkpatrick et al. 2017. With no further argument F
    is estimated on the training data when training starts, and kept in a file: a resumed training reads it there and
    never estimates again on weights that have moved.

    Args:
        alpha: Strength on the pretrained weights, as in ``L2SP``.
        beta: Strength on the head.
        fisher: Importances as parameter name -> tensor, or a .safetensors file of them; nothing is estimated then.
        dataset: Rows to estimate on, such as those of the source task, in the form of the training rows; by default
            the training data.
        cache_dir: Folder of the file; ``args.output_dir`` by default.
        num_samples: Rows to estimate on.
        batch_size: 1 is exact, more is a cheaper approximation: see ``estimate_fisher``.
        labels: ``"empirical"`` or ``"sampled"``: see ``estimate_fisher``.
        normalise: Divide F by its mean, so that alpha means what it means in ``L2SP``.
        seed: Of the choice of rows and of drawn labels.
        groups: As in ``L2SP``, and so are ``decoupled``, ``clipped``, ``anchor``, ``log_distances`` and ``name``.

    Example:
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=[L2SPFisher(num_samples=4)])
        >>> _ = trainer.train()
    """

    @checked_arguments(own_words_first=True)
    def __init__(
        self,
        alpha: float = 0.01,
        beta: float = 0.01,
        *,
        fisher: Mapping[str, Tensor] | str | Path | None = None,
        dataset: Any = None,
        cache_dir: str | Path | None = None,
        num_samples: int = 256,
        batch_size: int = 1,
        labels: str = "empirical",
        normalise: bool = True,
        seed: int = 0,
        groups: Mapping[Selector, float] | Sequence[tuple[Selector, float]] | None = None,
        decoupled: bool = False,
        clipped: bool = False,
        anchor: Source | None = None,
        log_distances: bool = False,
        name: str | None = None,
        example_inputs: Any = None,
    ) -> None:
        check_choice("L2SPFisher", "labels", labels, LABELS)
        check_int("L2SPFisher", "num_samples", num_samples, low=1)
        check_int("L2SPFisher", "batch_size", batch_size, low=1)
        check_seed("L2SPFisher", seed)
        super().__init__(
            alpha,
            beta,
            groups=groups,
            decoupled=decoupled,
            clipped=clipped,
            anchor=anchor,
            log_distances=log_distances,
            name=name,
            example_inputs=example_inputs,
        )
        if num_samples < 1 or batch_size < 1:
            raise SettingsError(f"num_samples={num_samples} and batch_size={batch_size} must be 1 or more.")
        self.fisher = fisher
        if dataset is not None:
            check_rows(dataset)
        self.dataset = dataset
        self.cache_dir = cache_dir
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.labels = labels
        self.normalise = normalise
        self.seed = seed
        self.fisher_file: str | None = None
        self._training: tuple | None = None

    def state(self) -> dict:
        """As ``L2SP``, and the name of the file with the importances."""
        kept = super().state()
        del kept["args"]["norm"]
        kept["args"] |= {
            "fisher": str(self.fisher) if isinstance(self.fisher, str | Path) else None,
            "cache_dir": None if self.cache_dir is None else str(self.cache_dir),
            "num_samples": self.num_samples,
            "batch_size": self.batch_size,
            "labels": self.labels,
            "normalise": self.normalise,
            "seed": self.seed,
        }
        kept["attributes"]["fisher_file"] = self.fisher_file
        return kept

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module = GIVEN,
        optimizer: torch.optim.Optimizer = GIVEN,
        train_dataloader: DataLoader = GIVEN,
        **kwargs: Any,
    ) -> None:
        self._training = (args, state, train_dataloader)
        super().on_train_begin(
            args, state, control, model=model, optimizer=optimizer, train_dataloader=train_dataloader, **kwargs
        )
        self._training = None

    def _importances(self, model: nn.Module, anchors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if any(".lora_" in name for name, _ in model.named_parameters()):
            raise SettingsError("L2SPFisher has no importances for LoRA's merged delta: use L2SP there.")
        given = load_file(str(self.fisher)) if isinstance(self.fisher, str | Path) else self.fisher
        fisher = self._estimated(model, anchors) if given is None else dict(given)
        wrong = [name for name in anchors if name not in fisher or fisher[name].shape != _shape(model, name)]
        if wrong:
            raise SettingsError(
                f"The Fisher information has no entry that fits {wrong[0]!r}: estimate it on this model."
            )
        chosen = {name: fisher[name] for name in anchors}
        chosen = normalised(chosen) if self.normalise else chosen
        parameters = dict(model.named_parameters())
        return {name: placed_like(value, parameters[name]) for name, value in chosen.items()}

    def _estimated(self, model: nn.Module, anchors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self._training is None:
            raise SettingsError("In a loop of your own give L2SPFisher(fisher=estimate_fisher(...)).")
        args, state, loader = self._training
        folder = Path(args.output_dir if self.cache_dir is None else self.cache_dir)
        if state.global_step > 0:
            return self._from_before(folder, state)
        if has_shards(model):
            raise SettingsError("On sharded weights nothing can be estimated: give L2SPFisher(fisher=...).")
        dataset = loader.dataset if self.dataset is None else self.dataset
        settings = {name: getattr(self, name) for name in ("num_samples", "batch_size", "labels", "seed")}
        # Other processes see other rows: the first one's key counts.
        key = _first_processes(fisher_key(model, dataset, loader.collate_fn, **settings))
        self.fisher_file = f"fisher-{key}.safetensors"
        path = folder / self.fisher_file
        missing = torch.tensor(0 if path.is_file() else 1, device=next(model.parameters()).device)
        if sum_over_processes(missing):
            fisher = estimate_fisher(model, dataset, loader.collate_fn, anchors, **settings)
            if state.is_world_process_zero:
                folder.mkdir(parents=True, exist_ok=True)
                save_file({name: value.cpu().contiguous() for name, value in fisher.items()}, path)
            return fisher
        fisher = load_file(path)
        if not set(anchors) <= set(fisher):  # kept by a training in which less could move
            return estimate_fisher(model, dataset, loader.collate_fn, anchors, **settings)
        return fisher

    def _from_before(self, folder: Path, state: TrainerState) -> dict[str, Tensor]:
        entries = stateful_callbacks(state).get(type(self).__name__, {})
        # Of several of a kind Trainer keeps a list, which grows by each one's state at every checkpoint.
        entries = entries if isinstance(entries, list) else [entries]
        own = [entry for entry in entries if entry.get("args", {}).get("name") == self.name]
        files = [entry.get("attributes", {}).get("fisher_file") for entry in own]
        self.fisher_file = next((file for file in reversed(files) if file), self.fisher_file)
        path = folder / (self.fisher_file or "fisher-*.safetensors")
        if not path.is_file():
            raise SettingsError(
                f"{path.name} is not in {folder.name}, where the Fisher information of the interrupted training was "
                "kept; it cannot be estimated again, since the weights have moved. Put the file back, set cache_dir to "
                "its folder, or pass fisher=..."
            )
        return load_file(path)


def _shape(model: nn.Module, name: str) -> torch.Size:
    return model.get_parameter(name).shape


def _first_processes(value: str) -> str:
    if not torch.distributed.is_initialized():
        return value
    values = [value]
    torch.distributed.broadcast_object_list(values)
    return values[0]
