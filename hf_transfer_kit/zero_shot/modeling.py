"""A network that names classes by their attributes, those it never saw among them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.adapters import put_adapters, tell_frozen
from hf_transfer_kit.backbones.auto_classes import classifier_class
from hf_transfer_kit.backbones.held import keep_weights, network_to_hold
from hf_transfer_kit.backbones.seeded_eval_mode import seeded
from hf_transfer_kit.errors import DataError
from hf_transfer_kit.tuning.scalars import record_scalars
from hf_transfer_kit.values import MODALITIES
from hf_transfer_kit.zero_shot.configuration import ZeroShotConfig
from hf_transfer_kit.zero_shot.explaining import Explanation, explained
from hf_transfer_kit.zero_shot.methods import ALL_METHODS, JointMix, ZeroShotMethod, fitted_method
from hf_transfer_kit.zero_shot.network import new_network, take_head_off
from hf_transfer_kit.zero_shot.seen_classes import check_seen, class_names, seen_with_rows
from hf_transfer_kit.zero_shot.table import AttributeTable

_AT_ONCE = 512
"""Classes that are scored at once, the last ones filled up: products of another shape round otherwise, and what a class
scores must not hang on how many others the table has."""


class ZeroShotModel(PreTrainedModel):
    """A network without its label head, and a method that scores classes from their attributes.

    ``fit`` learns the method at once from features; or Trainer trains it, the network with it where that is not frozen:
    the loss of training is the method's, over the seen classes alone. Logits are the scores of all classes of the
    table, those of seen ones lowered by ``config.gamma``.

    Args:
        config: The configuration.
        network: A classifier that fits ``config.backbone_config``, which loses its head; another ``ZeroShotModel``,
            whose network is shared; None makes a random one.

    Attributes:
        network: The network; its label head is an identity.
        head: The method.
        class_attributes: Values of the table, buffer (C, A).

    Example:
        >>> seen = ["horse", "zebra", "gull"]
        >>> unseen = ZeroShotModel.from_backbone(model, table, seen=seen, method="eszsl")
        >>> cached = cache_features(unseen.network, train, collator=collator, cache_dir="cache", progress=False)
        >>> _ = unseen.fit(torch.from_numpy(cached.features), [seen[label] for label in cached.labels])
        >>> _ = unseen.set_classes({"okapi": {"stripes": 0.5, "hooves": 1, "wings": 0}})
        >>> unseen(pixel_values=torch.zeros(1, 3, 32, 32)).logits.shape
        torch.Size([1, 7])
    """

    config_class = ZeroShotConfig
    base_model_prefix = "network"
    accepts_loss_kwargs = False

    network: PreTrainedModel
    head: ZeroShotMethod
    class_attributes: Tensor

    @checked_arguments()
    def __init__(self, config: ZeroShotConfig, *, network: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if isinstance(network, ZeroShotModel):
            self.network, width = network.network, len(network.head.mean)
        else:
            if network is None:
                network = new_network(config.backbone_config)
                put_adapters(network, config.adapters)
            self.network = network
            width = take_head_off(self.network)
        self.main_input_name = self.network.main_input_name
        self.supports_gradient_checkpointing = bool(self.network.supports_gradient_checkpointing)
        self.head = ALL_METHODS[config.method](width, len(config.attributes), len(config.seen), **config.method_options)
        self.register_buffer("class_attributes", torch.zeros(len(config.classes), len(config.attributes)))
        self._seen_is_all = False
        self.post_init()

    @classmethod
    def from_backbone(
        cls,
        network: nn.Module,
        table: AttributeTable | str | Path | Dataset | Mapping[str, Any],
        *,
        seen: Sequence[str] | None = None,
        method: str = "eszsl",
        method_options: Mapping[str, Any] | None = None,
        gamma: float = 0.0,
        seed: int | None = None,
    ) -> ZeroShotModel:
        """Puts a method on a loaded network, which loses its head and keeps its other weights.

        Args:
            network: A classifier of transformers, timm's among them, as ``load_model`` gives it, with adapters of peft
                in its layers or without; or a ``ZeroShotModel``, whose network gets another method.
            table: Rows of all classes, seen or not, or what ``AttributeTable.of`` reads; labels count its rows.
            seen: Classes that training shows; None: all that the table has now, of which ``fit`` keeps those that have
                rows.
            method: As in ``ZeroShotConfig``, like the rest.
            method_options: Keyword arguments of the method.
            gamma: What is subtracted from the scores of seen classes.
            seed: Of the method's weights before ``fit``, without touching the global random state; None draws from it.

        Raises:
            ModelError: When it is no classifier of transformers with one linear layer at its end.
            DataError: When the table does not hold together, or a seen class has no row.
            SettingsError: When a setting is unknown or out of range.
        """
        inner, adapters = network_to_hold(network, "its table")
        adapters = inner.config.adapters if isinstance(inner, ZeroShotModel) else adapters
        backbone = inner.config.backbone_config if isinstance(inner, ZeroShotModel) else inner.config
        table = AttributeTable.of(table)
        given, seen = seen, table.classes if seen is None else tuple(seen)
        signatures = torch.from_numpy(table.rows(seen))
        config = ZeroShotConfig(
            copy.deepcopy(backbone), table.classes, table.attributes, seen, method, method_options, gamma, adapters
        )
        keep_weights(inner)
        with seeded(seed):
            model = cls(config, network=inner)
        model.class_attributes.copy_(torch.from_numpy(table.values))
        model.head.begin(signatures)
        model._seen_is_all = given is None
        cast(nn.Module, model).to(inner.device)
        return model

    @property
    def table(self) -> AttributeTable:
        """The classes and their attributes."""
        config = self.config
        values = self.class_attributes.double().cpu().numpy()
        return AttributeTable(tuple(config.classes), tuple(config.attributes), values)

    @property
    def is_seen(self) -> Tensor:
        """Of each class whether training shows it, bool (C,)."""
        seen = set(self.config.seen)
        return torch.tensor([name in seen for name in self.config.classes], device=self.class_attributes.device)

    def set_classes(
        self, rows: AttributeTable | str | Path | Dataset | Mapping[str, Any], *, replace: bool = False
    ) -> ZeroShotModel:
        """Adds classes, or gives classes other attributes, without training; scores of all others stay bit-identical.

        Args:
            rows: A table of the same attributes, in any order, or what ``AttributeTable.of`` reads.
            replace: Whether these are all classes from now on.

        Returns:
            Itself. Logits have the order of ``config.id2label``: classes there were before, then new ones.

        Raises:
            DataError: When the attributes are others, or a row is missing values or all zeros.
        """
        joined = self.table.joined(AttributeTable.of(rows), replace=replace)
        self.config.id2label = dict(enumerate(joined.classes))
        self.config.label2id = {name: index for index, name in enumerate(joined.classes)}
        self.class_attributes = torch.from_numpy(joined.values).to(self.class_attributes)
        return self

    def fit(
        self,
        features: Tensor,
        labels: Sequence[str] | Sequence[int] | Tensor,
        *,
        choose: bool = False,
        balanced: bool = False,
        seed: int = 0,
    ) -> ZeroShotModel:
        """Learns the method from features of seen classes, as ``cache_features`` gives them.

        Args:
            features: What the network gives before its label head, (N, D).
            labels: Name of each row's class, or its place in ``config.classes``, whole numbers (N,).
            choose: Whether options of the method and ``config.gamma`` are first chosen on seen classes that play unseen
                ones, by ``choose_options``.
            balanced: Whether rows of small classes are learned from several times, so that all have as many.
            seed: Of that choice.

        Returns:
            Itself.

        Raises:
            DataError: When a row's class is not among the seen ones, a class named as seen has no row, or features do
                not fit.
            SettingsError: When ``choose`` is asked for with fewer than 4 seen classes.
        """
        names = class_names(cast(Sequence[Any], labels), self.config.classes)
        features = torch.as_tensor(features)
        if features.shape != (len(names), len(self.head.mean)):
            raise DataError(
                f"Features have the shape {tuple(features.shape)} for {len(names)} labels, but this network gives "
                f"{len(self.head.mean)} features a row. Cache those of the same network, layer='pooled'."
            )
        check_seen(sorted(set(names) - set(self.config.seen)))
        self.config.seen = list(seen_with_rows(self.config.seen, names, given=not self._seen_is_all))
        order = {name: index for index, name in enumerate(self.config.seen)}
        places = torch.tensor([order[name] for name in names])
        features = features.to("cpu", torch.float64)
        if not (finite := features.isfinite().all(dim=1)).all():
            raise DataError(
                f"{int((~finite).sum())} of {len(features)} rows of features are not finite, the first row "
                f"{int((~finite).nonzero()[0])}. Mend what made them, or leave these rows out."
            )
        signatures = torch.from_numpy(self.table.rows(self.config.seen))
        config, like = self.config, self.class_attributes
        if choose:
            # Here, since it loads evaluate, which who asks a saved model for a class does not need.
            from hf_transfer_kit.zero_shot.choosing import choose_options, spread_of

            fixed = {"partner": self.head.partner.name} if isinstance(self.head, JointMix) else None
            choice = choose_options(
                config.method, features, places, signatures, seed=seed, balanced=balanced, fixed=fixed
            )
            config.method_options = dict(choice.options)
        given = (features, places, signatures)
        fitted = fitted_method(config.method, config.method_options, *given, balanced=balanced)
        if choose:
            config.gamma = choice.gamma * spread_of(fitted, features)
        self.head = fitted.requires_grad_(True).to(like)
        return self

    def features(self, **inputs: Tensor) -> Tensor:
        """What the network gives before its label head, (N, D)."""
        return self.network(**inputs).logits

    def scores(self, features: Tensor) -> Tensor:
        """Scores of all classes for features (N, D), those of seen ones lowered by gamma, (N, C).

        Classes that ``set_classes`` adds leave those of the others bit-identical.
        """
        rows = self.class_attributes.to(features.dtype)
        filled = functional.pad(rows, (0, 0, 0, -len(rows) % _AT_ONCE))
        blocks = [self.head.scores(features, block) for block in filled.split(_AT_ONCE)]
        scores = torch.cat(blocks, dim=1)[:, : len(rows)]
        return scores - self.config.gamma * self.is_seen.to(scores) if self.config.gamma else scores

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        input_values: Tensor | None = None,
        input_features: Tensor | None = None,
        features: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **others: Tensor,
    ) -> SequenceClassifierOutput:
        """Logits (N, C) of all classes, and with labels the method's loss over rows of seen ones.

        Args:
            pixel_values: Or another input of the network under its own name.
            input_ids: As above, like the next four.
            attention_mask: As above.
            token_type_ids: As above.
            input_values: As above.
            input_features: As above.
            features: What the network would give, (N, D), where it was computed before; the network then rests.
            labels: Places in ``config.classes``, int64 (N,). In evaluation rows of unseen classes do not count in the
                loss, which is 0 without others.
            return_dict: Accepted for other libraries' sake; the output is always a ModelOutput.
            **others: Further inputs of the network.

        Raises:
            DataError: In training, when a row shows a class that must stay unseen.
        """
        if features is None:
            inputs = {
                "pixel_values": pixel_values,
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "token_type_ids": token_type_ids,
                "input_values": input_values,
                "input_features": input_features,
                **others,
            }
            features = self.features(**{name: value for name, value in inputs.items() if value is not None})
        # Cosines and logarithms of probabilities lose too much in half precision.
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(self.head.mean.dtype)
            logits = self.scores(features)
            loss = None if labels is None else self._loss(features, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def explain(
        self,
        classes: Sequence[str] | None = None,
        *,
        against: Sequence[str] | None = None,
        features: Tensor | None = None,
        **inputs: Tensor,
    ) -> list[Explanation]:
        """Which attributes spoke for a class, and which against it, compared with another class.

        Args:
            classes: One a row; None: those that are predicted.
            against: One a row; None: the class with the next best score.
            features: In place of inputs.
            **inputs: Inputs of the network by its own names.

        Returns:
            One a row; the contributions of attributes add up to the difference of the two scores, without gamma.

        Raises:
            DataError: When a class has no row in the table, or there is no other to compare with.
        """
        was_training = self.training
        self.eval()
        with torch.no_grad():
            features = self.features(**inputs) if features is None else features
            found = explained(self.head, features, self.scores(features), self.table, classes, against)
        self.train(was_training)
        return found

    def _loss(self, features: Tensor, labels: Tensor) -> Tensor:
        places = self._seen_places(labels, strict=self.training)
        shown = places >= 0
        if not self.training:
            if not shown.any():
                return features.new_zeros(())
            features, places = features[shown], places[shown]
        loss = self.head.loss(features, places)
        if self.training:
            tell_frozen(self, {"head": self.head})
            record_scalars(self, {f"{self.config.method}_loss": loss})
        return loss

    def _seen_places(self, labels: Tensor, *, strict: bool = True) -> Tensor:
        """Rows of the head's signatures of these classes, -1 for unseen ones."""
        order = {name: index for index, name in enumerate(self.config.seen)}
        places = torch.tensor([order.get(name, -1) for name in self.config.classes], device=labels.device)
        found = places[labels]
        if strict and (unseen := labels[found < 0].unique().tolist()):
            check_seen([self.config.classes[index] for index in unseen])
        return found

    def _init_weights(self, module: nn.Module) -> None:
        """Units of attributes, which older models did not store; methods are made with the weights they begin with."""
        if isinstance(module, ZeroShotMethod):
            init.ones_(module.unit)
            init.zeros_(module.origin)


AutoConfig.register(ZeroShotConfig.model_type, ZeroShotConfig)
for _auto in (AutoModel, *map(classifier_class, MODALITIES)):
    cast(Any, _auto).register(ZeroShotConfig, ZeroShotModel)
