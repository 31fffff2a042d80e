"""Cards and results; the only room that will need a token."""

from hf_transfer_kit.hub.card import TransferCard
from hf_transfer_kit.hub.results import check_output_dir, save_results

__all__ = ["TransferCard", "check_output_dir", "save_results"]
