"""Several finished models of one network and the same classes made into one, by arithmetic on their weights.

hf-transfer merge outputs/one outputs/two --output_dir outputs/merged
hf-transfer merge outputs/one outputs/two --base user/pretrained --method ties --output_dir outputs/merged

Nothing is trained and nothing measured: ask the merged model about rows that were not trained on before you use it.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.words import PlainParser


def main(argv: list[str] | None = None) -> None:
    parser = PlainParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="Folders that runs have left, or Hub names.")
    parser.add_argument("--output_dir", required=True, help="Folder of the merged model.")
    parser.add_argument("--base", help="What all of them were trained from; of all methods but soup.")
    parser.add_argument(
        "--method", default="soup", help="soup, task_arithmetic, ties or dare (default: soup, the mean of the weights)."
    )
    parser.add_argument("--weights", type=float, nargs="+", help="A factor for each model; default: 1 / n, of ties 1.")
    parser.add_argument("--density", type=float, help="Share of each change that is kept; ties 0.2, dare 0.5.")
    parser.add_argument("--seed", type=int, default=0, help="Of what dare draws.")
    parser.add_argument("--dataset", help="Its training rows give BatchNorm's statistics for the merged weights.")
    parser.add_argument("--license", help="Identifier of the merged model's licence.")
    parser.add_argument("--language", help="Code of the data's language.")
    parser.add_argument("--overwrite", action="store_true", help="Replace files of others in the folder.")
    given = parser.parse_args(argv)

    from hf_transfer_kit.data import load_data, prepare_data  # after the flags, so that help is at once
    from hf_transfer_kit.errors import ModelError
    from hf_transfer_kit.hub import load_inputs
    from hf_transfer_kit.hub.merging import save_merged
    from hf_transfer_kit.tuning import merge_models

    stage("Merging")
    try:
        inputs = load_inputs(given.models[0])
    except ModelError:  # a network that no run of the kit has left
        inputs = None
    rows = {}
    if given.dataset:
        if inputs is None:
            raise ModelError(
                f"{given.models[0]} has no inputs.json that says how rows are read; leave --dataset out, or merge in a "
                "script with merge_models(rows=, collator=)."
            )
        loaded = load_data(given.dataset)
        data = prepare_data(loaded, inputs.processor, **asdict(inputs.sizes))
        rows = {"rows": data.train, "collator": data.collator}
    merged = merge_models(
        given.models,
        given.base,
        method=given.method,
        weights=given.weights,
        density=given.density,
        seed=given.seed,
        **rows,
    )
    save_merged(
        given.output_dir,
        merged,
        inputs,
        license=given.license,
        language=given.language,
        overwrite=given.overwrite,
    )
    print(*merged.notes, sep="\n", end="\n" if merged.notes else "")
    print(f"The merged model of {len(merged.names)} is in {given.output_dir}.")
