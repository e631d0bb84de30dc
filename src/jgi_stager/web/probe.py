"""``python -m jgi_stager.web.probe /healthz``: asks the daemon of this machine how it is, for containers.

Exit code 0 if it answers 200, or if nobody listens: a daemon that begins or stands by serves no pages, and one
whose process has ended needs no probe to be seen. 1 for any other answer, or none within ten seconds; the answer
is shown.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

PAGES = ("/healthz", "/healthz/live")
PORT = 9741
SECONDS = 10.0


def probe(page: str, port: int) -> tuple[bool, str]:
    """Whether all is well by this page of the daemon on this port, and what was said."""
    if page not in PAGES:
        return False, f"{page}: not a page to probe; give one of {', '.join(PAGES)}"
    # No proxy of the environment stands between a machine and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{page}", timeout=SECONDS) as answer:
            return True, answer.read(10_000).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        return False, error.read(10_000).decode(errors="replace").strip()
    except OSError as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ConnectionRefusedError):
            return True, "nobody listens: it begins, or stands by"
        return False, f"no answer: {reason}"


def main() -> None:
    """Ask for the page that is named; by default whether it is ready."""
    page = sys.argv[1] if len(sys.argv) > 1 else PAGES[0]
    good, said = probe(page, int(os.environ.get("JGI_STAGER_WEB__PORT", PORT)))
    sys.stdout.write(said + "\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
