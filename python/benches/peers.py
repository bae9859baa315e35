"""How fast the package is, beside what is used today: `make bench-python`, or `python benches/peers.py [--seconds S]`, prints tables.

Each measure runs for so many seconds, three times, in turn with the others; the median counts.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import tallyfold

RECORD = {"run_id": "run-0042", "stage": "TRAINING", "step": 1234, "loss": 0.123456, "acc": 0.98, "ts": 1767871234.123}
KEYS = 10_000
Step = Callable[[], object]


@contextmanager
def ours_append(path: str) -> Iterator[Step]:
    cohort = tallyfold.Store(path).cohort("metrics", fold="log")
    append = cohort.append
    yield lambda: append(RECORD, "run-0042")
    cohort.detach()


@contextmanager
def ours_update(path: str) -> Iterator[Step]:
    cohort = tallyfold.Store(path).cohort("index", fold="latest")
    cohort.append_batch({f"key-{i:05}": {"n": 0} for i in range(KEYS)})
    cohort.compact()
    yield lambda: cohort.update("key-00042", lambda old: {"n": old["n"] + 1})
    # What is done in the background ends with this.
    cohort.detach()


@contextmanager
def flock_append(path: str) -> Iterator[Step]:
    os.mkdir(path)
    with open(os.path.join(path, "log.jsonl"), "ab", buffering=0) as file:

        def step() -> None:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps(RECORD).encode() + b"\n")
            fcntl.flock(file, fcntl.LOCK_UN)

        yield step


@contextmanager
def sqlite_append(path: str) -> Iterator[Step]:
    os.mkdir(path)
    db = sqlite3.connect(os.path.join(path, "log.db"), isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=normal")
    db.execute("create table log(seq integer primary key, value text)")
    yield lambda: db.execute("insert into log(value) values (?)", (json.dumps(RECORD),))
    db.close()


@contextmanager
def sqlite_update(path: str) -> Iterator[Step]:
    os.mkdir(path)
    db = sqlite3.connect(os.path.join(path, "index.db"), isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("pragma synchronous=normal")
    db.execute("create table entries(key text primary key, value text)")
    db.executemany("insert into entries values (?, ?)", ((f"key-{i:05}", '{"n":0}') for i in range(KEYS)))

    def step() -> None:
        db.execute("begin immediate")
        (text,) = db.execute("select value from entries where key='key-00042'").fetchone()
        value = json.loads(text)
        db.execute("update entries set value=? where key='key-00042'", (json.dumps({"n": value["n"] + 1}),))
        db.execute("commit")

    yield step
    db.close()


@contextmanager
def filelock_update(path: str) -> Iterator[Step]:
    import filelock

    os.mkdir(path)
    file, lock = os.path.join(path, "index.json"), filelock.FileLock(os.path.join(path, "index.json.lock"))
    with open(file, "w") as out:
        json.dump({f"key-{i:05}": {"n": 0} for i in range(KEYS)}, out)

    def step() -> None:
        with lock:
            with open(file) as there:
                state = json.load(there)
            state["key-00042"]["n"] += 1
            with open(file + ".tmp", "w") as out:
                json.dump(state, out)
            os.replace(file + ".tmp", file)

    yield step


@contextmanager
def optuna_ours(path: str) -> Iterator[Step]:
    from tallyfold.optuna import JournalBackend

    backend = JournalBackend(path)
    yield lambda: backend.append_logs([RECORD])
    backend._logs.detach()


@contextmanager
def optuna_file(path: str) -> Iterator[Step]:
    from optuna.storages.journal import JournalFileBackend

    os.mkdir(path)
    backend = JournalFileBackend(os.path.join(path, "journal.log"))
    yield lambda: backend.append_logs([RECORD])


TABLES = {
    "append a record of 6 fields": {"tallyfold": ours_append, "flock + write": flock_append, "sqlite3": sqlite_append},
    f"update one key of {KEYS}": {"tallyfold": ours_update, "sqlite3": sqlite_update, "filelock + rewrite": filelock_update},
    "Optuna: one durable log": {"tallyfold": optuna_ours, "JournalFileBackend": optuna_file},
}


def rate(peer: Callable[[str], object], seconds: float) -> float:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TALLYFOLD_BENCH_DIR")) as directory:
        with peer(os.path.join(directory, "it")) as step:
            step()
            done, begun = 0, time.perf_counter()
            while True:
                for _ in range(20):
                    step()
                done += 20
                if (took := time.perf_counter() - begun) >= seconds:
                    return done / took


def import_ms() -> float:
    code = "import time; t = time.perf_counter(); import tallyfold; print((time.perf_counter() - t) * 1000)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    seconds = parser.parse_args().seconds
    for title, peers in TABLES.items():
        rates: dict[str, list[float]] = {}
        for _ in range(3):
            for name, peer in peers.items():
                try:
                    rates.setdefault(name, []).append(rate(peer, seconds))
                except ImportError as e:
                    print(f"{name} is left out: {e}", file=sys.stderr)
        medians = {name: statistics.median(them) for name, them in rates.items() if them}
        print(f"\n| {title} | a second | tallyfold is so many times as fast |\n|---|--:|--:|")
        for name, median in medians.items():
            print(f"| {name} | {median:,.0f} | {medians['tallyfold'] / median:.1f} |")
    package = os.path.dirname(tallyfold.__file__)
    size = sum(os.path.getsize(os.path.join(package, name)) for name in os.listdir(package) if name.endswith(".so"))
    print(f"\nimport: {statistics.median(import_ms() for _ in range(5)):.0f} ms; native library: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
