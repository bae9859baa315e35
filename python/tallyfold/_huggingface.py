"""The callback for the `Trainer` of Hugging Face. See `tallyfold.integrations`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import transformers

from . import Run, Store
from .integrations import _Held


class TrainerCallback(transformers.TrainerCallback):
    """Logs what the trainer logs, on the main process of the training alone.

    Each log is a point with the trainer's `global_step` as its `step`; the training arguments are the run's `config`, unless
    `config=` is given. The run is finished when the training ends; what is evaluated after that goes on with it. An append that
    fails ends the training with its exception.
    """

    def __init__(self, store: str | os.PathLike[str] | Store | None = None, *, run: Run | None = None, **options: Any) -> None:
        self._held = _Held(store, run, options)
        self._has_config = run is not None or options.get("config") is not None

    @property
    def run(self) -> Run:
        """The run; begun if it has not been yet."""
        return self._held.run()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begins the run."""
        if not state.is_world_process_zero:
            return
        self._held.run()
        if not self._has_config:
            # Without the tokens that arguments may hold.
            self._held.change_config(args.to_dict())

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Appends a point."""
        if state.is_world_process_zero and logs:
            self._held.run().log(logs, step=state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Finishes the run."""
        if state.is_world_process_zero:
            self._held.finish("finished")
