"""Calls by the names that training pipelines have given their own file locking, over this package's locks and atomic writes.

To move over, import them from here. Names, arguments, defaults and lock files are the same, so programs that have moved and
programs that have not exclude each other; each lock timeout is one class, `FileLockTimeoutError`, which every `except` of theirs
catches.

What is different: nobody removes a lock file that is in use; who waits is not starved; a file is synced before it replaces the
old one, and keeps its mode; a link stays a link; NaN and the infinities, which are no JSON, are written as null; values may be
whatever the package knows (numpy, pandas, enums, dates: see its README), keys too.
"""

from __future__ import annotations

from ..filelock import FileLockError
from .canonical import _write_atomic_json_with_lock
from .helper import FileLockHelper
from .playbook import _acquire_playbook_lock, _release_playbook_lock
from .saving import (
    FileLockTimeoutError,
    atomic_json_write,
    atomic_model_save,
    atomic_write,
    file_lock,
    verify_lock_support,
)

__all__ = [
    "FileLockError",
    "FileLockHelper",
    "FileLockTimeoutError",
    "_acquire_playbook_lock",
    "_release_playbook_lock",
    "_write_atomic_json_with_lock",
    "atomic_json_write",
    "atomic_model_save",
    "atomic_write",
    "file_lock",
    "verify_lock_support",
]
