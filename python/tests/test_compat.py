"""The calls of the training pipelines: their defaults, lock files and errors, and that nothing is lost, torn or left over."""

import collections
import datetime
import decimal
import enum
import fcntl
import inspect
import json
import math
import multiprocessing
import os
import pathlib
import pickle
import signal
import stat
import threading
import time

import pytest

import tallyfold
from tallyfold.compat import (
    FileLockError,
    FileLockHelper,
    FileLockTimeoutError,
    _acquire_playbook_lock,
    _release_playbook_lock,
    _write_atomic_json_with_lock,
    atomic_json_write,
    atomic_model_save,
    atomic_write,
    file_lock,
    verify_lock_support,
)

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "a.json"


def lock_of(path):
    return path.with_name(path.name + ".lock")


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def names(path):
    return sorted(os.listdir(path.parent))


class plain_flock:
    """How a worker locks that has not moved over."""

    def __init__(self, path, how=fcntl.LOCK_EX):
        self.path, self.how = path, how

    def __enter__(self):
        pathlib.Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "a")
        fcntl.flock(self.file, self.how)

    def __exit__(self, *_):
        fcntl.flock(self.file, fcntl.LOCK_UN)
        self.file.close()


def is_locked(path, how=fcntl.LOCK_EX):
    try:
        with plain_flock(path, how | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


def in_child(function):
    child = os.fork()
    if child == 0:
        code = 255
        try:
            code = int(function())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


DEFAULTS = [
    (FileLockHelper.read_json_with_lock, "file_path, timeout=None, retry_delay=None, create_if_missing=False, default_data=None"),
    (FileLockHelper.write_json_with_lock, "file_path, data, timeout=None, retry_delay=None, indent=2, ensure_ascii=False"),
    (FileLockHelper.update_json_with_lock,
     "file_path, update_func, timeout=None, retry_delay=None, create_if_missing=True, default_data=None"),
    (FileLockHelper.with_file_lock, "file_path, timeout=None"),
    (FileLockHelper.cleanup_lock_files, "directory"),
    (_write_atomic_json_with_lock, "file_path, data, lock_timeout=30.0"),
    (file_lock, "filepath, timeout=30, poll_interval=0.1"),
    (atomic_write, "filepath, mode='w', encoding='utf-8', lock_timeout=30"),
    (atomic_json_write, "filepath, data, lock_timeout=30, **json_kwargs"),
    (atomic_model_save, "model, filepath, save_func=None, lock_timeout=60"),
    (_acquire_playbook_lock, "lock_file_path, exclusive=True, timeout=30.0"),
    (_release_playbook_lock, "lock_file"),
]


@pytest.mark.parametrize(("call", "given"), DEFAULTS, ids=lambda it: getattr(it, "__name__", ""))
def test_names_and_defaults_are_those_that_pipelines_have(call, given):
    parameters = inspect.signature(call).parameters.values()
    assert ", ".join(str(p.replace(annotation=p.empty)) for p in parameters) == given
    assert all(p.annotation is not p.empty for p in parameters) and call.__doc__
    assert FileLockHelper.DEFAULT_TIMEOUT == 60.0


def test_a_helper_reads_writes_and_updates(path):
    assert FileLockHelper.write_json_with_lock(path, {"b": 1, "a": "é"}) is None
    assert path.read_text() == '{\n  "b": 1,\n  "a": "é"\n}'
    assert FileLockHelper.read_json_with_lock(str(path)) == {"b": 1, "a": "é"}
    new = FileLockHelper.update_json_with_lock(path, lambda old: {**old, "c": [2]})
    assert new == {"b": 1, "a": "é", "c": [2]} == json.loads(path.read_text())
    FileLockHelper.write_json_with_lock(path, ["é"], indent=None, ensure_ascii=True)
    assert path.read_text() == '["\\u00e9"]'
    assert names(path) == ["a.json", "a.json.lock"]


def test_a_missing_file_is_an_error_or_begins_with_the_default_data(path):
    with pytest.raises(FileNotFoundError):
        FileLockHelper.read_json_with_lock(path)
    with pytest.raises(FileNotFoundError):
        FileLockHelper.update_json_with_lock(path, lambda old: old, create_if_missing=False)
    assert not path.exists()
    assert FileLockHelper.read_json_with_lock(path, create_if_missing=True) == {} == json.loads(path.read_text())
    path.unlink()
    default = {"runs": []}
    read = FileLockHelper.read_json_with_lock(path, create_if_missing=True, default_data=default)
    read["runs"].append(1)
    assert default == {"runs": []} == json.loads(path.read_text())
    path.unlink()
    FileLockHelper.update_json_with_lock(path, lambda old: old["runs"].append(1) or old, default_data=default)
    assert default == {"runs": []} and json.loads(path.read_text()) == {"runs": [1]}
    path.unlink()
    assert FileLockHelper.update_json_with_lock(path, lambda old: [old]) == [{}]


@pytest.mark.parametrize("content", [b"", b"{", b'{"a":1}}', b"\xff\xfe{", b'"\xff"', b"[1,]"])
def test_a_file_that_cannot_be_read_is_an_error_that_names_it_and_stays(path, content):
    put(path, "")
    path.write_bytes(content)
    for call in (FileLockHelper.read_json_with_lock, lambda path: FileLockHelper.update_json_with_lock(path, lambda old: {})):
        with pytest.raises(json.JSONDecodeError, match="a.json"):
            call(path)
    assert path.read_bytes() == content and names(path) == ["a.json", "a.json.lock"]


def test_numbers_that_json_does_not_have_are_read_from_old_files_and_written_as_null(path):
    put(path, '{"auc": NaN, "worst": -Infinity, "id": 340282366920938463463374607431768211455}')
    seen = []
    FileLockHelper.update_json_with_lock(path, lambda old: seen.append(old) or old)
    assert math.isnan(seen[0]["auc"]) and seen[0]["worst"] == -math.inf
    assert json.loads(path.read_text()) == {"auc": None, "worst": None, "id": 2**128 - 1}
    before = path.read_text()
    with pytest.raises(ValueError, match=r"\['auc'\]"):
        atomic_json_write(path, {"auc": math.nan}, allow_nan=False)
    with pytest.raises(ValueError):
        atomic_json_write(path, {"auc": math.inf}, cls=json.JSONEncoder)
    assert path.read_text() == before


class Stage(enum.Enum):
    TRAINING = "TRAINING"


def test_values_and_keys_that_pipelines_pass_become_json_in_their_order(path):
    data = collections.OrderedDict([
        (Stage.TRAINING, Stage.TRAINING),
        (3, {2, 1}),
        ("when", datetime.datetime(2026, 1, 8, 12, 0, 1)),
        ("where", pathlib.PurePosixPath("runs/x")),
        ("how much", decimal.Decimal("0.25")),
        ("a", (1, None)),
    ])
    expected = {
        "TRAINING": "TRAINING", "3": [1, 2], "when": "2026-01-08T12:00:01", "where": "runs/x", "how much": 0.25, "a": [1, None],
    }
    FileLockHelper.write_json_with_lock(path, data)
    assert list(json.loads(path.read_text()).items()) == list(expected.items())
    atomic_json_write(path, data)
    assert path.read_text() == json.dumps(expected)
    metrics = path.with_name("metrics.json")
    _write_atomic_json_with_lock(metrics, data)
    assert metrics.read_text() == json.dumps(expected, indent=2, sort_keys=True) + "\n"


def test_values_of_numpy_and_pandas_become_json(path):
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    atomic_json_write(path, {
        "auc": numpy.float32(0.5), "n": numpy.int64(5), "list": numpy.array([[1, 2]]), "none": pandas.NA,
        "at": pandas.Timestamp("2026-01-08"), "column": pandas.Series([1.0, math.nan]), numpy.int64(7): True,
    })
    assert json.loads(path.read_text()) == {
        "auc": 0.5, "n": 5, "list": [[1, 2]], "none": None, "at": "2026-01-08T00:00:00", "column": [1.0, None], "7": True,
    }


def test_canonical_json_has_the_same_bytes_for_equal_values_and_a_lock_with_the_suffix_replaced(path):
    metrics = path.with_name("metrics.json")
    _write_atomic_json_with_lock(metrics, {"b": {"d": 1, "c": "é"}, "a": 0.1})
    first = metrics.read_bytes()
    assert first == '{\n  "a": 0.1,\n  "b": {\n    "c": "é",\n    "d": 1\n  }\n}\n'.encode()
    _write_atomic_json_with_lock(str(metrics), {"a": 0.1, "b": {"c": "é", "d": 1}})
    assert metrics.read_bytes() == first and names(metrics) == ["metrics.json", "metrics.lock"]
    with plain_flock(metrics.with_name("metrics.lock")):
        with pytest.raises(IOError) as caught:
            _write_atomic_json_with_lock(metrics, {}, lock_timeout=0)
    assert isinstance(caught.value, TimeoutError) and metrics.read_bytes() == first
    with pytest.raises(ValueError, match="its own lock file"):
        _write_atomic_json_with_lock(metrics.with_name("x.lock"), {})
    # Nothing can be made below a file.
    with pytest.raises(IOError):
        _write_atomic_json_with_lock(metrics / "below.json", {})


def test_a_written_file_replaces_the_old_one_at_the_end_of_the_body(path):
    with atomic_write(path) as file:
        file.write("é\n")
        file.flush()
        assert not path.exists() and is_locked(lock_of(path))
    assert path.read_bytes() == "é\n".encode()
    with atomic_write(path, "wb") as file:
        file.write(b"\xff")
    assert path.read_bytes() == b"\xff"
    with atomic_write(path, "w", encoding="latin-1") as file:
        file.write("é")
        file.close()
    assert path.read_bytes() == b"\xe9"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write("half")
        1 / 0
    for mode in ("a", "r", "r+", "x", "wbt", ""):
        with pytest.raises(ValueError, match="mode"), atomic_write(path, mode):
            pass
    assert path.read_bytes() == b"\xe9" and names(path) == ["a.json", "a.json.lock"]


def test_json_is_written_as_the_arguments_say(path):
    data = {"b": [1], "a": "é"}
    for arguments in ({}, {"indent": 4}, {"indent": "\t", "sort_keys": True}, {"ensure_ascii": False, "separators": (",", ":")}):
        atomic_json_write(path, data, **arguments)
        assert path.read_text() == json.dumps(data, **arguments)
    atomic_json_write(path, {"x": object()}, default=lambda _: "something")
    assert json.loads(path.read_text()) == {"x": "something"}
    atomic_json_write(path, {(1, 2): 0, "x": 1}, skipkeys=True)
    assert json.loads(path.read_text()) == {"x": 1}


def test_a_model_is_saved_by_its_function_or_pickled(path):
    model = {"weights": list(range(100))}
    atomic_model_save(model, path)
    assert pickle.loads(path.read_bytes()) == model
    given = []

    def save(model, temporary):
        given.append(temporary)
        pathlib.Path(temporary).write_text(str(model["weights"][:2]))

    atomic_model_save(model, path, save)
    assert path.read_text() == "[0, 1]" and type(given[0]) is str
    assert os.path.dirname(given[0]) == str(path.parent) and given[0].endswith(".json") and not os.path.exists(given[0])

    def replace(model, temporary):
        other = temporary + ".mine"
        pathlib.Path(other).write_text("by rename")
        os.replace(other, temporary)

    atomic_model_save(model, path, save_func=replace)
    assert path.read_text() == "by rename"

    def fails(model, temporary):
        pathlib.Path(temporary).write_text("half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no") as kept:
        atomic_model_save(model, path, fails)
    # Though the error, and with it every frame that it went through, is still there.
    assert kept.value.__traceback__ and names(path) == ["a.json", "a.json.lock"]
    with pytest.raises(Exception, match="pickle"):
        atomic_model_save(lambda: 1, path)
    assert path.read_text() == "by rename" and names(path) == ["a.json", "a.json.lock"]


def test_a_playbook_lock_is_shared_or_exclusive(path):
    lock_file = path.with_name("playbook.lock")
    lock = _acquire_playbook_lock(lock_file)
    assert is_locked(lock_file, fcntl.LOCK_SH)
    for exclusive in (True, False):
        with pytest.raises(TimeoutError):
            _acquire_playbook_lock(lock_file, exclusive, timeout=0.01)
    _release_playbook_lock(lock)
    _release_playbook_lock(lock)
    _release_playbook_lock(None)
    readers = [_acquire_playbook_lock(lock_file, exclusive=False) for _ in range(2)]
    assert is_locked(lock_file) and not is_locked(lock_file, fcntl.LOCK_SH)
    [_release_playbook_lock(reader) for reader in readers]
    assert not is_locked(lock_file) and names(lock_file) == ["playbook.lock"]


def timeouts(path):
    """Each call that waits for the lock of a path, with little patience."""
    return [
        lambda: FileLockHelper.read_json_with_lock(path, timeout=0),
        lambda: FileLockHelper.write_json_with_lock(path, 1, timeout=0.01, retry_delay=5),
        lambda: FileLockHelper.update_json_with_lock(path, lambda old: 1, timeout=0),
        lambda: FileLockHelper.with_file_lock(path, timeout=0).__enter__(),
        lambda: file_lock(path, 0, 5).__enter__(),
        lambda: atomic_write(path, lock_timeout=0).__enter__(),
        lambda: atomic_json_write(path, 1, 0),
        lambda: atomic_model_save(1, path, lock_timeout=0.01),
        lambda: _acquire_playbook_lock(lock_of(path), timeout=0),
    ]


def test_every_timeout_is_the_one_class_that_all_catch_and_the_file_stays(path):
    put(path, "[1]")
    with plain_flock(lock_of(path)):
        for call in timeouts(path):
            with pytest.raises(FileLockTimeoutError) as caught:
                call()
            for kind in (TimeoutError, IOError, FileLockError, tallyfold.LockTimeout):
                assert isinstance(caught.value, kind)
            assert caught.value.lock_file == str(lock_of(path))
    assert path.read_text() == "[1]" and names(path) == ["a.json", "a.json.lock"]
    # Readers share, so one that reads stops none.
    with plain_flock(lock_of(path), fcntl.LOCK_SH):
        assert FileLockHelper.read_json_with_lock(path, timeout=0) == [1]


def test_the_lock_that_is_held_is_the_one_that_others_take(path):
    with FileLockHelper.with_file_lock(path):
        assert is_locked(lock_of(path), fcntl.LOCK_SH)
    with file_lock(path):
        assert is_locked(lock_of(path), fcntl.LOCK_SH)
    with pytest.raises(ZeroDivisionError), file_lock(path):
        1 / 0
    assert not is_locked(lock_of(path)) and lock_of(path).exists()
    (path.parent / "b.json.lock").mkdir()
    with pytest.raises(FileLockError) as caught, file_lock(path.with_name("b.json")):
        pass
    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("wrong", [object(), {"a": b"bytes"}, {("a", "b"): 1}, [lambda: 1]],
                         ids=["object", "bytes", "key", "function"])
def test_what_has_no_json_is_a_type_error_and_the_file_stays(path, wrong):
    put(path, "[1]")
    metrics = path.with_name("metrics.json")
    put(metrics, "[1]")
    for call in (
        lambda: FileLockHelper.write_json_with_lock(path, wrong),
        lambda: FileLockHelper.update_json_with_lock(path, lambda old: wrong),
        lambda: atomic_json_write(path, wrong),
        lambda: _write_atomic_json_with_lock(metrics, wrong),
    ):
        with pytest.raises(TypeError, match="value"):
            call()
    assert path.read_text() == "[1]" == metrics.read_text()
    assert set(names(path)) <= {"a.json", "a.json.lock", "metrics.json", "metrics.lock"}


def test_an_update_that_fails_or_returns_nothing_changes_nothing(path):
    put(path, "[1]")
    with pytest.raises(ZeroDivisionError):
        FileLockHelper.update_json_with_lock(path, lambda old: 1 / 0)
    with pytest.raises(ValueError, match="returned None"):
        FileLockHelper.update_json_with_lock(path, lambda old: old.append(2))
    assert path.read_text() == "[1]" and not is_locked(lock_of(path))


def test_a_lock_file_that_somebody_removed_meanwhile_is_told_and_nothing_is_overwritten(path):
    put(path, "[1]")

    def update(old):
        lock_of(path).unlink()
        FileLockHelper.write_json_with_lock(path, [2])
        return old

    with pytest.raises(tallyfold.Conflict, match="nothing was written"):
        FileLockHelper.update_json_with_lock(path, update)
    assert json.loads(path.read_text()) == [2] and names(path) == ["a.json", "a.json.lock"]


def test_links_stay_and_modes_are_kept(path, tmp_path):
    target = tmp_path / "elsewhere" / "real.json"
    put(target, "[1]")
    target.chmod(0o640)
    path.parent.mkdir()
    path.symlink_to(target)
    FileLockHelper.update_json_with_lock(path, lambda old: old + [2])
    atomic_model_save(None, path, lambda _, temporary: pathlib.Path(temporary).write_text("[3]"))
    assert path.is_symlink() and target.read_text() == "[3]" and stat.S_IMODE(target.stat().st_mode) == 0o640
    assert names(path) == ["a.json", "a.json.lock"] and names(target) == ["real.json"]
    before = os.umask(0o027)
    try:
        atomic_json_write(path.with_name("b.json"), 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.with_name("b.json").stat().st_mode) == 0o640


def test_a_relative_path_means_the_same_after_the_directory_was_changed(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    with atomic_write("a.txt") as file:
        monkeypatch.chdir(tmp_path / "there")
        file.write("x")
    assert (tmp_path / "a.txt").read_text() == "x" and os.listdir(tmp_path / "there") == []


def test_cleaning_up_removes_what_nobody_has_and_counts_it(path):
    put(path, "[1]")
    for name in ("b.lock", "c.json.lock"):
        path.with_name(name).touch()
    path.with_name("full.lock").write_text("something else")
    with file_lock(path):
        assert FileLockHelper.cleanup_lock_files(path.parent) == 2
    assert names(path) == ["a.json", "a.json.lock", "full.lock"]
    assert FileLockHelper.cleanup_lock_files(str(path.parent)) == 1
    assert FileLockHelper.cleanup_lock_files(path.parent / "nothing") == 0


def test_lock_support_is_what_was_tried(path, monkeypatch):
    path.parent.mkdir()
    found = verify_lock_support(path.parent)
    assert found["supported"] is True and set(found["checks"].values()) == {True} and len(found["checks"]) >= 5
    assert pathlib.Path(found["directory"]) == path.parent and found["file_system"] and "yes:" in found["report"]
    assert names(path) == []
    monkeypatch.chdir(path.parent)
    assert pathlib.Path(verify_lock_support()["directory"]) == path.parent
    with pytest.raises(OSError):
        verify_lock_support(path.parent / "nothing")


def add_some(path, worker, n):
    for i in range(n):
        FileLockHelper.update_json_with_lock(path, lambda old: {**old, f"{worker}:{i}": i})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_eight_processes_update_one_file_and_nothing_is_lost(path, method):
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=add_some, args=(path, worker, 50)) for worker in range(8)]
    [worker.start() for worker in workers]
    while any(worker.is_alive() for worker in workers):
        if path.exists():
            # Without a lock: it is whole at any moment.
            json.loads(path.read_text())
        time.sleep(0.005)
    [worker.join() for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert json.loads(path.read_text()) == {f"{worker}:{i}": i for worker in range(8) for i in range(50)}
    assert names(path) == ["a.json", "a.json.lock"]


def test_threads_update_one_file_and_nothing_is_lost(path):
    threads = [threading.Thread(target=add_some, args=(path, worker, 25)) for worker in range(4)]
    [thread.start() for thread in threads]
    [thread.join(240) for thread in threads]
    assert len(json.loads(path.read_text())) == 100


def ours(path):
    return file_lock(path, timeout=240)


def theirs(path):
    return plain_flock(lock_of(path))


def rounds(locked, path, marker, n, overlaps):
    for _ in range(n):
        with locked(path):
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                with overlaps.get_lock():
                    overlaps.value += 1
                continue
            # Long enough for somebody else to come.
            time.sleep(0.001)
            os.unlink(marker)


def test_old_workers_with_a_plain_flock_and_ours_are_never_inside_together(path, tmp_path):
    marker, overlaps = tmp_path / "inside", FORK.Value("i", 0)
    # What finds who is inside does find somebody.
    marker.touch()
    rounds(ours, path, marker, 3, overlaps)
    assert overlaps.value == 3
    marker.unlink()
    workers = [FORK.Process(target=rounds, args=(locked, path, marker, 60, overlaps)) for locked in [ours, theirs] * 3]
    [worker.start() for worker in workers]
    [worker.join(240) for worker in workers]
    assert [worker.exitcode for worker in workers] == [0] * 6 and overlaps.value == 3


def test_a_forked_child_neither_commits_nor_removes_nor_unlocks_what_its_parent_has_begun(path):
    lock = _acquire_playbook_lock(lock_of(path).with_name("playbook.lock"))

    def child():
        _release_playbook_lock(lock)
        return 7

    assert in_child(child) == 7 and is_locked(path.with_name("playbook.lock"))
    _release_playbook_lock(lock)
    assert not is_locked(path.with_name("playbook.lock"))
    writing = atomic_write(path)
    file = writing.__enter__()
    file.write("parent")
    file.flush()

    def leave():
        try:
            writing.__exit__(None, None, None)
        except OSError:
            return 7
        return 0

    assert in_child(leave) == 7 and not path.exists() and is_locked(lock_of(path))
    writing.__exit__(None, None, None)
    assert path.read_text() == "parent" and names(path) == ["a.json", "a.json.lock", "playbook.lock"]


def write_for_ever(path, how):
    i = 0
    while True:
        how(path, {"i": i, "again": [i] * 2000})
        i += 1


def save(path, data):
    atomic_model_save(data, path, lambda data, temporary: pathlib.Path(temporary).write_text(json.dumps(data)))


@pytest.mark.parametrize("how", [FileLockHelper.write_json_with_lock, atomic_json_write, save, _write_atomic_json_with_lock])
def test_a_killed_writer_leaves_the_old_file_or_the_new_one_and_no_lock(path, how):
    path.parent.mkdir()
    last = -1
    for turn in range(6):
        victim = FORK.Process(target=write_for_ever, args=(path, how))
        victim.start()
        deadline = time.monotonic() + 120
        seen = set()
        # In the midst of its work, at another place each time.
        while len(seen) < 3 + turn and time.monotonic() < deadline:
            if path.exists():
                data = json.loads(path.read_text())
                seen.add(data["i"])
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        assert len(seen) >= 3 + turn
        data = json.loads(path.read_text())
        assert data["again"] == [data["i"]] * 2000
        last = data["i"]
    how(path, {"i": last + 1})
    assert json.loads(path.read_text()) == {"i": last + 1}
