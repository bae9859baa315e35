"""tallyfold: a store that many processes write at once.

    import tallyfold

    store = tallyfold.Store("runs")
    metrics = store.cohort("metrics", fold="series")
    metrics.append({"loss": 0.31, "step": 10}, key="run-1")
    metrics.get("run-1")["loss"]["last"]

Workers append to a cohort's journal and get a seq back; compaction folds the journal into a snapshot; readers see both, without a
lock. Nothing that was acknowledged is lost when a worker dies.
"""

from __future__ import annotations

import json as _json
import os as _os
import pathlib as _pathlib
from typing import Any, Callable, Iterable, Iterator, Mapping

from . import _tallyfold
from . import frames as _frames
from ._tallyfold import Bundle, BundleFile, History, Log, NewBundle, Record, View, __version__, key, key_parts
from .entry import Entry
from .errors import (
    Compacted,
    Conflict,
    Corruption,
    DurabilityUnknown,
    Invalid,
    LockTimeout,
    NoSpace,
    NotFound,
    Poisoned,
    StoreError,
    TallyfoldError,
    UnsafeFile,
    UnsafeFileSystem,
    Unsupported,
)
from .filelock import FileLock

__all__ = [
    "Bundle",
    "BundleFile",
    "Cohort",
    "Compacted",
    "Conflict",
    "Corruption",
    "DurabilityUnknown",
    "Entry",
    "FileLock",
    "History",
    "Invalid",
    "LockTimeout",
    "Log",
    "NewBundle",
    "NoSpace",
    "NotFound",
    "Poisoned",
    "Record",
    "Run",
    "Store",
    "StoreError",
    "TallyfoldError",
    "UnsafeFile",
    "UnsafeFileSystem",
    "Unsupported",
    "View",
    "__version__",
    "finish",
    "init",
    "key",
    "key_parts",
    "log",
]


class Store:
    """A directory of cohorts; made unless it is there (`create=False`: refused then, with `NotFound`)."""

    __slots__ = ("_store",)

    def __init__(self, path: str | _os.PathLike[str], create: bool = True) -> None:
        self._store = _tallyfold.Store(_os.fspath(path), create)

    @property
    def path(self) -> _pathlib.Path:
        """Where it is."""
        return self._store.path

    def cohorts(self) -> list[str]:
        """The names of its cohorts, sorted."""
        return self._store.cohorts()

    def cohort(self, name: str, fold: str | Mapping[str, Any] | None = None, *, timeout: float | None = None,
               **settings: Any) -> "Cohort":
        """Opens a cohort. With a fold it is made unless it is there.

        `fold` is `"latest"`, `"merge"`, `"sum"`, `"series"`, `"log"` or a dict as `cohort.json` holds it; `settings` are the
        other fields of `cohort.json` (`durable`, `retain`, `segment_bytes`, `lock`, …). Of a cohort that is there only what is given here
        is compared, and a difference is a `Conflict`. `timeout` is the patience for locks, in seconds, of this handle.
        """
        given = dict(settings)
        if fold is not None:
            given["fold"] = _fold(fold)
        try:
            cohort = self._store._open(name)
        except NotFound:
            if fold is None:
                raise
            try:
                cohort = self._store._create(name, _json.dumps(given))
            except Conflict:
                # Somebody else has made it meanwhile.
                cohort = self._store._open(name)
        if given:
            _compare(name, cohort, given)
        if timeout is not None:
            cohort = cohort._with_timeout(timeout)
        return Cohort(cohort, str(self.path), timeout)

    def refold(self, name: str, new_name: str, fold: str | Mapping[str, Any], **settings: Any) -> "Cohort":
        """Makes a new cohort of all records of the cohort `name`, with another fold or other settings: the same seqs, batches and
        times. `fold` and `settings` are as of `cohort`. What is appended to the old cohort after this began stays there alone.

        `Conflict` if there is a cohort of the new name, `Compacted` if records of the old one are gone, `Invalid` if the new fold
        refuses a record.
        """
        self._store._refold(name, new_name, _json.dumps({**settings, "fold": _fold(fold)}))
        return self.cohort(new_name)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store, (_os.path.abspath(self.path), False))

    def __repr__(self) -> str:
        return f"tallyfold.Store({str(self.path)!r})"


def _fold(fold: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": fold} if isinstance(fold, str) else dict(fold)


def _compare(name: str, cohort: Any, given: dict[str, Any]) -> None:
    there = _json.loads(cohort._settings())
    # As the library spells them, with the defaults of a fold's parameters; so that what is no setting is refused here too.
    wanted = _json.loads(_tallyfold.Store._completed(_json.dumps({"fold": there["fold"], **given})))
    for field in given:
        if field == "lock" and given[field] == "auto":
            continue
        if wanted.get(field) != there.get(field):
            raise Conflict(
                f"the cohort {name!r} exists with {field} {_json.dumps(there.get(field))}, not {_json.dumps(wanted.get(field))}: "
                "open it without that setting, or choose another name"
            )


class Cohort(_tallyfold.Cohort):
    """One journal with its snapshot: the unit of order, locking and compaction.

    Threads may share it, a forked child may go on using it, and it can be pickled: it is opened again then.
    """

    __slots__ = ("_store_path", "_timeout", "__weakref__")
    _store_path: str
    _timeout: float | None

    def __new__(cls, native: Any, store_path: str, timeout: float | None = None) -> "Cohort":
        self = super().__new__(cls, native)
        self._store_path, self._timeout = store_path, timeout
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, as `cohort.json` held them when it was opened."""
        settings: dict[str, Any] = _json.loads(self._settings())
        return settings

    def alter(self, **settings: Any) -> dict[str, Any]:
        """Alters settings, all but the fold and the class of lock; None gives one its default back. Returns all of them.

        What `retain` says counts from the next compaction on, in running processes too; the others count where the cohort is next
        opened. `Invalid` for settings that cannot be, `LockTimeout` while somebody compacts: nothing is altered then.
        """
        altered: dict[str, Any] = _json.loads(self._alter(_json.dumps(settings)))
        return altered

    def with_timeout(self, seconds: float) -> "Cohort":
        """Another handle on the cohort, with this patience for locks."""
        return Cohort(self._with_timeout(seconds), self._store_path, seconds)

    def append_batch(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]], *, durable: bool = False,
                     expected_seq: int | None = None, default: Callable[[Any], Any] | None = None) -> int:
        """Appends pairs of key and value, all of them or none. Returns the seq of the last; the others have the seqs before it.

        `expected_seq`: only if the cohort's last seq is this (0: it is empty), else `Conflict`.
        """
        if isinstance(items, Mapping):
            items = items.items()
        return self._append_batch(items, durable=durable, expected_seq=expected_seq, default=default)

    def state(self) -> dict[str, Any]:
        """All entries, as a dict from key to value, sorted by key."""
        return self.view().state()

    def items(self, prefix: str | None = None) -> Iterator[tuple[str, Any]]:
        """Key and value of each entry, sorted by key; of the keys that begin with `prefix`, without reading the others."""
        return self.view().items(prefix)

    def prefix(self, *parts: str) -> Iterator[tuple[str, Any]]:
        """Key and value of each entry whose key has these first parts, sorted by key: see `View.prefix`."""
        return self.view().prefix(*parts)

    def to_pandas(self, what: _frames.What = "state") -> Any:
        """A `pandas.DataFrame` of the state (a row an entry), the history (a row a record) or the points of a `series`
        (a row a point). See `tallyfold.frames` for its columns."""
        return _frames.to_pandas(self, what)

    def to_polars(self, what: _frames.What = "state") -> Any:
        """As `to_pandas`, a `polars.DataFrame`."""
        return _frames.to_polars(self, what)

    def to_arrow(self, what: _frames.What = "state") -> Any:
        """As `to_pandas`, a `pyarrow.Table`."""
        return _frames.to_arrow(self, what)

    def compact(self) -> dict[str, Any]:
        """Folds the journal into the snapshot: what was done, and up to which seq."""
        done, seq, records, entries, size = self._compact()
        return {"done": done, "seq": seq, "records": records, "entries": entries, "bytes": size}

    def mirror(self, path: str | _os.PathLike[str] | None = None, *, key: str | None = None) -> dict[str, Any]:
        """Writes the state as it is now to the file that the setting `mirror` names; with a `path` to that one, as plain JSON
        `{key: value}`; with a `key`, too, the value of that key. Returns `{"path", "seq", "entries"}`.

        `Invalid` if there is no such setting, or no entry of the key. The file is the old one or the new one at any time.
        """
        if path is None and key is not None:
            raise ValueError("key= needs a path")
        shown, seq, entries = self._mirror(None if path is None else _os.fspath(path), key)
        return {"path": shown, "seq": seq, "entries": entries}

    def stats(self) -> dict[str, Any]:
        """Sizes and positions."""
        stats: dict[str, Any] = _json.loads(self._stats())
        return stats

    def counters(self) -> dict[str, Any] | None:
        """What was done in this cohort, counted: of lock class `memory` by all processes, of class `file` by this handle. `None`
        if nothing is counted."""
        counters: dict[str, Any] | None = _json.loads(self._counters())
        return counters

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (_os.path.abspath(self._store_path), self.name, self._timeout))

    def __repr__(self) -> str:
        return f"tallyfold.Cohort({self.name!r}, {str(self.path)!r})"


def _reopen(store: str, name: str, timeout: float | None) -> Cohort:
    return Store(store, create=False).cohort(name, timeout=timeout)


# Behind what it is made of.
from .run import Run, finish, init, log  # noqa: E402
