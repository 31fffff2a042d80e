"""Cards, results and pushing; the only room that needs a token."""

from typing import TYPE_CHECKING

from hf_transfer_kit.lazy_words import load_when_used

if TYPE_CHECKING:
    from hf_transfer_kit.hub.card import TransferCard
    from hf_transfer_kit.hub.command import without_tokens
    from hf_transfer_kit.hub.energy import EnergyMeter
    from hf_transfer_kit.hub.live_race_report import KeepRaceReport, started_race
    from hf_transfer_kit.hub.live_report import KeepReport, started_report
    from hf_transfer_kit.hub.merging import merge_card, save_merged
    from hf_transfer_kit.hub.no_pickle import NoPickleUploads
    from hf_transfer_kit.hub.output_folder import check_output_dir
    from hf_transfer_kit.hub.placing import written_beside
    from hf_transfer_kit.hub.pushing import check_destination, push_command, push_transfer_model
    from hf_transfer_kit.hub.raw_inputs import load_inputs, save_inputs
    from hf_transfer_kit.hub.results import save_results
    from hf_transfer_kit.hub.saved_check import check_saved

__all__ = [
    "EnergyMeter",
    "KeepRaceReport",
    "KeepReport",
    "NoPickleUploads",
    "TransferCard",
    "check_destination",
    "check_output_dir",
    "check_saved",
    "load_inputs",
    "merge_card",
    "push_command",
    "push_transfer_model",
    "save_inputs",
    "save_merged",
    "save_results",
    "started_race",
    "started_report",
    "without_tokens",
    "written_beside",
]

load_when_used(__name__)
