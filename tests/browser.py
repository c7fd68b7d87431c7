"""Chromium without a window, as Debian packs it."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from deploy.watch.debian import debian_tree

_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
_TIMEOUT_S = 120
_POLICY = "default-src 'none'"
_SCRIPTED = "default-src 'none'; script-src 'unsafe-inline'"

_LISTEN = """<script>
window.refused = [];
document.addEventListener("securitypolicyviolation", e => window.refused.push(e.blockedURI));
</script>"""

_MEASURE = """<script>
window.addEventListener("load", () => {
  document.querySelectorAll("details").forEach(each => each.open = true);
  const seen = each => each.getBoundingClientRect();
  const scrolled = each => each.closest(".scroll, pre") !== null;
  const texts = [...document.querySelectorAll("svg text")];
  const size = each => parseFloat(getComputedStyle(each).fontSize)
    * (each.closest("svg") ? seen(each.closest("svg")).width / 360 : 1);
  const outside = texts.filter(each => {
    const [own, all] = [seen(each), seen(each.closest("svg"))];
    return own.left < all.left - 1 || own.right > all.right + 1
      || own.top < all.top - 1 || own.bottom > all.bottom + 1;
  });
  const overlapping = texts.filter(each => [...each.closest("svg").querySelectorAll("text")].some(
    other => {
      const [a, b] = [seen(each), seen(other)];
      return other !== each && a.left < b.right - 1 && b.left < a.right - 1
        && a.top < b.bottom - 3 && b.top < a.bottom - 3;
    }));
  const all = [...document.body.querySelectorAll("*")];
  const wide = all.filter(each => !scrolled(each) && seen(each).right > innerWidth + 1);
  const style = getComputedStyle(document.body);
  const found = {
    inner: innerWidth,
    scroll: document.documentElement.scrollWidth,
    wide: wide.map(each => each.tagName),
    outside: outside.map(each => each.textContent),
    overlapping: overlapping.map(each => each.textContent),
    smallest: Math.min(...texts.map(size)),
    text: size(document.querySelector("p")),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ink: style.color,
    paper: style.backgroundColor,
    soft: getComputedStyle(document.querySelector(".note")).color,
    lines: [...document.querySelectorAll(".legend .key")].map(each => getComputedStyle(each).color),
    requests: performance.getEntriesByType("resource").map(each => each.name),
    refused: window.refused,
  };
  document.title = JSON.stringify(found);
});
</script>"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Browser:
    """Looks at pages.

    Args:
        tree: Folder that Debian's package and its libraries are unpacked in.
        work: Folder for what it writes.
    """

    tree: Path
    work: Path

    @classmethod
    def fetched(cls, work: Path) -> Self:
        """The one that Debian packs; raises `MissingProgramError` where it is not to be had."""
        return cls(tree=debian_tree("chromium-headless-shell"), work=work)

    def measure(self, text: str, *, width: int, dark: bool) -> dict[str, Any]:
        """What a page is like in a window of some width, with all that is folded unfolded.

        The copy that is looked at may run the script that measures, and may load no more than the
        page itself.
        """
        assert text.count(_POLICY) == 1
        looked_at = text.replace(_POLICY, _SCRIPTED)
        looked_at = looked_at.replace("<style>", f"{_LISTEN}<style>", 1)
        copy = self.work / "measured.html"
        copy.write_text(looked_at.replace("</body>", f"{_MEASURE}</body>"), encoding="utf-8")
        shown = self._run(copy, "--dump-dom", width=width, dark=dark)
        (title,) = re.findall(r"<title>(\{.*?\})</title>", shown, flags=re.DOTALL)
        return json.loads(html.unescape(title))

    def picture(self, page: Path, *, width: int, dark: bool) -> Path:
        """A picture of the top of a page."""
        file = self.work / f"{width}-{'dark' if dark else 'light'}.png"
        self._run(page, f"--screenshot={file}", width=width, dark=dark)
        return file

    def _run(self, page: Path, *switches: str, width: int, dark: bool) -> str:
        libraries = self.tree / _LIBRARIES
        command = [
            str(self.tree / "usr/lib/chromium/chromium-headless-shell"),
            *_SWITCHES,
            f"--user-data-dir={self.work / 'profile'}",
            f"--window-size={width},1000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *switches,
            page.absolute().as_uri(),
        ]
        paths = f"{libraries}:{libraries / 'pulseaudio'}"
        done = subprocess.run(
            command,
            env={**os.environ, "LD_LIBRARY_PATH": paths},
            capture_output=True,
            text=True,
            check=True,
            timeout=_TIMEOUT_S,
        )
        return done.stdout
