"""When a project that is being accepted will be done: for its first mail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from jgi_stager import gather
from jgi_stager.insight import preview
from jgi_stager.insight.facts import Count
from jgi_stager.steps.tools import Tools
from jgi_stager.store import StoreError

log = structlog.get_logger()


def of_new(tools: Tools, doc: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any] | None:
    """``early``, ``late``, ``at`` and whether anything behind it was ``measured``; None if nothing can be said.

    ``data`` is what the first mail says. The estimate shares the quota with everything under way.
    """
    found = preview.Found(
        analysis_projects=data["analysis_projects"],
        wanted=Count(data["files"], data["bytes"]),
        ids=data["ids"],
        restore_bytes=data["restore_bytes"],
        unusable=data["unusable"],
        dropped=data["dropped"],
        dropped_bytes=0,
    )
    try:
        facts = gather.facts(gather.Books(tools.store, tools.settings, tools.clock))
        estimate = preview.preview(facts, found, doc["project_name"], priority=int(doc.get("priority") or 0)).eta
    except StoreError:
        raise
    except Exception:
        # An estimate is a courtesy: no project waits for one.
        log.exception("estimate_failed", project=doc["project_name"])
        return None
    if estimate is None:
        return None
    return {"early": estimate.early, "late": estimate.late, "at": estimate.at, "measured": estimate.measured}
