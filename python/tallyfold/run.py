"""Runs: metrics of one training, logged by all its ranks.

A run's points are records of a cohort whose fold is `log`, under the run's id. What is known of the run as a whole (config, tags,
summary, status) is an entry of a second cohort, `<cohort>.runs`, whose fold is `latest`.
"""

from __future__ import annotations

import atexit
import datetime
import os
import socket
import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Callable, Literal

from . import Cohort, Conflict, NotFound, Store

_RANK = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_WORLD_SIZE = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_RUN_ID = ("TALLYFOLD_RUN_ID", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")

Resume = Literal["allow", "never", "must"]


def _number(names: tuple[str, ...], default: int) -> int:
    for name in names:
        text = os.environ.get(name, "")
        if text:
            try:
                return int(text)
            except ValueError:
                raise ValueError(f"the environment variable {name} is {text!r}, not a number") from None
    return default


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


class Summary(MutableMapping[str, Any]):
    """What a run comes to: the last value of each metric this process logged, unless something else is set. It is written when something
    is set, and when the run is finished."""

    def __init__(self, run: "Run", there: Mapping[str, Any]) -> None:
        self._run, self._last = run, dict[str, Any]()
        # What was set counts more than what was logged last; what an earlier part of the run left counts less.
        self._set = dict[str, Any]()
        self._there = dict(there)

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def _all(self) -> dict[str, Any]:
        return {**self._there, **self._last, **self._set}

    def __setitem__(self, name: str, value: Any) -> None:
        self._run._change(lambda it: it.setdefault("summary", {}).__setitem__(name, value))
        self._set[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in self._all():
            raise KeyError(name)
        self._run._change(lambda it: it.get("summary", {}).pop(name, None))
        for values in (self._set, self._last, self._there):
            values.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(dict(self))


class Run:
    """One training. Made by `init`; all its ranks may log to it at once.

    `id`, `rank`, `world_size`, `points` (the cohort of its points) and `runs` (the cohort of all runs) can be read.
    """

    def __init__(self, store: Store, cohort: str, run_id: str, rank: int, world_size: int, timeout: float | None) -> None:
        self.id, self.rank, self.world_size = run_id, rank, world_size
        self.points: Cohort = store.cohort(cohort, fold="log", timeout=timeout)
        self.runs: Cohort = store.cohort(f"{cohort}.runs", fold="latest", timeout=timeout)
        self.summary = Summary(self, {})
        self._pid = os.getpid()
        self._finished = False

    def _begin(self, resume: Resume, tags: Any, config: Any) -> None:
        about = self.runs.get(self.id)
        if resume == "must" and about is None:
            raise NotFound(f"there is no run {self.id!r} to go on with: resume= is \"must\"")
        rank = {"status": "running", "host": socket.gethostname(), "pid": os.getpid(), "since": _now()}
        if self.rank == 0 and resume == "never":
            begun = {"status": "running", "started": _now(), "world_size": self.world_size, "tags": tags or [],
                     "config": config or {}, "summary": {}, "ranks": {"0": rank}}
            try:
                self.runs.append(begun, self.id, expected_key_seq=0)
            except Conflict:
                raise Conflict(f"there is a run {self.id!r} already, and resume= is \"never\"; choose another run_id") from None
            return

        def change(it: dict[str, Any]) -> None:
            it.setdefault("started", _now())
            if self.rank == 0 or "status" not in it:
                it.update(status="running", world_size=self.world_size)
            it.setdefault("tags", [])
            it.setdefault("config", {})
            it.setdefault("summary", {})
            if tags is not None:
                it["tags"] = tags
            if config is not None:
                it["config"] = config
            it.setdefault("ranks", {})[str(self.rank)] = rank

        self._change(change)
        self.summary = Summary(self, (about or {}).get("summary", {}))

    def _change(self, change: Callable[[dict[str, Any]], Any], default: Callable[[Any], Any] | None = None) -> None:
        def changed(old: dict[str, Any] | None) -> dict[str, Any]:
            about = dict(old or {})
            change(about)
            return about

        self.runs.update(self.id, changed, default=default)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as it is stored now."""
        config: dict[str, Any] = (self.runs.get(self.id) or {}).get("config", {})
        return config

    def log(self, data: Mapping[str, Any], step: int | float | None = None, *, durable: bool = False,
            default: Callable[[Any], Any] | None = None) -> int:
        """Appends a point and returns its seq. `step` is data like any other: it stands in the record as `step`, decides no order, and
        nothing is dropped because of it. With several ranks the record has its `rank` too."""
        point = dict(data)
        for name, value in (("step", step), ("rank", self.rank if self.world_size > 1 else None)):
            if value is None:
                continue
            if name in point and point[name] != value:
                raise ValueError(f"the data has a {name!r} of its own, {point[name]!r}, beside {value!r}")
            point[name] = value
        seq = self.points.append(point, self.id, durable=durable, default=default)
        last = self.summary._last
        for name in data:
            if isinstance(name, str) and name not in ("step", "rank"):
                last[name] = point[name]
        return seq

    def history(self, from_seq: int = 1) -> Iterator[Any]:
        """The records of this run, in order, of all its ranks."""
        return (record for record in self.points.log(from_seq) if record.key == self.id)

    def finish(self, status: str = "finished") -> None:
        """Writes the summary and how it ended, and makes everything durable. Another call does nothing."""
        if self._finished:
            return
        self._finished = True

        def change(it: dict[str, Any]) -> None:
            it["summary"] = {**it.get("summary", {}), **self.summary._last, **self.summary._set}
            it.setdefault("ranks", {}).setdefault(str(self.rank), {}).update(status=status, until=_now())
            if self.rank == 0:
                it.update(status=status, finished=_now())

        self._change(change)
        self.points.detach()
        self.runs.detach()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.finish("finished" if kind is None else "failed")

    def __repr__(self) -> str:
        return f"tallyfold.Run({self.id!r}, rank={self.rank}, {str(self.points.path)!r})"


_current: Run | None = None


def init(store: str | os.PathLike[str] | Store | None = None, cohort: str = "metrics", run_id: str | None = None, *,
         tags: Any = None, config: Any = None, resume: Resume = "allow", rank: int | None = None,
         world_size: int | None = None, timeout: float | None = None) -> Run:
    """Begins a run, or goes on with one, and makes it the one that `tallyfold.log` logs to.

    `store` is a path or a `Store`; else the environment variable TALLYFOLD_STORE names it, else it is `tallyfold-store`. `run_id` comes
    from TALLYFOLD_RUN_ID, TORCHELASTIC_RUN_ID or SLURM_JOB_ID unless given; a run of one process gets a new one else. `rank` and
    `world_size` come from the environment as torchrun, Slurm and MPI set it.

    `resume`: `"allow"` goes on with a run of that id, or begins it; `"never"` refuses with `Conflict` if there is one; `"must"`
    refuses with `NotFound` if there is none.
    """
    if resume not in ("allow", "never", "must"):
        raise ValueError(f'resume is "allow", "never" or "must", not {resume!r}')
    rank = _number(_RANK, 0) if rank is None else rank
    world_size = _number(_WORLD_SIZE, 1) if world_size is None else world_size
    if not 0 <= rank < world_size:
        raise ValueError(f"the rank is {rank} and the world size {world_size}: ranks go from 0 to the world size less one")
    run_id = run_id or next((os.environ[name] for name in _RUN_ID if os.environ.get(name)), None)
    if run_id is None:
        if world_size > 1:
            raise ValueError(f"the world size is {world_size}: give run_id=, or set TALLYFOLD_RUN_ID, so that all ranks have the same one")
        run_id = uuid.uuid4().hex[:16]
    if not isinstance(store, Store):
        store = Store(store if store is not None else os.environ.get("TALLYFOLD_STORE", "tallyfold-store"))
    run = Run(store, cohort, run_id, rank, world_size, timeout)
    run._begin(resume, tags, config)
    atexit.register(_end, run)
    global _current
    _current = run
    return run


def _end(run: Run) -> None:
    # A process that ends without saying how. A forked child has not begun the run, so it does not end it.
    if not run._finished and run._pid == os.getpid():
        run.finish("ended")


def log(data: Mapping[str, Any], step: int | float | None = None, **options: Any) -> int:
    """As `Run.log`, to the run that `tallyfold.init` has begun last."""
    if _current is None:
        raise RuntimeError("no run has begun: call tallyfold.init() first")
    return _current.log(data, step, **options)


def finish(status: str = "finished") -> None:
    """As `Run.finish`, of the run that `tallyfold.init` has begun last."""
    global _current
    if _current is not None:
        _current.finish(status)
        _current = None
