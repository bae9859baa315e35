"""What becomes of Python's values, and what is refused with its place."""

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import uuid

import pytest

import tallyfold


class Stage(enum.Enum):
    TRAINING = "TRAINING"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    inner: object = None


Pair = collections.namedtuple("Pair", "a b")


class Text(str):
    pass


@pytest.fixture
def cohort(store):
    return store.cohort("values", fold="latest")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, None),
        (True, True),
        (-5, -5),
        (2**64, 2**64),
        (-(2**200), -(2**200)),
        (0.1, 0.1),
        (5e-324, 5e-324),
        (math.inf, math.inf),
        ("", ""),
        ("NaN", "NaN"),
        ("~Infinity", "~Infinity"),
        ("\x00\n\u2028 🦀", "\x00\n\u2028 🦀"),
        (Text("t"), "t"),
        ((1, [2]), [1, [2]]),
        (Pair(1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({1, "a"}, ["a", 1]),
        (range(3), [0, 1, 2]),
        (collections.deque([1]), [1]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.ChainMap({"a": 1}), {"a": 1}),
        (Stage.TRAINING, "TRAINING"),
        (Level.HIGH, 3),
        (Point(1, Point(2)), {"x": 1, "inner": {"x": 2, "inner": None}}),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.50"), 1.5),
        (decimal.Decimal("1E+2"), 100.0),
        (decimal.Decimal("-Infinity"), -math.inf),
        (datetime.datetime(2026, 1, 8, 12, 0, 1), "2026-01-08T12:00:01"),
        (datetime.datetime(2026, 1, 8, tzinfo=datetime.timezone.utc), "2026-01-08T00:00:00+00:00"),
        (datetime.date(2026, 1, 8), "2026-01-08"),
        (datetime.time(1, 2), "01:02:00"),
        (datetime.timedelta(minutes=1, milliseconds=5), 60.005),
    ],
)
def test_a_value_is_read_back_as_the_table_says(cohort, given, read):
    for value, expected in ((given, read), ({"in": [given]}, {"in": [read]})):
        cohort.append(value, "k")
        assert cohort.get("k") == expected
        assert type(cohort.get("k")) is type(expected)
    # Beside a NaN everything is spelled otherwise in the file, and read back the same.
    cohort.append([given, math.nan], "k")
    found, nan = cohort.get("k")
    assert found == read and math.isnan(nan)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (Stage.TRAINING, "TRAINING"),
        (Level.HIGH, "3"),
        (1, "1"),
        (2**70, str(2**70)),
        (1.5, "1.5"),
        (math.nan, "NaN"),
        (True, "true"),
        (None, "null"),
        (datetime.date(2026, 1, 8), "2026-01-08"),
        (pathlib.PurePosixPath("a"), "a"),
        (Text("t"), "t"),
    ],
)
def test_a_key_becomes_text(cohort, key, text):
    cohort.append({"first": 0, key: 1, "last": 2}, "k")
    assert cohort.get("k") == {"first": 0, text: 1, "last": 2}


@pytest.mark.parametrize(
    ("value", "place", "why"),
    [
        (object(), "value:", "object has no JSON value"),
        ({"a": [1, {"b": object()}]}, "value['a'][1]['b']:", "object has no JSON value"),
        (Point(1, {"deep": Point}), "value['inner']['deep']:", "type has no JSON value"),
        ({"a": b"bytes"}, "value['a']:", "bytes has no JSON value"),
        ({(1, 2): 3}, "value[(1, 2)]:", "a key cannot be tuple"),
        ({"1": 2, 1: 3}, "value[1]:", "two keys become \"1\""),
        ({1: 2, "1": 3}, "value['1']:", "two keys become \"1\""),
        ({"x": 1j}, "value['x']:", "complex has no JSON value"),
        ((x for x in ()), "value:", "generator has no JSON value"),
    ],
)
def test_anything_else_is_a_type_error_that_names_its_place(cohort, value, place, why):
    with pytest.raises(TypeError) as refused:
        cohort.append(value, "k")
    assert str(refused.value).startswith(place) and why in str(refused.value)
    assert cohort.last_seq == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": "\ud800"}, "value['a']: "),
        (10**400, "number out of range"),
    ],
)
def test_what_json_cannot_hold_is_invalid(cohort, value, words):
    with pytest.raises(tallyfold.Invalid, match=None) as refused:
        cohort.append(value, "k")
    assert words in str(refused.value) and isinstance(refused.value, ValueError)
    assert cohort.last_seq == 0


def test_a_value_that_holds_itself_is_refused(cohort):
    loop = []
    loop.append(loop)
    with pytest.raises(tallyfold.Invalid, match="nested deeper"):
        cohort.append(loop)
    deep = []
    for _ in range(126):
        deep = [deep]
    cohort.append(deep, "k")
    assert cohort.get("k") == deep


def test_default_is_asked_for_what_nothing_else_is_known_to_do_with(cohort):
    cohort.append({"a": 1j, "b": [b"x"]}, "k", default=lambda it: repr(it))
    assert cohort.get("k") == {"a": "1j", "b": ["b'x'"]}

    def unable(it):
        raise KeyError("not today")

    with pytest.raises(KeyError, match="not today"):
        cohort.append({"a": 1j}, "k", default=unable)
    with pytest.raises(tallyfold.Invalid, match="nested deeper"):
        cohort.append({"a": 1j}, "k", default=lambda it: it)


def test_numpy_scalars_and_arrays(cohort):
    np = pytest.importorskip("numpy")
    cohort.append(
        {
            "f64": np.float64(0.1), "f32": np.float32(0.5), "i": np.int64(-3), "u": np.uint64(2**63), "b": np.bool_(True),
            "a": np.arange(4).reshape(2, 2), "nan": np.array([np.nan, 1.0]), "s": np.str_("x"),
            "t": np.datetime64("2026-01-08T12:00:01"), "nat": np.datetime64("NaT"),
            "ts": np.array(["2026-01-08", "NaT"], dtype="datetime64[D]"), np.int64(7): 1, "e": np.array([]),
        },
        "k",
    )
    found = cohort.get("k")
    assert math.isnan(found["nan"].pop(0))
    assert found == {
        "f64": 0.1, "f32": 0.5, "i": -3, "u": 2**63, "b": True, "a": [[0, 1], [2, 3]], "nan": [1.0], "s": "x",
        "t": "2026-01-08T12:00:01", "nat": None, "ts": ["2026-01-08", "NaT"], "7": 1, "e": [],
    }


def test_pandas_timestamps_and_columns(cohort):
    pd = pytest.importorskip("pandas")
    cohort.append(
        {"t": pd.Timestamp("2026-01-08 12:00:01"), "nat": pd.NaT, "na": pd.NA, "c": pd.Series([1, 2]), "d": pd.Timedelta("1s")},
        "k",
    )
    assert cohort.get("k") == {"t": "2026-01-08T12:00:01", "nat": None, "na": None, "c": [1, 2], "d": 1.0}
