"""Take a picture of every page of the built site, and name what is wrong with a page.

    make docs && python docs/screenshots.py --out runs/screenshots
    python docs/screenshots.py --pages optimizers/adamp --widths 390

Needs Chromium (``apt-get install chromium``). Each page is shown in a frame of the asked width, as
headless Chromium has no window narrower than 500 pixels, light and dark. Exit status 1 if the text
of a page runs out of its frame (what scrolls by itself, tables and long equations, does not count),
or if a page asked another host for anything.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FRAME = """<!doctype html><meta charset="utf-8"><title>frame</title>
<style>body{{margin:0}}iframe{{border:0;width:{width}px;height:{height}px}}</style>
<iframe id="f" src="/{page}"></iframe><script>
const frame = document.getElementById("f");
frame.onload = () => setTimeout(() => {{
  const root = frame.contentDocument.documentElement;
  document.body.dataset.wide = root.scrollWidth;
  const loaded = frame.contentWindow.performance.getEntriesByType("resource");
  const others = loaded.map(one => one.name).filter(name => new URL(name).host != location.host);
  document.body.dataset.others = [...new Set(others)].join(" ");
}}, 500);
</script>"""
NAME = "frame.html"
DARK, LIGHT = 0, 1  # Blink's numbers of the preferred colour scheme


class Quiet(SimpleHTTPRequestHandler):
    """The site, and the frame around one of its pages."""

    frame = ""

    def do_GET(self) -> None:
        if self.path != f"/{NAME}":
            return super().do_GET()
        body = type(self).frame.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", type=Path, default=Path("site"), help="default site")
    parser.add_argument("--out", type=Path, default=Path("runs/screenshots"))
    parser.add_argument("--pages", nargs="*", help="folders of the site; all by default")
    parser.add_argument("--widths", nargs="*", type=int, default=[1400, 390])
    parser.add_argument("--height", type=int, default=2600, help="pixels of a page; default 2600")
    args = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        parser.error("no chromium on the path; on Debian and Ubuntu: apt-get install chromium")
    if not (args.site / "index.html").is_file():
        parser.error(f"--site {args.site} has no index.html: `make docs` builds the site.")
    every = sorted(
        p.parent.relative_to(args.site).as_posix() for p in args.site.rglob("index.html")
    )
    every.append("404.html")
    args.out.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(args.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    faults = []
    with tempfile.TemporaryDirectory() as profile:
        for page in args.pages or every:
            for width in args.widths:
                Quiet.frame = FRAME.format(width=width, height=args.height, page=address(page))
                for scheme, word in ((LIGHT, "light"), (DARK, "dark")):
                    name = f"{page.replace('/', '-').strip('.') or 'home'}-{width}-{word}.png"
                    seen, others = look(browser, profile, server.server_port, width, args.height,
                                        scheme, args.out / name)  # fmt: skip
                    if seen > width:
                        faults.append(f"{page}: {seen} pixels in {width}, {word}")
                    if others:
                        faults.append(f"{page}: asked for {others}")
            print(page, flush=True)
    print("\n".join(faults) or "No page is wider than its frame, or asks another host.")
    return bool(faults)


def address(page: str) -> str:
    """A folder's page, or a file."""
    return page if page.endswith(".html") else f"{page}/"


def look(
    browser: str, profile: str, port: int, width: int, height: int, scheme: int, file: Path
) -> tuple[int, str]:
    """One picture; returns how many pixels wide the page wants to be, and what it asked others."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={profile}", f"--window-size={max(width, 500)},{height}",
        f"--blink-settings=preferredColorScheme={scheme}", "--virtual-time-budget=4000",
        f"--screenshot={file.resolve()}", "--dump-dom", f"http://127.0.0.1:{port}/{NAME}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    wide = re.search(r'data-wide="(\d+)"', done.stdout)
    others = re.search(r'data-others="([^"]*)"', done.stdout)
    if wide is None or others is None:
        raise RuntimeError(f"{file.name}: the page did not load")
    return int(wide[1]), others[1]


if __name__ == "__main__":
    sys.exit(main())
