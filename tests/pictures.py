"""``make pictures``: the pictures of the README, taken of a demo with a fixed seed in a real Chromium.

    docs/pictures/page.png      the page in the middle of a run
    docs/pictures/mail.png      a digest
    docs/pictures/terminal.png  what ``status`` says at that moment

The instants on them are of the day they were made. Needs a Chromium; says so and ends with 1 elsewhere.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROGRAM = str(Path(sys.executable).parent / "jgi-stager")
DONE_SHARE = 0.35
"""So much of the bytes is done when the pictures are taken."""
TIMEOUT_SECONDS = 180.0
TERMINAL = """<body style="margin:0;background:#fff"><pre style="margin:0;padding:18px 22px;border-radius:10px;
background:#1c1f26;color:#e6e6e6;font:14px/1.45 'DejaVu Sans Mono',monospace;display:inline-block">{}</pre>"""


@contextmanager
def demo(place: Path) -> Iterator[str]:
    """A demo that runs; the address of its page."""
    command = [PROGRAM, "demo", "--dir", str(place), "--seed", "1", "--analysis-projects", "150"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        try:
            yield next(found[0] for line in running.stdout if (found := re.search(r"http://\S+/", line)))
        finally:
            running.terminate()


def wait_for(what: Callable[[], Any], name: str) -> Any:
    """Wait until ``what`` says something, and return it."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := what()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {name}")
        time.sleep(0.5)
    return found


def far_enough(address: str) -> bool:
    """Whether enough is done for a picture."""
    try:
        with urllib.request.urlopen(f"{address}index.json", timeout=30) as answer:
            projects = json.load(answer)["projects"]
    except urllib.error.URLError:
        return False  # the demo prints the address before the daemon listens
    return any(one["done_bytes"] > DONE_SHARE * one["bytes"] > 0 for one in projects)


def digest_of(place: Path) -> str | None:
    """The HTML of the newest digest, its picture inside; None while there is none."""
    for path in sorted((place / "mail").glob("*arrived*.eml"), reverse=True):
        message = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert isinstance(message, EmailMessage)
        page = message.get_body(("html",))
        assert page is not None
        text = str(page.get_content())
        for part in message.walk():
            if name := (part["Content-ID"] or "").strip("<>"):
                content = part.get_payload(decode=True)
                assert isinstance(content, bytes)
                data = base64.b64encode(content).decode()
                text = text.replace(f"cid:{name}", f"data:{part.get_content_type()};base64,{data}")
        if "data:image/png" in text:
            return text
    return None


def main() -> int:
    """Take them."""
    if CHROMIUM is None:
        print("there is no Chromium on this machine: nothing was done", file=sys.stderr)
        return 1
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jgi-pictures-") as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def take(name: str, width: int, height: int | None, show: Callable[[Any], object]) -> None:
            page = browser.new_page(viewport={"width": width, "height": height or 10})
            show(page)
            page.screenshot(path=str(PICTURES / f"{name}.png"), full_page=height is None)
            page.close()

        place = Path(home) / "demo"
        with demo(place) as address:
            wait_for(lambda: far_enough(address), "a project that is far enough")
            take("page", 1100, 890, lambda page: page.goto(address))
            command = [PROGRAM, "status", "-c", str(place / "settings.toml")]
            environment = {**os.environ, "COLUMNS": "100"}
            said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
            mail = wait_for(lambda: digest_of(place), "a digest with a picture")
        terminal = TERMINAL.format(html.escape(said.rstrip()))
        take("terminal", 900, None, lambda page: page.set_content(terminal))
        take("mail", 680, None, lambda page: page.set_content(mail))
        browser.close()
    for path in sorted(PICTURES.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
