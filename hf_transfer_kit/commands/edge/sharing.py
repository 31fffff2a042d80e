"""`--push_to_hub`: where a script's results go, asked before any work and sent at the end; and what the run takes."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainingArguments

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.hub import EnergyMeter, check_destination, push_transfer_model
from hf_transfer_kit.hub.licence import licence_of
from hf_transfer_kit.hub.metadata import checked_languages


class Sharing:
    """Trainer's own flags (--hub_model_id, --hub_private_repo, --hub_revision, --hub_token), for the whole run.

    Trainer's own pushing is turned off: it would upload single runs of a comparison, and pickles. Every process makes
    one, and every process calls ``push``. ``energy`` counts from here on, for the card.

    Args:
        args: Of the script. Without --push_to_hub nothing is sent.
        base_model: The pretrained network, whose licence must allow the new model's.

    Raises:
        SettingsError: When --hub_model_id is no name, --license none that may be, or --language no code.
        HubError: When there is no token that may write.
    """

    def __init__(self, args: TrainingArguments, base_model: str | None) -> None:
        self.args = args
        self.energy = EnergyMeter().start()
        licence_of(args.license, base_model)
        checked_languages(args.language)
        self.repo_id: str | None = None
        if args.push_to_hub:
            args.push_to_hub = False
            name = args.hub_model_id or Path(args.output_dir).resolve().name
            self.repo_id = check_destination(name, token=args.hub_token)

    def push(self) -> None:
        """Pushes the output folder, which holds a finished run."""
        if self.repo_id is None:
            return
        args = self.args
        commit = push_transfer_model(
            args.output_dir,
            self.repo_id,
            private=args.hub_private_repo,
            revision=args.hub_revision,
            token=args.hub_token,
        )
        if args.should_save:
            print(f"The results are at {commit.repo_url}.")


def refuse_push(args: TrainingArguments, instead: str) -> None:
    """For scripts that leave no model.

    Raises:
        SettingsError: When --push_to_hub is given.
    """
    if args.push_to_hub:
        raise SettingsError(f"--push_to_hub shares a model with its card, and this script leaves none; {instead}.")
