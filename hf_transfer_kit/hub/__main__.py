"""Pushes a finished output folder: ``python -m hf_transfer_kit.hub FOLDER USER/NAME``."""

from __future__ import annotations

import argparse
import sys

from hf_transfer_kit.errors import TransferKitError
from hf_transfer_kit.hub.pushing import push_transfer_model


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hf_transfer_kit.hub", description=__doc__)
    parser.add_argument("folder", help="Output folder of a script.")
    parser.add_argument("repo_id", help="user/name, or name in your own namespace.")
    parser.add_argument("--private", action="store_true", default=None, help="Where the repository is made.")
    parser.add_argument("--revision", help="Branch; made when there is none.")
    parser.add_argument("--commit_message", help="Default: the recipe and its title.")
    given = parser.parse_args()
    try:
        commit = push_transfer_model(
            given.folder,
            given.repo_id,
            private=given.private,
            revision=given.revision,
            commit_message=given.commit_message,
        )
    except TransferKitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(commit.commit_url)


if __name__ == "__main__":
    main()
