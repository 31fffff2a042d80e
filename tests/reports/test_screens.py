"""Pages in a browser: nothing is cut or has to be scrolled sideways, on a phone, a tablet and a screen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
from hub.report_kinds import PAGES, named

from hf_transfer_kit.reports import html_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MEASURE = """<script>
addEventListener("load", () => {
  const cut = [];
  const room = document.documentElement.clientWidth;
  for (const element of document.querySelectorAll("body, main, section, .wide, table, figure, img, pre, dl, td, th")) {
    if (getComputedStyle(element.closest("thead") || element).clipPath != "none") continue;  // for screen readers
    const box = element.getBoundingClientRect();
    const scrolls = element.clientWidth && element.scrollWidth > element.clientWidth + 1;
    if (box.right > room + 1 || scrolls)
      cut.push(`${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}: ` +
               `${element.scrollWidth} in ${element.clientWidth}, to ${box.right} of ${room}`);
  }
  const shown = [...document.images].filter(image => image.complete && image.naturalWidth).length;
  parent.postMessage({room, cut, shown, images: document.images.length}, "*");
});
</script>"""
# A window is never narrower than 500 pixels, a frame may be.
FRAME = """<!doctype html><iframe src="page.html" style="width: {width}px; height: 900px; border: 0"></iframe>
<pre id="measured"></pre><script>
addEventListener("message", event => {{ document.getElementById("measured").textContent = JSON.stringify(event.data); }});
</script>"""


def measured(page: str, folder: Path, width: int) -> dict:
    """What a browser says of a page where it has this width."""
    (folder / "page.html").write_text(page.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,900"]
    found = subprocess.run(
        [*command, "--virtual-time-budget=3000", "--dump-dom", (folder / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    return json.loads(unescape(re.search(r'<pre id="measured">(.*?)</pre>', found, re.DOTALL)[1]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to show pages in")
@pytest.mark.parametrize("width", [390, 800, 1200])
@pytest.mark.parametrize("kind", PAGES)
def test_nothing_of_a_page_is_cut(kind, width, tmp_path):
    found = measured(html_report(PAGES[kind]()), tmp_path, width)
    assert found["room"] == width
    assert found["shown"] == found["images"]
    assert found["cut"] == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to show pages in")
@pytest.mark.parametrize("kind", ["transfer", "multitask", "zero_shot"])
def test_long_names_are_cut_nowhere(kind, tmp_path):
    """A phone wraps them; a wider page scrolls a table sideways, never itself."""
    page = html_report(named(PAGES[kind](), "_of_a_name_that_is_rather_long", "_x"))
    assert measured(page, tmp_path, 390)["cut"] == []
    wider = measured(page, tmp_path, 800)["cut"]
    assert not [found for found in wider if found.startswith(("BODY", "MAIN", "SECTION", "IMG", "PRE"))]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to show pages in")
def test_what_is_cut_is_found(tmp_path):
    page = '<html><body><section style="overflow: auto"><div style="width: 900px">wide</div></section></body></html>'
    assert "900 in" in measured(page, tmp_path, 390)["cut"][0]
