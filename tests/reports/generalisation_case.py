"""A made-up comparison of methods for several sources and its report, for tests of pages, pictures and cards."""

from hf_transfer_kit.reports import TransferReport
from hf_transfer_kit.values import Generalisation, GeneralisationResult


def result(method, photo, art, cartoon, *, known=0.9):
    seeds = tuple(range(len(photo)))
    left_out = {"photo": photo, "art": art, "cartoon": cartoon}
    in_domain = {name: (known,) * len(photo) for name in left_out}
    return GeneralisationResult(method, f"how {method} works", seeds, left_out, in_domain, 12.5)


def generalisation() -> Generalisation:
    return Generalisation(
        sources=("photo", "art", "cartoon"),
        results=(
            result("joint", (0.70, 0.72), (0.60, 0.62), (0.50, 0.52)),
            result("joint:average=swad", (0.72, 0.74), (0.62, 0.64), (0.58, 0.60)),
            result("coral:weight=0.1", (0.71, 0.71), (0.61, 0.61), (0.40, 0.50)),
        ),
        chosen="joint:average=swad",
        known={"photo": (0.95, 0.97), "art": (0.85, 0.87), "cartoon": (0.9, 0.92)},
        unseen_name="sketch",
        unseen=(0.64, 0.66),
        unseen_interval=(0.61, 0.7),
    )


def two_sources() -> Generalisation:
    one = [
        GeneralisationResult(name, "how", (0,), {"a": (0.5,), "b": (0.7,)}, {"a": (0.9,), "b": (0.8,)}, 1.0)
        for name in ("joint", "coral")
    ]
    return Generalisation(("a", "b"), tuple(one), "joint", {"a": (0.9,), "b": (0.8,)}, alike=("joint", "coral"))


def report_of(found: Generalisation, **changes) -> TransferReport:
    given = {
        "recipe": "adapt",
        "metrics": {
            "accuracy": 0.9,
            "left_out_accuracy": 0.65,
            **{f"accuracy_on_{name}": values[0] for name, values in found.known.items()},
            **({f"accuracy_on_{found.unseen_name}": found.unseen[0]} if found.unseen else {}),
        },
        "baselines": {},
        "plan": {"method": found.chosen},
        "layer_groups": [
            {"depth": 0, "name": "stem", "parameters": 40, "trainable": 1.0, "head": False},
            {"depth": 1, "name": "head", "parameters": 60, "trainable": 1.0, "head": True},
        ],
        "data": {
            "modality": "image",
            "classes": ["cat", "dog", "owl"],
            "sizes": {"photo, train": 60, "photo, test": 20},
            "fingerprints": {"photo, train": "ab12", "photo, test": "cd34"},
            "skipped_rows": 0,
        },
        "seconds": {"total": 12.0},
        "versions": {"torch": "2"},
        "seed": 0,
        "command": "python scripts/adapt.py --source photo art cartoon",
        "title": "net from photo + art + cartoon to domains never seen",
        "model_name": "net",
        "dataset_name": "photo + art + cartoon",
        "winner": found.chosen,
        "budget": {"steps": 40, "batch_size": 8, "seeds": list(found.results[0].seeds)},
        "generalisation": found,
    }
    return TransferReport(**{**given, **changes})
