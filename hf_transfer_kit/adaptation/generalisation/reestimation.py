"""BatchNorm statistics of several sources gathered anew, such as after their network's weights were averaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from hf_transfer_kit.adaptation.generalisation.batch_norm import keep_as_source, pool
from hf_transfer_kit.adaptation.generalisation.several_sources import SeveralSources, SourcesCollator
from hf_transfer_kit.adaptation.reestimation import reestimate_batch_norm
from hf_transfer_kit.argument_types import checked_arguments
from hf_transfer_kit.backbones.batch_norms import batch_norms


@checked_arguments()
def reestimate_on_sources(
    model: nn.Module,
    sources: SeveralSources,
    collator: Callable[[list[Mapping[str, Any]]], Mapping[str, Any]],
    *,
    batch_size: int = 256,
) -> nn.Module:
    """Replaces the running statistics of every BatchNorm by their mean over batches of the sources, in place.

    Batches hold rows of all sources alike; where the model keeps statistics of each source, they hold those of one, and
    the ordinary statistics are pooled. All else runs as in evaluation. The cost is one forward pass.

    Args:
        model: A ``SeveralSourcesModel`` or another network; without BatchNorm nothing changes.
        sources: What to gather on.
        collator: Rows -> batch, as Trainer would get it.
        batch_size: Rows in a batch.

    Returns:
        The model.

    Example:
        >>> sources = SeveralSources({"photo": train, "art": target})
        >>> reestimate_on_sources(model, sources, collator) is model
        True
    """
    norms = batch_norms(model)
    plain = collator.collator if isinstance(collator, SourcesCollator) else collator
    if not norms:
        return model
    if getattr(model, "reading", None) is None:
        return reestimate_batch_norm(model, RowAfterRow(sources), plain, batch_size=batch_size)
    for number, rows in enumerate(sources.sources.values()):
        reestimate_batch_norm(model, rows, plain, batch_size=batch_size)
        keep_as_source(model, number)
    for norm in norms:
        pool(norm)
    return model


class RowAfterRow(Sequence[Any]):
    """The rows of all sources in turn, those of shorter ones again and again: every source counts alike."""

    def __init__(self, sources: SeveralSources) -> None:
        self.sources = sources

    def __len__(self) -> int:
        return len(self.sources) * len(self.sources.names)

    def __getitem__(self, index: Any) -> Any:
        index, source = divmod(index, len(self.sources.names))
        place = self.sources.rows_of([index])[source][0]
        return self.sources.sources[self.sources.names[source]][place]
