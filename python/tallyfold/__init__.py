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
from ._tallyfold import Log, Record, View, __version__
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
    "Cohort",
    "Compacted",
    "Conflict",
    "Corruption",
    "DurabilityUnknown",
    "FileLock",
    "Invalid",
    "LockTimeout",
    "Log",
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
            given["fold"] = {"kind": fold} if isinstance(fold, str) else dict(fold)
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

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store, (_os.path.abspath(self.path), False))

    def __repr__(self) -> str:
        return f"tallyfold.Store({str(self.path)!r})"


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
        """Its settings, as `cohort.json` holds them."""
        return _json.loads(self._settings())

    def append_batch(self, items: Mapping[str, Any] | Iterable[tuple[str, Any]], *, durable: bool = False,
                     default: Callable[[Any], Any] | None = None) -> int:
        """Appends pairs of key and value, all of them or none. Returns the seq of the last; the others have the seqs before it."""
        if isinstance(items, Mapping):
            items = items.items()
        return self._append_batch(items, durable=durable, default=default)

    def state(self) -> dict[str, Any]:
        """All entries, as a dict from key to value, sorted by key."""
        return self.view().state()

    def items(self, prefix: str | None = None) -> Iterator[tuple[str, Any]]:
        """Key and value of each entry, sorted by key; of the keys that begin with `prefix`, without reading the others."""
        return self.view().items(prefix)

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

    def stats(self) -> dict[str, Any]:
        """Sizes and positions."""
        return _json.loads(self._stats())

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (_os.path.abspath(self._store_path), self.name, self._timeout))

    def __repr__(self) -> str:
        return f"tallyfold.Cohort({self.name!r}, {str(self.path)!r})"


def _reopen(store: str, name: str, timeout: float | None) -> Cohort:
    return Store(store, create=False).cohort(name, timeout=timeout)


# Behind what it is made of.
from .run import Run, finish, init, log  # noqa: E402
