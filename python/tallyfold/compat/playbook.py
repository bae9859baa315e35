"""`_acquire_playbook_lock` and `_release_playbook_lock`: `playbook.lock`, shared to read and exclusive to write."""

from __future__ import annotations

from .. import _tallyfold, filelock
from ._documents import StrPath


def _acquire_playbook_lock(lock_file_path: StrPath, exclusive: bool = True, timeout: float = 30.0) -> _tallyfold.FileLock:
    """The lock on this lock file, to be handed to `_release_playbook_lock`. Waits `timeout` seconds; missing directories are
    made.

    Raises `TimeoutError`; another `OSError` for what the system refuses.
    """
    return filelock.take(lock_file_path, timeout, shared=not exclusive)


def _release_playbook_lock(lock_file: _tallyfold.FileLock | None) -> None:
    """Gives it back. Once more, or of None, it does nothing, so it may stand in a `finally`."""
    if lock_file is not None:
        lock_file.release()
