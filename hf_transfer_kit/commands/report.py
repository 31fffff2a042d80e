"""What a run found: its tables and verdicts, and where the page lies.

hf-transfer report outputs/transfer
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from hf_transfer_kit.commands.edge.words import PlainParser
from hf_transfer_kit.errors import DataError


def main() -> None:
    parser = PlainParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="Output folder of a run.")
    parser.add_argument("--open", action="store_true", help="Show the page in a browser.")
    given = parser.parse_args()

    from hf_transfer_kit.hub.metadata import UNFINISHED  # after the flags, so that help is at once
    from hf_transfer_kit.reports import read_report, report_text

    folder = Path(given.folder)
    file, page = folder / "report.json", folder / "report.html"
    if not file.is_file():
        raise DataError(f"{folder} holds no report.json, so no run of the kit has ended there. Give its --output_dir.")
    try:
        report = read_report(file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file} cannot be read as a report: {error}. Run the command again that wrote it.") from error
    if report is None:
        raise DataError(f"{file} is empty. Run the command again that wrote it.")
    print(report_text(report))
    if UNFINISHED in report.data:
        print("The run is not over, or was interrupted; the same command goes on with what is missing.")
    if page.is_file():
        print(f"The page is {page}.")
        if given.open:
            webbrowser.open(page.resolve().as_uri())
