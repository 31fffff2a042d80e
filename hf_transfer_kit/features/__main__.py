"""Caches on disk: ``python -m hf_transfer_kit.features list`` and ``... clean --older_than 30``."""

from __future__ import annotations

import argparse
import sys

from hf_transfer_kit.errors import TransferKitError
from hf_transfer_kit.features.cache_budget import readable_bytes
from hf_transfer_kit.features.cleaning import CacheFolder, clean_caches, list_caches
from hf_transfer_kit.features.store import default_cache_dir


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hf_transfer_kit.features", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("list", "What lies there, unused for longest first."), ("clean", "Removes what is not used.")):
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--cache_dir", help=f"Default: {default_cache_dir()}.")
        if name == "clean":
            command.add_argument("--older_than", type=float, required=True, help="Days since the last use; 0: all.")
    given = parser.parse_args()
    try:
        if given.command == "list":
            caches, what = list_caches(given.cache_dir), "lie in"
        else:
            caches, what = clean_caches(given.cache_dir, older_than=given.older_than), "were removed from"
    except TransferKitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(*map(_line, caches), sep="\n", end="\n" if caches else "")
    size = readable_bytes(sum(cache.nbytes for cache in caches))
    print(f"{len(caches)} caches of {size} {what} {given.cache_dir or default_cache_dir()}.")


def _line(cache: CacheFolder) -> str:
    state = "" if cache.finished else ", not finished"
    size = readable_bytes(cache.nbytes)
    return f"{cache.path.name}  {size:>10}  used {cache.days:.1f} days ago  {cache.words}{state}"


if __name__ == "__main__":
    main()
