"""A journal for Optuna that many processes write at once.

    import optuna, tallyfold.optuna

    storage = optuna.storages.JournalStorage(tallyfold.optuna.JournalBackend("study.store"))
    study = optuna.create_study(storage=storage)

Every log that Optuna hands over is a record of one cohort, durable when the call returns; log number n is the record with seq n + 1.
"""

from __future__ import annotations

import base64
import os
import threading
import zlib
from collections.abc import Iterable
from typing import Any

from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._base import BaseJournalSnapshot

from . import Store

_SNAPSHOT = "snapshot"
# Studies of many trials are large as one value. The room is taken only when it is needed.
_LARGEST = 1 << 30


class JournalBackend(BaseJournalBackend, BaseJournalSnapshot):
    """Optuna's logs as records of the cohort `cohort` in the store at `path`, which are made unless they are there.

    Processes may share it by fork, and it can be pickled. Nothing is ever dropped. Snapshots only speed up the start of a process;
    they are kept in the cohort `<cohort>.snapshot`, and an older one never replaces a newer one.
    """

    def __init__(self, path: str | os.PathLike[str], cohort: str = "optuna", *, timeout: float | None = None) -> None:
        self._path, self._name, self._timeout = os.path.abspath(os.fspath(path)), cohort, timeout
        store = Store(self._path)
        self._logs = store.cohort(cohort, fold="log", durable=True, timeout=timeout)
        self._snapshots = store.cohort(f"{cohort}.snapshot", fold="latest", max_body_bytes=_LARGEST, timeout=timeout)
        self._lock = threading.Lock()
        self._reader: Any = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends the logs, all of them or none; when this returns they survive a power cut."""
        if logs:
            self._logs.append_batch((("", log) for log in logs), durable=True)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The logs from a number on. All that was appended before the call is among them."""
        with self._lock:
            # Who reads on from where the last call ended costs what is new.
            if self._reader is None or self._reader.next_seq != log_number_from + 1:
                self._reader = self._logs.log(from_seq=log_number_from + 1)
            reader, self._reader = self._reader, None
            logs = [record.value for record in reader]
            self._reader = reader
            return logs

    def save_snapshot(self, snapshot: bytes) -> None:
        """Keeps a snapshot, unless a newer one is there."""
        with self._lock:
            logs = 0 if self._reader is None else self._reader.next_seq - 1
        text = base64.b85encode(zlib.compress(snapshot, 1)).decode()

        def newer(there: dict[str, Any] | None) -> dict[str, Any] | None:
            return None if there is not None and there["logs"] >= logs else {"logs": logs, "data": text}

        self._snapshots.update(_SNAPSHOT, newer)

    def load_snapshot(self) -> bytes | None:
        """The newest snapshot, or None."""
        there = self._snapshots.get(_SNAPSHOT)
        return None if there is None else zlib.decompress(base64.b85decode(there["data"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self._path, self._name, self._timeout))


def _reopen(path: str, cohort: str, timeout: float | None) -> JournalBackend:
    return JournalBackend(path, cohort, timeout=timeout)
