"""What all calls here have in common: JSON read, and a file replaced under a lock."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Callable, Iterator

from .. import _tallyfold
from ..errors import Invalid
from ..filelock import absolute

StrPath = str | os.PathLike[str]


def read(path: StrPath) -> Any:
    """The value in a JSON file, as Python's `json` reads it: the words NaN and Infinity, which older writers left, too.

    Raises `FileNotFoundError`; `json.JSONDecodeError` that names the file, also for what is no UTF-8.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        return json.loads(data)
    except json.JSONDecodeError as e:
        raise json.JSONDecodeError(f"{os.fspath(path)}: {e.msg}", e.doc, e.pos) from None
    except UnicodeDecodeError as e:
        raise json.JSONDecodeError(f"{os.fspath(path)}: not UTF-8", data.decode("latin-1"), e.start) from None


def text(data: Any, **arguments: Any) -> str:
    """The JSON text of any value that the package knows (see the table in its README), laid out as `json.dumps` does with these
    arguments. NaN and the infinities, which JSON cannot write, become null; with `allow_nan=False` they are refused.

    With `cls` or `skipkeys` the value goes to `json` as it is. Raises `TypeError` and `ValueError` that name the place in the
    value.
    """
    allow_nan = arguments.pop("allow_nan", True)
    if arguments.get("cls") is None and not arguments.get("skipkeys"):
        data = json.loads(_tallyfold._json_text(data, arguments.pop("default", None), allow_nan))
    return json.dumps(data, **arguments, allow_nan=False)


@contextlib.contextmanager
def replacing(path: StrPath, lock: _tallyfold.FileLock) -> Iterator[str]:
    """Gives the path of a temporary file, which replaces the one at `path` at the end: synced, with that one's mode, where a link
    leads. If the body fails, or the lock has become worthless (`tallyfold.Conflict`), the old file stays and the temporary one
    goes."""
    file = _tallyfold.AtomicFile(absolute(path))
    try:
        yield str(file.path)
        file.commit(lock)
    finally:
        file.discard()


def replace(path: StrPath, content: str, lock: _tallyfold.FileLock) -> None:
    """Replaces a file by a text in UTF-8."""
    data = content.encode()
    with replacing(path, lock) as temporary, open(temporary, "wb") as file:
        file.write(data)


def beside(path: StrPath) -> str:
    """`a.json.lock` for `a.json`."""
    return absolute(path) + ".lock"


def checked_call(function: Callable[[Any], Any], data: Any) -> Any:
    """The new data of an update. None is refused: a function that changes its argument and returns nothing would empty the
    file."""
    new = function(data)
    if new is None:
        raise Invalid(f"{getattr(function, '__name__', function)} returned None; return the new data. Nothing was written")
    return new
