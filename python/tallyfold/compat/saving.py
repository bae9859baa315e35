"""`file_lock`, `atomic_write`, `atomic_json_write`, `atomic_model_save`, `verify_lock_support`: files saved under
`a.json.lock`."""

from __future__ import annotations

import contextlib
import os
import pickle
from typing import IO, Any, Callable, Iterator

from .. import _tallyfold, filelock
from ..filelock import FileLockError, Timeout
from . import _documents
from ._documents import StrPath

#: The one class of lock timeouts: also a `FileLockError`, a `TimeoutError`, an `OSError` and a `tallyfold.LockTimeout`.
FileLockTimeoutError = Timeout


@contextlib.contextmanager
def file_lock(filepath: StrPath, timeout: float = 30, poll_interval: float = 0.1) -> Iterator[None]:
    """Holds the exclusive lock of a file, `a.json.lock`, for a `with`. Waits `timeout` seconds; `poll_interval` is taken and
    means nothing, for those who wait take turns. Not re-entrant: `atomic_write` of the same file inside would wait for itself.

    Raises `FileLockTimeoutError`, and `FileLockError` if there can be no lock.
    """
    with _locked(filepath, timeout):
        yield


@contextlib.contextmanager
def _locked(filepath: StrPath, timeout: float) -> Iterator[_tallyfold.FileLock]:
    try:
        lock = filelock.take(_documents.beside(filepath), timeout)
    except FileLockError:
        raise
    except OSError as e:
        error = FileLockError(str(e))
        error.errno = e.errno
        raise error from e
    try:
        yield lock
    finally:
        lock.release()


@contextlib.contextmanager
def atomic_write(filepath: StrPath, mode: str = "w", encoding: str | None = "utf-8",
                 lock_timeout: float = 30) -> Iterator[IO[Any]]:
    """A file object, for a `with`, whose content replaces the file at the end; if the body fails the old file stays. `mode` is
    "w", "wt" or "wb" ("+" may be added): there is nothing to append to. `lock_timeout` in seconds.

    Raises `FileLockTimeoutError`, `FileLockError`, `ValueError` for another mode, `OSError` for what the system refuses.
    """
    if mode.replace("+", "", 1) not in ("w", "wt", "tw", "wb", "bw"):
        raise ValueError(f"mode {mode!r}: the file is written anew, so give \"w\" or \"wb\"")
    with _locked(filepath, lock_timeout) as lock, _documents.replacing(filepath, lock) as temporary:
        with open(temporary, mode, encoding=None if "b" in mode else encoding) as file:
            yield file


def atomic_json_write(filepath: StrPath, data: Any, lock_timeout: float = 30, **json_kwargs: Any) -> None:
    """Replaces a JSON file, or makes it. `json_kwargs` are those of `json.dumps`, but that NaN and the infinities become null, or
    with `allow_nan=False` are refused. `lock_timeout` in seconds.

    Raises `TypeError` or `ValueError` for what has no JSON; else as `atomic_write`.
    """
    content = _documents.text(data, **json_kwargs)
    with _locked(filepath, lock_timeout) as lock:
        _documents.replace(filepath, content, lock)


def atomic_model_save(model: Any, filepath: StrPath, save_func: Callable[[Any, str], Any] | None = None,
                      lock_timeout: float = 60) -> None:
    """Calls `save_func(model, temp_path)`, which writes a file there, and puts that in place. The temporary path is a string with
    the same extension, in the same directory. Without `save_func` the model is pickled, as `pickle.load` and `joblib.load` read
    it. `lock_timeout` in seconds.

    Raises what `save_func` raises, with the old file as it was; else as `atomic_write`.
    """
    with _locked(filepath, lock_timeout) as lock, _documents.replacing(filepath, lock) as temporary:
        if save_func is not None:
            save_func(model, temporary)
            return
        with open(temporary, "wb") as file:
            pickle.dump(model, file, protocol=pickle.HIGHEST_PROTOCOL)


def verify_lock_support(directory: StrPath | None = None) -> dict[str, Any]:
    """Tries in a directory (None: the current one) whether two processes exclude each other by locks. It takes a few
    milliseconds.

    `supported`: in all ways tried they did. `directory`, `file_system` ("ext4"), `other_hosts` (whether others may write there,
    whose locks were not tried; None: not known), `checks` (from each sentence to True, False, or None if it could not be tried)
    and `report`, all of it as text. Raises `OSError` if nothing can be made or locked there.
    """
    return _tallyfold._verify_lock_support(os.getcwd() if directory is None else directory)
