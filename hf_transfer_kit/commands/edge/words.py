"""A parser for commands with few flags, which says what is wrong in one sentence."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from hf_transfer_kit.errors import SettingsError


class PlainParser(argparse.ArgumentParser):
    """``argparse``, whose errors are ours; called as the command was."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"prog": sys.argv[0], "allow_abbrev": False, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message[:1].upper()}{message[1:]}. --help lists what may be given.")
