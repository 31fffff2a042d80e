"""A parser for commands with few flags, which says what is wrong in one sentence."""

from __future__ import annotations

import argparse
import re
import sys
from typing import NoReturn

from hf_transfer_kit.errors import SettingsError
from hf_transfer_kit.near_names import did_you_mean


class PlainParser(argparse.ArgumentParser):
    """``argparse``, whose errors are ours; called as the command was."""

    def __init__(self, **options: object) -> None:
        super().__init__(**{"prog": sys.argv[0], "allow_abbrev": False, **options})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        near = ""
        if unread := re.match(r"unrecognized arguments: (\S+)", message):
            what = "is no flag here" if unread[1].startswith("-") else "stands behind no flag"
            message = f"{unread[1]} {what}"
            near = did_you_mean(unread[1], self._option_string_actions)
        elif choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message = f"{choice[1]} is unknown; choose {choice[2]}"
            near = did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        elif value := re.match(r"argument (\S+): invalid (\w+) value: '(.*)'", message):
            message = f"{value[1]} {value[3]} is no {'whole number' if value[2] == 'int' else 'number'}"
        elif bare := re.match(r"argument (\S+?)(?:/.*)?: expected (.*)", message):
            message = f"{bare[1]} wants {bare[2].replace('argument', 'value')} behind it"
        else:
            message = message[:1].upper() + message[1:]
        raise SettingsError(f"{message}. --help lists what may be given.{near}")
