"""`_write_atomic_json_with_lock`: canonical JSON under `metrics.lock`."""

from __future__ import annotations

import pathlib
from typing import Any

from .. import filelock
from ..errors import Invalid
from . import _documents
from ._documents import StrPath


def _write_atomic_json_with_lock(file_path: StrPath, data: Any, lock_timeout: float = 30.0) -> None:
    """Replaces `metrics.json`, or makes it, under `metrics.lock`: sorted keys, indented by 2, a newline at the end; equal values
    have equal bytes. The file is synced before it replaces the old one, and the directory after. `lock_timeout` in seconds.

    Raises `IOError` if the lock is not had in time (then a `TimeoutError` as well) or the system refuses something; `TypeError`
    or `ValueError` for what has no JSON. The old file is as it was then.
    """
    path = pathlib.Path(file_path)
    lock_file = path.with_suffix(".lock")
    if lock_file == path:
        raise Invalid(f"{path} would be its own lock file: name it otherwise")
    content = _documents.text(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    lock = filelock.take(lock_file, lock_timeout)
    try:
        _documents.replace(path, content, lock)
    finally:
        lock.release()
