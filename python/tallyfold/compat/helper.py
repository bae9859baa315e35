"""`FileLockHelper`: JSON files read, written and updated under `a.json.lock`, by many ranks."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Callable, Iterator

from .. import _tallyfold, filelock
from . import _documents
from ._documents import StrPath


class FileLockHelper:
    """Class methods only. Timeouts are in seconds, `DEFAULT_TIMEOUT` unless given; `retry_delay` is taken and means nothing, for
    those who wait take turns. Missing directories are made.

    All raise `tallyfold.filelock.Timeout` (a `TimeoutError`) if somebody else has the lock all the time, with the file as it was.
    """

    DEFAULT_TIMEOUT: float = 60.0

    @classmethod
    def read_json_with_lock(cls, file_path: StrPath, timeout: float | None = None, retry_delay: float | None = None,
                            create_if_missing: bool = False, default_data: Any = None) -> Any:
        """The value in a JSON file, read under the shared lock. With `create_if_missing` a missing file is written with
        `default_data` (None: an empty object) first.

        Raises `FileNotFoundError`, and `json.JSONDecodeError` that names the file.
        """
        with cls._locked(file_path, timeout, shared=True):
            try:
                return _documents.read(file_path)
            except FileNotFoundError:
                if not create_if_missing:
                    raise
        with cls._locked(file_path, timeout) as lock:
            try:
                # Somebody else may have made it meanwhile.
                return _documents.read(file_path)
            except FileNotFoundError:
                _documents.replace(file_path, _documents.text({} if default_data is None else default_data, indent=2), lock)
            return _documents.read(file_path)

    @classmethod
    def write_json_with_lock(cls, file_path: StrPath, data: Any, timeout: float | None = None, retry_delay: float | None = None,
                             indent: int | None = 2, ensure_ascii: bool = False) -> None:
        """Replaces a JSON file, or makes it. Raises `TypeError` or `ValueError` for what has no JSON: the file is as it was
        then."""
        content = _documents.text(data, indent=indent, ensure_ascii=ensure_ascii)
        with cls._locked(file_path, timeout) as lock:
            _documents.replace(file_path, content, lock)

    @classmethod
    def update_json_with_lock(cls, file_path: StrPath, update_func: Callable[[Any], Any], timeout: float | None = None,
                              retry_delay: float | None = None, create_if_missing: bool = True, default_data: Any = None) -> Any:
        """Reads a JSON file, calls `update_func` with the value, writes what it returns, and returns that; all under the lock, so
        that of many who do this none loses what another one wrote. For a missing file the function gets `default_data` (None:
        `{}`).

        Raises `FileNotFoundError` without `create_if_missing`; `json.JSONDecodeError` for a file that cannot be read, which stays
        as it is; `ValueError` if the function returns None; `TypeError` for what has no JSON; whatever the function raises.
        """
        with cls._locked(file_path, timeout) as lock:
            try:
                old = _documents.read(file_path)
            except FileNotFoundError:
                if not create_if_missing:
                    raise
                # A copy: the function may change it.
                old = json.loads(_documents.text({} if default_data is None else default_data))
            new = _documents.checked_call(update_func, old)
            _documents.replace(file_path, _documents.text(new, indent=2, ensure_ascii=False), lock)
            return new

    @classmethod
    @contextlib.contextmanager
    def with_file_lock(cls, file_path: StrPath, timeout: float | None = None) -> Iterator[None]:
        """Holds the exclusive lock of a file for a `with`. The other calls here take it too, so inside, for the same file, they
        would wait for themselves."""
        with cls._locked(file_path, timeout):
            yield

    @classmethod
    def cleanup_lock_files(cls, directory: StrPath) -> int:
        """Removes the lock files in a directory (not below it) that nobody has, and returns how many. Those in use stay. While
        older programs that lock by themselves still run, do not call it: they do not look whether their lock file is still
        there."""
        try:
            return _tallyfold._cleanup_lock_files(directory)
        except FileNotFoundError:
            return 0

    @classmethod
    @contextlib.contextmanager
    def _locked(cls, file_path: StrPath, timeout: float | None, *, shared: bool = False) -> Iterator[_tallyfold.FileLock]:
        lock = filelock.take(_documents.beside(file_path), cls.DEFAULT_TIMEOUT if timeout is None else timeout, shared=shared)
        try:
            yield lock
        finally:
            lock.release()
