"""How many of some planted wrong labels are among the twenty rows that the advice lists.

    python scripts/benchmarks/suspected_labels.py --model_name_or_path MODEL --dataset DATASET

Of ``--rows`` training rows, ``--wrong`` get another class at random; then the probe of ``recommend`` looks at them all.
Prints one line a seed.
"""

from __future__ import annotations

import argparse

import numpy as np

from hf_transfer_kit import load_data, load_model, load_processor, prepare_data
from hf_transfer_kit.backbones import modality_of
from hf_transfer_kit.selection import Budget
from hf_transfer_kit.selection.advice.measuring import measure_case


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--wrong", type=int, default=20)
    parser.add_argument("--image_size", type=int, default=96)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags = parser.parse_args()
    for seed in flags.seeds:
        loaded = load_data(flags.dataset, train_size=flags.rows, seed=seed)
        classes = len(loaded.label_names)
        model = load_model(flags.model_name_or_path, num_labels=classes).eval()
        data = prepare_data(
            loaded, load_processor(flags.model_name_or_path, modality_of(model)), image_size=flags.image_size
        )
        draw = np.random.default_rng(seed)
        wrong = draw.choice(len(data.train), flags.wrong, replace=False)
        data.train.classes[wrong] = (data.train.classes[wrong] + draw.integers(1, classes, len(wrong))) % classes
        found = measure_case(model, data, Budget(10 * flags.rows, 1), seed=seed)
        rows = {suspect.row for suspect in found.suspected}
        print(
            f"seed {seed}: {len(rows & set(wrong.tolist()))} of {len(wrong)} wrong labels among {len(rows)} rows; "
            f"{found.measured_rows} rows looked at, probe accuracy {found.probe_accuracy:.3f}"
        )


if __name__ == "__main__":
    main()
