"""The logger for Lightning. See `tallyfold.integrations`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

try:
    from lightning.pytorch.loggers import Logger as Base
    from lightning.pytorch.utilities import rank_zero_only
except ImportError:
    from pytorch_lightning.loggers import Logger as Base
    from pytorch_lightning.utilities import rank_zero_only

from . import Run, Store
from .integrations import _Held


class Logger(Base):  # type: ignore[misc]
    """Logs metrics as points of a run and hyperparameters as its `config`, on the process of rank zero alone.

    It has no `save_dir`, so checkpoints go where the trainer's `default_root_dir` says, into `<name>/<version>`: a store is no place
    for them. `cohort.bundle` keeps weights and metrics together.
    """

    def __init__(self, store: str | os.PathLike[str] | Store | None = None, cohort: str = "metrics", *, run: Run | None = None,
                 **options: Any) -> None:
        super().__init__()
        if run is None:
            options["cohort"] = cohort
        self._held = _Held(store, run, options)
        self._cohort = cohort if run is None else run.points.name

    @property
    def experiment(self) -> Run:
        """The run; begun if it has not been yet."""
        return self._held.run()

    @property
    def name(self) -> str:
        """The name of the cohort."""
        return self._cohort

    @property
    def version(self) -> str:
        """The id of the run."""
        return self._held.id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Appends a point."""
        self._held.run().log(metrics, step=step)

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | argparse.Namespace, *args: Any, **kwargs: Any) -> None:
        """Adds to the run's `config`. What is no value stands there as its text."""
        self._held.change_config(vars(params) if isinstance(params, argparse.Namespace) else dict(params))

    @rank_zero_only
    def save(self) -> None:
        """Makes the points that were logged durable."""
        self._held.sync()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Finishes the run with this status (Lightning's `success` is `finished`); what is logged after that goes on with it."""
        self._held.finish("finished" if status == "success" else status)
