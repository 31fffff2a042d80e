"""Features of both domains laid out in the plane."""

from __future__ import annotations

import numpy as np

from hf_transfer_kit.adaptation import DomainAdversarialModel, domain_outputs
from hf_transfer_kit.selection.adapting.running import Domains
from hf_transfer_kit.values import FeatureMap
from hf_transfer_kit.values.rows import evenly_spread


def feature_map(
    title: str, model: DomainAdversarialModel, domains: Domains, *, max_rows: int = 300, seed: int = 0
) -> FeatureMap:
    """t-SNE (van der Maaten and Hinton 2008) of the features of validation rows of both domains.

    Classes of target rows are their labels where they have them, else what the network predicts.

    Args:
        title: What the features are of.
        model: Gives the features.
        domains: Both domains.
        max_rows: At most so many of each.
        seed: Of the layout.
    """
    from sklearn.manifold import TSNE

    target = domains.target.validation
    outputs = domain_outputs(
        model, domains.source.validation, target, domains.source.collator, max_rows=max_rows, together=True
    )
    features = np.concatenate([outputs.source_features, outputs.target_features]).astype(np.float64)
    count = len(outputs.source_features)
    labels = domains.labels("validation")
    of_target = (
        outputs.target_logits.argmax(1) if labels is None else np.asarray(labels)[evenly_spread(len(target), max_rows)]
    )
    perplexity = min(30.0, max(2.0, (len(features) - 1) / 3))
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return FeatureMap(
        title=title,
        points=tuple((round(float(x), 2), round(float(y), 2)) for x, y in points),
        is_target=tuple([False] * count + [True] * (len(features) - count)),
        classes=tuple(int(c) for c in [*outputs.source_labels, *of_target]),
        predicted=labels is None,
    )
