"""Callbacks for training libraries, none of which is imported before its class is asked for.

| | | |
|---|---|---|
| `TrainerCallback` | Hugging Face `transformers` | `Trainer(..., callbacks=[TrainerCallback("runs.store")])` |
| `Logger` | Lightning (`lightning` or `pytorch_lightning`) | `Trainer(logger=Logger("runs.store"))` |

Both take what `tallyfold.init` takes and begin the run when there is something to log, on the one rank that logs; or a `run` that
has begun, which they do not finish.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

from .run import _RUN_ID, Run, init

if TYPE_CHECKING:
    from ._huggingface import TrainerCallback as TrainerCallback
    from ._lightning import Logger as Logger

__all__ = ["Logger", "TrainerCallback"]


def __getattr__(name: str) -> Any:
    if name == "TrainerCallback":
        from ._huggingface import TrainerCallback

        return TrainerCallback
    if name == "Logger":
        from ._lightning import Logger

        return Logger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Held:
    """A run that is begun when it is first used; used again after its end, it is gone on with."""

    def __init__(self, store: Any, run: Run | None, options: dict[str, Any]) -> None:
        if run is not None and (store is not None or options):
            raise ValueError("give run= or what a run is begun with, not both")
        self._given, self._run, self._options = run is not None, run, {**options, "store": store}
        named = (os.environ[name] for name in _RUN_ID if os.environ.get(name))
        # Chosen now, so that it can be asked for before the run has begun.
        self.id: str = run.id if run is not None else options.get("run_id") or next(named, None) or uuid.uuid4().hex[:16]

    def run(self) -> Run:
        if self._run is None or (self._run._finished and not self._given):
            # One rank logs, however many there are: its points need no rank.
            self._run = init(**{**self._options, "run_id": self.id, "rank": 0, "world_size": 1})
            self._options["resume"] = "allow"
        return self._run

    def change_config(self, config: dict[str, Any]) -> None:
        def change(about: dict[str, Any]) -> None:
            about["config"] = {**about.get("config", {}), **config}

        # What is no value is told of by its text: configurations hold functions and classes.
        self.run()._change(change, default=str)

    def finish(self, status: str) -> None:
        if self._run is not None and not self._given:
            self._run.finish(status)

    def sync(self) -> None:
        if self._run is not None:
            self._run.points.sync()

    def __getstate__(self) -> dict[str, Any]:
        # A run belongs to the process that has begun it. The process that gets this goes on with it.
        state = dict(self.__dict__)
        if not self._given and self._run is not None:
            state["_run"], state["_options"] = None, {**self._options, "resume": "allow"}
        return state
