"""Tasks, events and items as the Transfer API writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .mover import FileJob
from .tasks import Task
from .world import instant


def task_document(task: Task, now: float) -> dict[str, Any]:
    """The task as ``GET task/<id>`` shows it."""
    body = task.body
    ended = task.completed_at if task.completed_at is not None else now
    return {
        "DATA_TYPE": "task",
        "task_id": task.id,
        "type": "TRANSFER",
        "status": task.status,
        "label": body.get("label"),
        "request_time": instant(task.at),
        "completion_time": None if task.completed_at is None else instant(task.completed_at),
        "deadline": instant(task.deadline),
        "source_endpoint_id": body["source_endpoint"],
        "source_endpoint_display_name": "JGI Data Repository",
        "destination_endpoint_id": body["destination_endpoint"],
        "destination_endpoint_display_name": "NERSC DTN",
        "sync_level": body.get("sync_level"),
        "verify_checksum": body.get("verify_checksum", True),
        "skip_source_errors": bool(body.get("skip_source_errors", False)),
        "fail_on_quota_errors": bool(body.get("fail_on_quota_errors", False)),
        "encrypt_data": bool(body.get("encrypt_data", False)),
        "preserve_timestamp": bool(body.get("preserve_timestamp", False)),
        **_progress(task, ended),
        **_subtasks(task),
        "subtasks_canceled": 0,
        "subtasks_expired": 0,
        "owner_id": "00000000-0000-4000-8000-000000000001",
        "command": "API 0.10",
        "history_deleted": False,
        "canceled_by_admin": None,
    }


def _progress(task: Task, ended: float) -> dict[str, Any]:
    return {
        "nice_status": task.nice_status,
        "nice_status_short_description": task.nice_status,
        "nice_status_details": task.nice_details,
        "is_ok": None if task.completed_at is not None else task.nice_status in {None, "Queued"},
        "is_paused": task.paused,
        "fatal_error": task.fatal,
        "faults": task.faults,
        "files": task.total,
        "directories": 0,
        "symlinks": 0,
        "files_skipped": task.files_skipped,
        "files_transferred": len(task.moved),
        "bytes_transferred": task.bytes_moved,
        "bytes_checksummed": 0,
        "effective_bytes_per_second": int(task.bytes_moved / max(ended - task.at, 1)),
    }


def _subtasks(task: Task) -> dict[str, Any]:
    failed = task.status == "FAILED"
    open_files = len(task.jobs) + (task.current is not None)
    return {
        "subtasks_total": task.total + 1,
        "subtasks_pending": 0 if failed else open_files,
        "subtasks_succeeded": len(task.moved) + task.files_skipped,
        "subtasks_failed": open_files if failed else 0,
        "subtasks_skipped_errors": len(task.skipped),
        "subtasks_retrying": int(task.retry_at is not None),
    }


def event_document(event: Mapping[str, Any]) -> dict[str, Any]:
    """One event of a task."""
    return {
        "DATA_TYPE": "event",
        "code": event["code"],
        "description": str(event["code"]).replace("_", " ").lower(),
        "details": event["details"],
        "is_error": event["is_error"],
        "time": instant(event["time"]),
    }


def skipped_document(job: FileJob, code: str, details: str, at: float) -> dict[str, Any]:
    """One file that was left out."""
    return {
        "DATA_TYPE": "skipped_error",
        "source_path": job.source_path,
        "destination_path": job.destination_path,
        "error_code": code,
        "error_details": details,
        "error_time": instant(at),
        "external_checksum": job.checksum,
        "checksum_algorithm": "MD5" if job.checksum else None,
        "is_directory": job.recursive,
        "is_symlink": False,
        "is_delete_destination_extra": False,
    }


def successful_document(job: FileJob) -> dict[str, Any]:
    """One file that was moved. Files that the sync level left alone are not in this list."""
    return {
        "DATA_TYPE": "successful_transfer",
        "source_path": job.source_path,
        "destination_path": job.destination_path,
        "size": job.size,
    }
