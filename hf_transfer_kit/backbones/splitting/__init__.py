"""A network cut in two behind its first layer groups, and made whole again."""

from hf_transfer_kit.backbones.splitting.calls import CallRecorder, unit_modules
from hf_transfer_kit.backbones.splitting.checking import check_split
from hf_transfer_kit.backbones.splitting.planning import find_split
from hf_transfer_kit.backbones.splitting.replay import SuffixMode
from hf_transfer_kit.backbones.splitting.split import Split, TensorShape

__all__ = ["CallRecorder", "Split", "SuffixMode", "TensorShape", "check_split", "find_split", "unit_modules"]
