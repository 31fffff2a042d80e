"""Caches of features on disk: what there is, and what goes.

hf-transfer cache list
hf-transfer cache clean --older_than 30
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hf_transfer_kit.commands.edge.words import PlainParser

if TYPE_CHECKING:
    from hf_transfer_kit.features.cleaning import CacheFolder


def main() -> None:
    parser = PlainParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, words in (("list", "What lies there, unused for longest first."), ("clean", "Removes what is not used.")):
        action = actions.add_parser(name, help=words, description=words)
        action.add_argument("--cache_dir", help="Folder of the caches; default: beside those of datasets.")
        if name == "clean":
            action.add_argument("--older_than", type=float, required=True, help="Days since the last use; 0: all.")
    given = parser.parse_args()

    from hf_transfer_kit.features.cache_budget import readable_bytes  # after the flags, so that help is at once
    from hf_transfer_kit.features.cleaning import clean_caches, list_caches
    from hf_transfer_kit.features.store import default_cache_dir

    if given.action == "list":
        caches, what = list_caches(given.cache_dir), "lie in"
    else:
        caches, what = clean_caches(given.cache_dir, older_than=given.older_than), "were removed from"
    for cache in caches:
        print(_line(cache, readable_bytes(cache.nbytes)))
    size = readable_bytes(sum(cache.nbytes for cache in caches))
    print(f"{len(caches)} caches of {size} {what} {given.cache_dir or default_cache_dir()}.")


def _line(cache: CacheFolder, size: str) -> str:
    state = "" if cache.finished else ", not finished"
    return f"{cache.path.name}  {size:>10}  used {cache.days:.1f} days ago  {cache.words}{state}"
