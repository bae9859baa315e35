"""Tables: their columns and types, the same in every library."""

import math

import pytest

from tallyfold import frames


@pytest.fixture
def index(store):
    cohort = store.cohort("index", fold="latest")
    cohort.append({"auc": 0.5, "n": 1, "ok": True, "stage": "TRAINING", "key": "own"}, "run-2")
    cohort.append({"auc": 1, "n": 2**40, "tags": ["a"], "mixed": 1, "huge": 2**70}, "run-1")
    cohort.append({"auc": math.nan, "n": None, "mixed": "x", "only": None}, "run-3")
    cohort.append(7, "run-4")
    return cohort


def test_a_state_is_a_row_an_entry_with_stable_columns(index):
    table = frames.columns(index)
    nan = table["auc"][1].pop(2)
    assert math.isnan(nan)
    assert table == {
        "key": ("str", ["run-1", "run-2", "run-3", "run-4"]),
        "seq": ("int", [2, 1, 3, 4]),
        "auc": ("float", [1.0, 0.5, None]),
        "n": ("int", [2**40, 1, None, None]),
        "tags": ("str", ['["a"]', None, None, None]),
        "mixed": ("str", ["1", None, '"x"', None]),
        "huge": ("str", [str(2**70), None, None, None]),
        "ok": ("bool", [None, True, None, None]),
        "stage": ("str", [None, "TRAINING", None, None]),
        "key_": ("str", [None, "own", None, None]),
        "only": ("str", [None, None, None, None]),
        "value": ("int", [None, None, None, 7]),
    }


def test_a_history_is_a_row_a_record_from_the_first_that_is_there(store):
    cohort = store.cohort("c", fold="latest")
    for n in range(3):
        cohort.append({"n": n}, "k")
        cohort.compact()
    cohort.delete("k")
    table = frames.columns(cohort, "history")
    assert table["seq"][1][-2:] == [3, 4] and table["kind"][1][-2:] == ["put", "delete"]
    assert table["n"][1][-2:] == [2, None] and list(table) == ["seq", "key", "kind", "time", "n"]


def test_points_of_a_series(store):
    cohort = store.cohort("m", fold={"kind": "series", "points": 2})
    for loss in (3.0, 2.0, math.inf):
        cohort.append({"loss": loss, "stage": "x"}, "run")
    assert frames.columns(cohort, "points") == {
        "key": ("str", ["run", "run"]),
        "metric": ("str", ["loss", "loss"]),
        "seq": ("int", [2, 3]),
        "value": ("float", [2.0, math.inf]),
    }


def test_what_has_no_such_table_is_refused(index):
    with pytest.raises(ValueError, match="has no points"):
        frames.columns(index, "points")
    with pytest.raises(ValueError, match="what is"):
        frames.columns(index, "rows")


def test_an_empty_cohort_has_its_leading_columns(store):
    assert frames.columns(store.cohort("e", fold="latest")) == {"key": ("str", []), "seq": ("int", [])}


def test_pandas(index):
    pd = pytest.importorskip("pandas")
    table = index.to_pandas()
    assert [str(it) for it in table.dtypes[["key", "seq", "auc", "n", "ok"]]] == ["string", "Int64", "Float64", "Int64", "boolean"]
    assert table["n"][0] == 2**40 and table["n"][2] is pd.NA and table["auc"][3] is pd.NA
    assert math.isnan(table["auc"][2]) and len(table) == 4
    assert len(index.to_pandas("history")) == 4


def test_polars(index):
    pl = pytest.importorskip("polars")
    table = index.to_polars()
    assert table.schema["auc"] == pl.Float64 and table.schema["n"] == pl.Int64 and table.schema["ok"] == pl.Boolean
    assert table["n"].to_list() == [2**40, 1, None, None] and math.isnan(table["auc"][2])


def test_arrow(index):
    pa = pytest.importorskip("pyarrow")
    table = index.to_arrow()
    assert table.schema.field("auc").type == pa.float64() and table.schema.field("tags").type == pa.string()
    assert table.column("auc").null_count == 1 and table.num_rows == 4
