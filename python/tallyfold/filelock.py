"""A lock between processes, with the surface of the `filelock` package.

    from tallyfold.filelock import FileLock, Timeout

    with FileLock("index.json.lock", timeout=30):
        ...

It locks by `flock`, as that package does on Unix, so both exclude each other on the same path and a program may move over file
by file. Who waits is woken in turn rather than starved, a timeout names the process that has the lock, a lock file is never
removed, and what a forked child inherits of a lock is nothing: it neither holds it nor can unlock it.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import threading
import weakref
from types import TracebackType
from typing import Any

from . import _tallyfold
from .errors import LockTimeout, TallyfoldError

__all__ = ["AcquireReturnProxy", "FileLock", "FileLockError", "Timeout"]

_StrPath = str | os.PathLike[str]


class FileLockError(TallyfoldError, OSError):
    """A lock could not be had."""


class Timeout(FileLockError, LockTimeout):
    """Somebody else had the lock all the time; nothing was written. `holder` is the process id, None if the system does not tell.

    A `TimeoutError`, an `OSError` and a `tallyfold.LockTimeout` as well, so that whatever a program caught before catches it.
    """

    @property
    def lock_file(self) -> str | None:
        """The path of the lock file."""
        return self.path


def absolute(path: _StrPath) -> str:
    """The path from the root, so that a later `chdir` changes nothing. `..` stays, for a link may stand before it."""
    return os.path.join(os.getcwd(), os.fspath(path))


def take(path: _StrPath, timeout: float | None, *, shared: bool = False) -> _tallyfold.FileLock:
    """The lock on this lock file, after at most `timeout` seconds (None: waits for ever). Missing directories are made.

    Raises `Timeout`; `tallyfold.StoreError` (an `OSError`) for what the system refuses.
    """
    path = absolute(path)
    make_parents(path)
    try:
        return _tallyfold.FileLock(path, shared, timeout)
    except LockTimeout as e:
        error = _timeout(path, timeout, e.holder)
    # Outside of the handler: what it was made of says nothing that it does not say.
    raise error


def _timeout(path: str, timeout: float | None, holder: int | None) -> Timeout:
    if holder is None:
        who = "the system does not tell who holds it"
    elif holder == os.getpid():
        who = "this very process holds it, in another thread, or in this one, which then waits for itself"
    else:
        who = f"process {holder} holds it (a stopped process keeps its locks)"
    error = Timeout(f"{path}: no lock within {timeout or 0:g} s: {who}; nothing was written")
    error.errno = errno.ETIMEDOUT
    error.path, error.holder = path, holder
    return error


def make_parents(path: str) -> None:
    """Makes the directories that are missing above a file, and has each survive a power cut."""
    directory = os.path.dirname(path)
    made = []
    while not os.path.isdir(directory) and directory not in made:
        made.append(directory)
        directory = os.path.dirname(directory)
    if not made:
        return
    os.makedirs(made[0], exist_ok=True)
    for directory in made:
        descriptor = os.open(os.path.dirname(directory), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class AcquireReturnProxy:
    """What `acquire` returns: a `with` of it releases the lock at its end, and does not acquire it once more."""

    def __init__(self, lock: "FileLock") -> None:
        self.lock = lock

    def __enter__(self) -> "FileLock":
        return self.lock

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.lock.release()


class _Held:
    """What one thread has of a lock, or all of them."""

    def __init__(self) -> None:
        self.process = os.getpid()
        # Re-entrant, for a signal handler may come in the midst of it.
        self.turn = threading.RLock()
        self.native: _tallyfold.FileLock | None = None
        self.counter = 0


class FileLock(contextlib.ContextDecorator):
    """An exclusive lock on a lock file, to be used by `with`, as a decorator, or by `acquire` and `release`.

    - `timeout`: seconds to wait; negative (the default) or infinite: for ever; 0: try once.
    - `mode`: the rights of a lock file that is made (-1: what the umask leaves). One that is there keeps its own.
    - `thread_local`: whether each thread that uses this object has, or waits for, a lock of its own. False: whatever one thread
      has acquired counts for all.
    - `blocking`: False: try once, whatever the timeout.
    - `is_singleton`: whether equal paths give one object (`ValueError` if its other arguments differ).
    - `poll_interval`: taken for compatibility; those who wait take turns.

    It is re-entrant: acquired several times, it must be released as often. Two objects with one path are two owners, so a thread
    that holds one waits for itself if it acquires the other.
    """

    _singletons: "weakref.WeakValueDictionary[tuple[type, str], FileLock]" = weakref.WeakValueDictionary()
    _making = threading.RLock()
    _given: tuple[float, int, bool, bool]

    def __new__(cls, lock_file: _StrPath, *arguments: Any, is_singleton: bool = False, **named: Any) -> "FileLock":
        if not is_singleton:
            return super().__new__(cls)
        key = (cls, os.fspath(lock_file))
        with FileLock._making:
            there = cls._singletons.get(key)
            if there is None:
                there = cls._singletons[key] = super().__new__(cls)
            return there

    def __init__(self, lock_file: _StrPath, timeout: float = -1, mode: int = -1, thread_local: bool = True, *,
                 blocking: bool = True, is_singleton: bool = False, poll_interval: float = 0.05) -> None:
        given = (float(timeout), mode, thread_local, blocking)
        if getattr(self, "_given", given) != given:
            there = f"the one FileLock of {os.fspath(lock_file)}"
            raise ValueError(f"{there} was made with other arguments: {self._given}, not {given}")
        if hasattr(self, "_given"):
            return
        self._lock_file = os.fspath(lock_file)
        self._mode, self._is_thread_local, self._is_singleton = mode, thread_local, is_singleton
        self._timeout, self._blocking, self._poll_interval = float(timeout), blocking, poll_interval
        self._local = threading.local() if thread_local else None
        self._shared = _Held()
        # Last: it says that the rest is there.
        self._given = given

    def _held(self) -> _Held:
        """What this thread has. What was inherited by a fork is nobody's."""
        process = os.getpid()
        if self._local is None:
            if self._shared.process != process:
                self._shared = _Held()
            return self._shared
        held: _Held | None = getattr(self._local, "held", None)
        if held is None or held.process != process:
            held = self._local.held = _Held()
        return held

    def acquire(self, timeout: float | None = None, poll_interval: float | None = None, *, blocking: bool | None = None,
                poll_intervall: float | None = None) -> AcquireReturnProxy:
        """Takes the lock, or counts one more if it is had. None: as the object says.

        Raises `Timeout` after `timeout` seconds; `OSError` for what the system refuses.
        """
        if not (self._blocking if blocking is None else blocking):
            wait: float | None = 0.0
        else:
            wait = self._timeout if timeout is None else float(timeout)
            if wait < 0 or math.isinf(wait):
                wait = None
        held = self._held()
        # Another thread may be waiting with this object.
        if not held.turn.acquire(timeout=threading.TIMEOUT_MAX if wait is None else min(wait, threading.TIMEOUT_MAX)):
            raise _timeout(absolute(self._lock_file), wait, os.getpid())
        try:
            if held.native is None:
                if self._mode != -1:
                    self._make()
                held.native = take(self._lock_file, wait)
            held.counter += 1
        finally:
            held.turn.release()
        return AcquireReturnProxy(self)

    def _make(self) -> None:
        make_parents(absolute(self._lock_file))
        try:
            descriptor = os.open(self._lock_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode)
        except FileExistsError:
            return
        try:
            os.fchmod(descriptor, self._mode)
        finally:
            os.close(descriptor)

    def release(self, force: bool = False) -> None:
        """Gives the lock back once it was released as often as it was acquired; `force`: at once. Does nothing if it is not
        had."""
        held = self._held()
        # Asked first, for a thread that waits has the turn.
        if held.native is None:
            return
        with held.turn:
            if held.native is None:
                return
            held.counter = 0 if force else held.counter - 1
            if held.counter == 0:
                native, held.native = held.native, None
                native.release()

    @property
    def is_locked(self) -> bool:
        """Whether this object has the lock (with `thread_local`: in this thread)."""
        return self._held().native is not None

    @property
    def lock_counter(self) -> int:
        """How often it must be released."""
        return self._held().counter

    @property
    def lock_file(self) -> str:
        """The path of the lock file, as it was given."""
        return self._lock_file

    @property
    def timeout(self) -> float:
        """How long `acquire` waits, in seconds; negative: for ever."""
        return self._timeout

    @timeout.setter
    def timeout(self, value: float | str) -> None:
        self._timeout = float(value)

    @property
    def blocking(self) -> bool:
        """Whether `acquire` waits at all."""
        return self._blocking

    @blocking.setter
    def blocking(self, value: bool) -> None:
        self._blocking = value

    @property
    def poll_interval(self) -> float:
        """As it was given; it means nothing here."""
        return self._poll_interval

    @poll_interval.setter
    def poll_interval(self, value: float) -> None:
        self._poll_interval = value

    @property
    def mode(self) -> int:
        """The rights of a lock file that is made; those that the umask is taken from unless given."""
        return self._mode if self.has_explicit_mode else 0o666

    @property
    def has_explicit_mode(self) -> bool:
        """Whether `mode` was given."""
        return self._mode != -1

    @property
    def is_singleton(self) -> bool:
        """Whether there is one object for this path."""
        return self._is_singleton

    def is_thread_local(self) -> bool:
        """Whether each thread has a lock of its own."""
        return self._is_thread_local

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"tallyfold.FileLock({self._lock_file!r})"


def _after_fork() -> None:
    # Another thread of the parent may have had it.
    FileLock._making = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
