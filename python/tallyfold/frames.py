"""States, histories and series as tables for pandas, polars and Arrow; none of them is imported before it is asked for.

| what | a row is | columns before the fields |
|---|---|---|
| `"state"` | an entry, by key | `key`, `seq` |
| `"history"` | a record that is still in the journal, by seq | `seq`, `key`, `kind`, `time` |
| `"points"` | a point of a metric, of a cohort whose fold is `series` | `key`, `metric`, `seq`, `value`, and no more |

The members of a value that is an object are columns, in the order in which they were first seen; one that has the name of a column
before them gets a `_` behind its name. Another value stands in the column `value`. A column is of one type, whatever rows are there:
integers within 64 bits, floats (if one of its numbers is one), booleans, strings; lists, objects, larger integers and mixtures stand as JSON text.
What a row lacks, and null, is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from . import Cohort

What = Literal["state", "history", "points"]
Kind = Literal["int", "float", "bool", "str"]

_LEADING: dict[str, dict[str, Kind]] = {
    "state": {"key": "str", "seq": "int"},
    "history": {"seq": "int", "key": "str", "kind": "str", "time": "float"},
    "points": {"key": "str", "metric": "str", "seq": "int", "value": "float"},
}


def _rows(cohort: "Cohort", what: str) -> Iterator[tuple[list[Any], Any]]:
    """Of each row the leading columns, and the value with the others."""
    if what == "state":
        for key, seq, value in cohort.view().entries():
            yield [key, seq], value
    elif what == "history":
        for record in cohort.log(_first(cohort)):
            # Bytes are no values; they are read with log().
            value = record.value if record.kind == "put" else {}
            yield [record.seq, record.key, record.kind, record.time], value
    elif what == "points":
        if cohort.settings["fold"]["kind"] != "series":
            raise ValueError(f"the cohort {cohort.name!r} has no points: its fold is {cohort.settings['fold']['kind']}, not series")
        for key, metrics in cohort.items():
            for metric, come_to in metrics.items():
                for seq, number in come_to["points"]:
                    yield [key, metric, seq, float(number)], {}
    else:
        raise ValueError(f'what is "state", "history" or "points", not {what!r}')


def _first(cohort: "Cohort") -> int:
    """The first seq that is still there."""
    from .errors import Compacted

    try:
        cohort.log(1)
    except Compacted as e:
        return e.seq or 1
    return 1


def columns(cohort: "Cohort", what: What = "state") -> dict[str, tuple[Kind, list[Any]]]:
    """The table: of each column its kind and its values, None where there is none."""
    if what not in _LEADING:
        raise ValueError(f'what is "state", "history" or "points", not {what!r}')
    leading = _LEADING[what]
    heads: list[list[Any]] = [[] for _ in leading]
    fields: dict[str, list[Any]] = {}
    rows = 0
    for head, value in _rows(cohort, what):
        for column, cell in zip(heads, head):
            column.append(cell)
        if not isinstance(value, dict):
            value = {"value": value}
        for name, cell in value.items():
            name = f"{name}_" if name in leading else name
            column = fields.setdefault(name, [])
            # Rows before it did not have it.
            column.extend([None] * (rows - len(column)))
            if len(column) == rows:
                column.append(cell)
            else:
                column[rows] = cell
        rows += 1
    table: dict[str, tuple[Kind, list[Any]]] = {
        name: (kind, column) for (name, kind), column in zip(leading.items(), heads)
    }
    for name, column in fields.items():
        column.extend([None] * (rows - len(column)))
        table[name] = _typed(column)
    return table


def _typed(column: list[Any]) -> tuple[Kind, list[Any]]:
    types = {type(cell) for cell in column if cell is not None}
    if types <= {bool} and types:
        return "bool", column
    if types == {int} and all(cell is None or -(2**63) <= cell < 2**63 for cell in column):
        return "int", column
    if types and types <= {int, float} and float in types and all(_fits(cell) for cell in column):
        return "float", [None if cell is None else float(cell) for cell in column]
    if types <= {str}:
        return "str", column
    return "str", [None if cell is None else _text(cell) for cell in column]


def _fits(cell: Any) -> bool:
    return not isinstance(cell, int) or abs(cell) <= 2**53


def _text(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, separators=(",", ":"))


def to_pandas(cohort: "Cohort", what: What = "state") -> Any:
    """A `pandas.DataFrame`: columns of the types Int64, Float64, boolean and string, which have missing cells."""
    import pandas as pd

    types = {"int": "Int64", "float": "Float64", "bool": "boolean", "str": "string"}
    series = {}
    for name, (kind, cells) in columns(cohort, what).items():
        if kind == "float":
            # NaN is a number here, and missing cells are missing.
            import numpy as np

            missing = np.array([cell is None for cell in cells], dtype=bool)
            numbers = np.array([0.0 if cell is None else cell for cell in cells], dtype="float64")
            series[name] = pd.Series(pd.arrays.FloatingArray(numbers, missing))
        else:
            series[name] = pd.Series(pd.array(cells, dtype=types[kind]))
    return pd.DataFrame(series)


def to_polars(cohort: "Cohort", what: What = "state") -> Any:
    """A `polars.DataFrame`: columns of the types Int64, Float64, Boolean and String."""
    import polars as pl

    types = {"int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean, "str": pl.String}
    table = columns(cohort, what)
    return pl.DataFrame([pl.Series(name, cells, dtype=types[kind]) for name, (kind, cells) in table.items()])


def to_arrow(cohort: "Cohort", what: What = "state") -> Any:
    """A `pyarrow.Table`: columns of the types int64, double, bool and string."""
    import pyarrow as pa

    types: dict[str, Any] = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string()}
    table = columns(cohort, what)
    arrays: Iterable[Any] = [pa.array(cells, type=types[kind], from_pandas=False) for kind, cells in table.values()]
    return pa.table(dict(zip(table, arrays)))
