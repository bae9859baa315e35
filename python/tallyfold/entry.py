"""What `entry` and `previous` return."""

from __future__ import annotations

from typing import Any, NamedTuple


class Entry(NamedTuple):
    """An entry of a cohort, or a record of a log: the seq of the last record folded into it, its key and its value."""

    seq: int
    key: str
    value: Any
