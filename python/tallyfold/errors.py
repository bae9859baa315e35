"""What can go wrong: one hierarchy below `TallyfoldError`.

Those that a caller of files would expect are `OSError`s as well: `LockTimeout` is a `TimeoutError`, `NotFound` a
`FileNotFoundError`. The message says what happened, where, and what to do.
"""

from __future__ import annotations

import errno as _errno


class TallyfoldError(Exception):
    """The root. `seq` is the record concerned, `path` the file, `holder` the process that has the lock; None if unknown."""

    seq: int | None = None
    path: str | None = None
    holder: int | None = None


class StoreError(TallyfoldError, OSError):
    """The operating system refused something."""


class LockTimeout(TallyfoldError, TimeoutError):
    """Somebody else had a lock all the time. Nothing was written."""


class NoSpace(StoreError):
    """The disk, the quota or the largest file size is full. Nothing was written; the next append may succeed."""


class NotFound(TallyfoldError, FileNotFoundError):
    """There is no such store or cohort."""


class UnsafeFileSystem(StoreError):
    """Writing here is refused, for locks may not exclude everybody."""


class UnsafeFile(StoreError):
    """Something else stands where a file of the store should: a link, a pipe, a file with several names."""


class DurabilityUnknown(StoreError):
    """Written as `seq`, but the sync failed: a power cut may take it."""


class Poisoned(StoreError):
    """A sync has failed, and its records could not be moved to safety yet."""


class Corruption(TallyfoldError):
    """Bytes that were whole once are not any more. Nothing is written until somebody has looked."""


class Conflict(TallyfoldError):
    """What was expected does not hold, or the cohort exists with other settings. Nothing was written."""


class Compacted(TallyfoldError):
    """The record asked for is folded away; `seq` is the first one still there."""


class Invalid(TallyfoldError, ValueError):
    """A value, a key or a setting that cannot be taken. Nothing was written."""


class Unsupported(TallyfoldError):
    """A newer version of tallyfold is needed, or another system."""


def _of_name(name: str, message: str, path: object, seq: int | None, holder: int | None) -> TallyfoldError:
    kind: type[TallyfoldError] = globals()[name]
    # An OSError of one argument keeps it as its text; the number tells those who compare errno.
    error = kind(message)
    if isinstance(error, NoSpace):
        error.errno = _errno.ENOSPC
    elif isinstance(error, NotFound):
        error.errno = _errno.ENOENT
    elif isinstance(error, LockTimeout):
        error.errno = _errno.ETIMEDOUT
    error.seq, error.holder = seq, holder
    error.path = None if path is None else str(path)
    return error
