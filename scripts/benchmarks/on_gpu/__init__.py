"""The sections of ``gpu_check.py``: what a GPU must give, each measured by itself."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tests"))  # its small networks and parts
