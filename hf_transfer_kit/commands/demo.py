"""A finished model on a page in the browser, to be tried by hand; it is served on this machine alone.

hf-transfer demo outputs/transfer [--port 7860]
"""

from __future__ import annotations

import argparse
import threading

from hf_transfer_kit.commands.edge.sign_of_life import stage
from hf_transfer_kit.commands.edge.words import PlainParser


def main(argv: list[str] | None = None) -> None:
    parser = PlainParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL_FOLDER", help="Folder that a run has left, or a Hub name.")
    parser.add_argument("--port", type=int, help="Of the page (default: the first that is free from 7860 on).")
    parser.add_argument("--top", type=int, default=5, help="Classes told of each row (default: 5).")
    parser.add_argument("--classes", help="Table of attributes of further classes, for a model of zero_shot.")
    parser.add_argument("--device", help="Such as cpu or cuda:1 (default: a GPU where there is one).")
    parser.add_argument("--revision", help="Branch, tag or commit of a model on the Hub.")
    given = parser.parse_args(argv)

    from hf_transfer_kit.options import check_int  # after the flags, so that help is at once
    from hf_transfer_kit.predicting import load_transferred
    from hf_transfer_kit.predicting.demo import check_demo_installed, demo_page, open_page

    check_demo_installed()
    check_int("demo", "top", given.top, low=1)
    if given.port is not None:
        check_int("demo", "port", given.port, low=1, high=65_535)
    stage("Loading the model")
    model = load_transferred(given.model, classes=given.classes, device=given.device, revision=given.revision)
    page = demo_page(model, top=given.top)
    print(f"{model.name} is shown on {open_page(page, port=given.port)} until Ctrl-C is pressed.", flush=True)
    stage("The page is shown; Ctrl-C ends it")
    wait_for_ctrl_c()
    page.close(verbose=False)


def wait_for_ctrl_c() -> None:
    """Returns when the user ends the program."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
