"""A step's view of two domains, around a small network, for tests of adaptation."""

import torch
from torch import nn

from hf_transfer_kit.adaptation.objectives import DomainBatch

WIDTH, CLASSES, SIDE = 6, 3, 4


class Backbone(nn.Module):
    """Pictures (N, 3, SIDE, SIDE) to features (N, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, WIDTH), nn.Tanh())

    def forward(self, pixel_values):
        return self.layers(pixel_values)


def domain_batch(sources=5, targets=4, *, dtype=torch.float64, strength=0.7, progress=0.5, second_look=True, seed=0):
    """A batch, and what made it: backbone, label head, features of source and target (leaves of nothing, in a graph)."""
    torch.manual_seed(seed)
    backbone, head = Backbone().to(dtype), nn.Linear(WIDTH, CLASSES).to(dtype)
    source = torch.randn(sources, 3, SIDE, SIDE, dtype=dtype)
    target = torch.randn(targets, 3, SIDE, SIDE, dtype=dtype) * 1.5 + 0.5
    source_features, target_features = backbone(source), backbone(target)
    source_features.retain_grad()
    target_features.retain_grad()
    batch = DomainBatch(
        source_features=source_features,
        target_features=target_features,
        source_logits=head(source_features),
        target_logits=head(target_features),
        labels=torch.arange(sources) % CLASSES,
        progress=torch.tensor(progress),
        strength=torch.tensor(strength, dtype=dtype),
        classify=head,
        extract=backbone if second_look else None,
        source_inputs={"pixel_values": source} if second_look else None,
        target_inputs={"pixel_values": target} if second_look else None,
    )
    return batch, backbone, head


def plain_batch(source_features, target_features, head, *, strength=1.0):
    """A batch of given features, without a network."""
    return DomainBatch(
        source_features=source_features,
        target_features=target_features,
        source_logits=head(source_features),
        target_logits=head(target_features),
        labels=torch.arange(len(source_features)) % CLASSES,
        progress=0.5,
        strength=torch.tensor(strength, dtype=source_features.dtype),
        classify=head,
    )


class AdaptedNet(nn.Module):
    """A network with an objective, as the stock Trainer calls it."""

    accepts_loss_kwargs = False

    def __init__(self, objective) -> None:
        super().__init__()
        self.backbone, self.head, self.objective = Backbone(), nn.Linear(WIDTH, CLASSES), objective

    def forward(self, pixel_values, labels=None, target_pixel_values=None):
        features = self.backbone(pixel_values)
        logits = self.head(features)
        if labels is None:
            return {"logits": logits}
        loss = nn.functional.cross_entropy(logits, labels)
        if target_pixel_values is not None:
            target = self.backbone(target_pixel_values)
            batch = DomainBatch(
                source_features=features,
                target_features=target,
                source_logits=logits,
                target_logits=self.head(target),
                labels=labels,
                progress=0.5,
                strength=torch.tensor(1.0),
                classify=self.head,
                extract=self.backbone,
                source_inputs={"pixel_values": pixel_values},
                target_inputs={"pixel_values": target_pixel_values},
            )
            loss = loss + sum(self.objective.terms(batch).values())
        return {"loss": loss, "logits": logits}


def rows_of_two_domains(rows=16):
    """Rows for Trainer: source and target pictures, source labels."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(rows, 2, 3, SIDE, SIDE, generator=generator)
    return [
        {"pixel_values": source, "labels": index % CLASSES, "target_pixel_values": target}
        for index, (source, target) in enumerate(pictures)
    ]
