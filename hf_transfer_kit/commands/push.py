"""A finished folder, sent to the Hub by its manifest.

hf-transfer push outputs/run user/name --private
"""

from __future__ import annotations

import argparse

from hf_transfer_kit.commands.edge.words import PlainParser


def main() -> None:
    parser = PlainParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="Output folder of a run or of a merge.")
    parser.add_argument("repo_id", help="user/name, or name in your own namespace.")
    parser.add_argument("--private", action="store_true", default=None, help="Where the repository is made.")
    parser.add_argument("--revision", help="Branch; made when there is none.")
    parser.add_argument("--commit_message", help="Default: the recipe and its title.")
    given = parser.parse_args()

    from hf_transfer_kit.hub.pushing import push_transfer_model  # after the flags, so that help is at once

    commit = push_transfer_model(
        given.folder,
        given.repo_id,
        private=given.private,
        revision=given.revision,
        commit_message=given.commit_message,
    )
    print(commit.commit_url)
