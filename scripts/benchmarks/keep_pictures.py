"""Keeps the pictures of README.md with the project: the upper part of each recipe's report, from its embedded example.

    python scripts/benchmarks/keep_pictures.py --recipes transfer adapt

Runs the recipes without arguments, so that no figure is drawn by hand, and lets headless Chromium (Debian's package
chromium) show their pages.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "model_cards" / "pictures"
_WIDTH = 1000
KEPT = {
    "transfer": ("transfer_digits", 1150),
    "advise": ("advise", 830),
    "adapt": ("adapt", 1130),
    "multitask": ("multitask", 1330),
    "zero_shot": ("zero_shot", 1250),
    "search_depth": ("search_depth", 860),
}
"""Recipe -> name of its picture, and how many pixels of its page it shows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipes", nargs="*", default=list(KEPT), choices=list(KEPT), metavar="RECIPE")
    flags = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("There is no chromium here, which shows the pages.")
    for recipe in flags.recipes:
        with tempfile.TemporaryDirectory() as folder:
            script = [sys.executable, ROOT / "scripts" / f"{recipe}.py", "--output_dir", folder]
            subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
            show(chromium, Path(folder) / "report.html", *KEPT[recipe])


def show(chromium: str, page: Path, name: str, height: int) -> None:
    """Writes the upper part of a page as a picture."""
    with tempfile.TemporaryDirectory() as profile:
        switches = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        target = PICTURES / f"{name}.png"
        size = f"--window-size={_WIDTH},{height}"
        command = [chromium, *switches, size, f"--screenshot={target}", page.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    Image.open(target).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)} shows {height} pixels of its page.")


if __name__ == "__main__":
    main()
