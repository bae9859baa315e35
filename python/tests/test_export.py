"""What the command exports, read back by pandas, polars, pyarrow and DuckDB."""

import datetime
import io
import json
import math

import pytest

import tallyfold

ENTRIES = {
    "run-1:TRAINING": {"auc": 0.61, "step": 2**53 + 1, "ok": True, "note": '=SUM(A1), "ä"\nb', "mixed": 1, "tags": ["a", 1.5], "big": 2**64 - 1},
    "run-2:TRAINING": {"auc": math.nan, "step": -(2**63), "ok": False, "note": None, "mixed": "1", "nested": {"x": [None]}, "big": 7},
    "run-3:TEST": {"auc": -math.inf, "step": 3, "ratio": 2},
    "run-4:TEST": {"ratio": 0.5},
}
KEYS = list(ENTRIES)
# What every reader is to see: a column, what kind of type it has, and its values.
COLUMNS = {
    "key": (str, KEYS),
    "run": (str, ["run-1", "run-2", "run-3", "run-4"]),
    "part": (str, ["TRAINING", "TRAINING", "TEST", "TEST"]),
    "seq": (int, [1, 2, 3, 4]),
    "auc": (float, [0.61, math.nan, -math.inf, None]),
    "step": (int, [2**53 + 1, -(2**63), 3, None]),
    "ok": (bool, [True, False, None, None]),
    "note": (str, ['=SUM(A1), "ä"\nb', None, None, None]),
    "mixed": (str, ["1", '"1"', None, None]),
    "tags": (str, ['["a",1.5]', None, None, None]),
    "big": (str, ["18446744073709551615", "7", None, None]),
    "nested": (str, [None, '{"x":[null]}', None, None]),
    "ratio": (float, [None, None, 2.0, 0.5]),
}
ARGS = ("--key-parts", "run,part")


@pytest.fixture
def path(tmp_path):
    store = tallyfold.Store(tmp_path / "store")
    index = store.cohort("index", fold="latest")
    for key, value in ENTRIES.items():
        index.append(value, key=key)
    index.compact()
    log = store.cohort("metrics", fold="log")
    for step in range(3):
        log.append({"run_id": "run-1", "step": step, "loss": 1 / (step + 1)})
    curves = store.cohort("curves", fold="series")
    for step in range(3):
        curves.append({"loss": 1 / (step + 1), "acc": step}, key="run-1")
    return tmp_path / "store"


@pytest.fixture
def exported(path, command, tmp_path):
    """The file of a cohort in a format."""

    def export(ending, cohort="index", *args):
        file = tmp_path / f"{cohort}.{ending}"
        command("export", cohort, "-o", file, *(args or ARGS if cohort == "index" else args), store=path)
        return file

    return export


def same(found, wanted):
    found = [None if value is not None and not isinstance(value, str) and value != value and want is None else value
             for value, want in zip(found, wanted, strict=True)]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        if isinstance(other, float) and math.isnan(other):
            assert isinstance(one, float) and math.isnan(one)
        else:
            assert one == other and type(one) is type(other), (found, wanted)


def readers_of_arrow_and_parquet(file):
    """Each reader as (name, types by column, values by column)."""
    parquet = file.suffix == ".parquet"
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet as arrow_parquet

    table = arrow_parquet.read_table(file) if parquet else feather.read_table(file)
    yield "pyarrow", {field.name: str(field.type) for field in table.schema}, table.to_pydict()
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(file) if parquet else polars.read_ipc(file)
    yield "polars", {name: str(type_) for name, type_ in frame.schema.items()}, frame.to_dict(as_series=False)
    pandas = pytest.importorskip("pandas")
    frame = (pandas.read_parquet if parquet else pandas.read_feather)(file, dtype_backend="pyarrow")
    values = {name: pyarrow.Array.from_pandas(frame[name].array).to_pylist() for name in frame}
    yield "pandas", {name: str(type_).removesuffix("[pyarrow]") for name, type_ in frame.dtypes.items()}, values


NAMES = {
    "pyarrow": {str: "string", int: "int64", float: "double", bool: "bool"},
    "polars": {str: "String", int: "Int64", float: "Float64", bool: "Boolean"},
    "pandas": {str: "string", int: "int64", float: "double", bool: "bool"},
    "duckdb": {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"},
}


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_types_and_values_come_through(exported, ending):
    for reader, types, values in readers_of_arrow_and_parquet(exported(ending)):
        assert list(values) == list(COLUMNS), reader
        for name, (kind, wanted) in COLUMNS.items():
            assert types[name] == NAMES[reader][kind], (reader, name)
            same(values[name], wanted)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_duckdb_asks_a_file_of_ours(exported, ending):
    duckdb = pytest.importorskip("duckdb")
    file = exported(ending)
    table = duckdb.sql(f"select * from '{file}'")
    types = dict(zip(table.columns, map(str, table.types)))
    values = dict(zip(table.columns, map(list, zip(*table.fetchall()))))
    assert list(values) == list(COLUMNS)
    for name, (kind, wanted) in COLUMNS.items():
        # A CSV file knows no types: these texts look like numbers to whoever guesses.
        if ending == "parquet" or name not in ("big", "mixed", "tags", "nested"):
            assert types[name] == NAMES["duckdb"][kind], name
            same(values[name], wanted)
    rows = duckdb.sql(f"select part, count(*), sum(ratio) from '{file}' group by part order by part").fetchall()
    assert rows == [("TEST", 2, 2.5), ("TRAINING", 2, None)]


def test_duckdb_reads_arrow_through_pyarrow(exported):
    duckdb, feather = pytest.importorskip("duckdb"), pytest.importorskip("pyarrow.feather")
    exported_table = feather.read_table(exported("arrow"))
    assert exported_table.num_rows == 4
    assert duckdb.sql("select key from exported_table where ok").fetchall() == [(KEYS[0],)]


def test_a_pipe_carries_a_stream_of_arrow(path, command):
    ipc = pytest.importorskip("pyarrow.ipc")
    done = command("export", "index", "--format", "arrow", *ARGS, store=path)
    table = ipc.open_stream(done.stdout).read_all()
    assert table.column_names == list(COLUMNS)
    same(table.column("step").to_pylist(), COLUMNS["step"][1])
    polars = pytest.importorskip("polars")
    assert polars.read_ipc_stream(done.stdout)["key"].to_list() == KEYS


def test_csv_is_read_by_pandas_polars_and_pyarrow(exported):
    file = exported("csv")
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(file, dtype={"step": "Int64", "big": "str", "mixed": "str"})
    assert list(frame) == list(COLUMNS)
    assert frame["key"].tolist() == KEYS and frame["step"].tolist()[:3] == COLUMNS["step"][1][:3]
    same(frame["auc"].tolist(), [0.61, math.nan, -math.inf, math.nan])
    assert frame["note"][0] == ENTRIES[KEYS[0]]["note"]
    polars = pytest.importorskip("polars")
    frame = polars.read_csv(file, schema_overrides={"big": polars.String, "mixed": polars.String})
    for name in ("key", "seq", "step", "ok", "auc", "note", "tags", "big", "ratio"):
        same(frame[name].to_list(), COLUMNS[name][1])
    assert str(frame.schema["auc"]) == "Float64" and str(frame.schema["ok"]) == "Boolean"
    csv = pytest.importorskip("pyarrow.csv")
    table = csv.read_csv(file, parse_options=csv.ParseOptions(newlines_in_values=True))
    assert table.column("key").to_pylist() == KEYS
    same(table.column("ratio").to_pylist(), COLUMNS["ratio"][1])


def test_lines_of_json_are_read_by_all_of_them(exported):
    file = exported("jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["key"] for line in lines] == KEYS and lines[0]["value"] == ENTRIES[KEYS[0]]
    assert lines[1]["nonfinite"] is True and lines[1]["value"]["auc"] == "NaN" and "nonfinite" not in lines[0]
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_json(io.StringIO(file.read_text()), lines=True)
    assert frame["seq"].tolist() == [1, 2, 3, 4] and frame["value"][3] == ENTRIES[KEYS[3]]
    polars = pytest.importorskip("polars")
    assert polars.read_ndjson(file)["run"].to_list() == COLUMNS["run"][1]
    duckdb = pytest.importorskip("duckdb")
    assert duckdb.sql(f"select value.ratio from read_json('{file}') where key = '{KEYS[3]}'").fetchall() == [(0.5,)]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_times_of_a_history_are_moments_in_utc(exported, path, ending):
    file = exported(ending, "metrics")
    record = next(iter(tallyfold.Store(path).cohort("metrics").log()))
    microseconds = datetime.timedelta(microseconds=round(record.time * 1e6))
    moment = datetime.datetime.fromtimestamp(0, datetime.timezone.utc) + microseconds
    for reader, types, values in readers_of_arrow_and_parquet(file):
        assert "UTC" in types["time"] and "us" in types["time"].replace("μ", "u"), (reader, types["time"])
        assert values["time"][0] == moment, reader
        assert values["kind"] == ["put"] * 3 and values["loss"] == [1, 0.5, 1 / 3], reader
    if ending == "parquet":
        duckdb = pytest.importorskip("duckdb")
        assert str(duckdb.sql(f"select time from '{file}'").types[0]) == "TIMESTAMP WITH TIME ZONE"


def test_points_of_a_series_are_a_long_table(exported):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(exported("parquet", "curves", "--what", "points"))
    wide = frame.pivot(index="seq", columns="metric", values="value")
    assert wide["loss"].tolist() == [1, 0.5, 1 / 3] and wide["acc"].tolist() == [0, 1, 2]
    assert set(frame["key"]) == {"run-1"}
