"""Take a picture of every page of the built site, and name what is wrong with a page.

    make docs && python docs/screenshots.py --out runs/screenshots
    python docs/screenshots.py --pages optimizers/adamp --widths 390

Needs Chromium (``apt-get install chromium``); one browser shows all pages, as wide as asked, light
and dark. Exit status 1 if the text of a page runs out of its window (what scrolls by itself, tables
and long equations, does not count), if a picture of a page is missing, if a page asked another host
for anything, or if one of its scripts failed.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TALLEST = 16_000
"""Pixels; a browser draws no surface that is taller. The rest of a page is not in its picture."""
MEASURE = """(async () => {
  await document.fonts.ready;
  const shown = [...document.images].filter(one => one.offsetParent !== null);
  shown.forEach(one => one.loading = "eager");
  await Promise.all(shown.map(one => one.decode().catch(() => {})));
  const root = document.documentElement;
  const missing = shown.filter(one => one.naturalWidth === 0).map(one => one.src);
  return {width: root.scrollWidth, height: root.scrollHeight, missing};
})()"""


class Quiet(SimpleHTTPRequestHandler):
    """The site, without a word."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Browser:
    """Chromium without a window, told what to do by its DevTools protocol over two pipes."""

    def __init__(self, program: str, profile: str) -> None:
        commands, self._commands = _high_pipe()
        self._answers, answers = _high_pipe()

        def as_three_and_four() -> None:  # where the browser looks for them
            os.dup2(commands, 3)
            os.dup2(answers, 4)

        self._process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=as_three_and_four, pass_fds=(3, 4), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one command; what happens meanwhile goes to ``events``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != self._number:
            self.events.append(found)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']['message']}")
        return dict(found["result"])

    def wait(self, event: str) -> None:
        """Until the page says so."""
        while not any(one.get("method") == event for one in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._answers, 1 << 20)
            if not read:
                raise RuntimeError("the browser ended")
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))

    def close(self) -> None:
        self._session = ""
        self.ask("Browser.close")
        self._process.wait()


def _high_pipe() -> tuple[int, int]:
    """A pipe whose ends are out of the way of 3 and 4."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


def look(browser: Browser, address: str, width: int, scheme: str, file: Path) -> list[str]:
    """One picture; returns what is wrong with the page."""
    browser.events.clear()
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.ask("Emulation.setDeviceMetricsOverride", **metrics)
    browser.ask("Emulation.setEmulatedMedia",
                features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
    browser.ask("Page.navigate", url=address)
    browser.wait("Page.loadEventFired")
    seen = _measured(browser)
    metrics["height"] = min(max(seen["height"], 900), TALLEST)
    browser.ask("Emulation.setDeviceMetricsOverride", **metrics)
    seen = _measured(browser)
    picture = browser.ask("Page.captureScreenshot", format="png", optimizeForSpeed=True)
    file.write_bytes(base64.b64decode(picture["data"]))
    faults = [f"{src} is missing" for src in seen["missing"]]
    if seen["width"] > width:
        faults.append(f"{seen['width']} pixels in {width}")
    host = urlsplit(address).netloc
    for event in browser.events:
        params = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            asked = urlsplit(params["request"]["url"])
            if asked.scheme in ("http", "https", "ws", "wss") and asked.netloc != host:
                faults.append(f"asked for {asked.geturl()}")
        elif event.get("method") == "Runtime.exceptionThrown":
            faults.append(f"a script failed: {params['exceptionDetails']['text']}")
    return faults


def _measured(browser: Browser) -> dict[str, Any]:
    found = browser.ask("Runtime.evaluate", expression=MEASURE, awaitPromise=True,
                        returnByValue=True)  # fmt: skip
    return dict(found["result"]["value"])


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", type=Path, default=Path("site"), help="default site")
    parser.add_argument("--out", type=Path, default=Path("runs/screenshots"))
    parser.add_argument("--pages", nargs="*", help="folders of the site; all by default")
    parser.add_argument("--widths", nargs="*", type=int, default=[1400, 390])
    args = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
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
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        for page in args.pages or every:
            path = page if page.endswith(".html") else f"{page}/"
            for width in args.widths:
                for scheme in ("light", "dark"):
                    name = f"{page.replace('/', '-').strip('.') or 'home'}-{width}-{scheme}.png"
                    found = look(browser, f"http://127.0.0.1:{server.server_port}/{path}",
                                 width, scheme, args.out / name)  # fmt: skip
                    faults += [f"{page}, {width}, {scheme}: {fault}" for fault in found]
            print(page, flush=True)
        browser.close()
    print("\n".join(faults) or "No page is wider than its window, lacks a picture, asks another "
          "host, or has a script that fails.")  # fmt: skip
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
