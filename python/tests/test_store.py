"""Stores and cohorts: what is opened, appended, read and refused."""

import json
import os
import pickle
import subprocess
import sys
import threading

import pytest

import tallyfold


def test_a_cohort_is_made_once_and_only_what_is_given_is_compared(store):
    made = store.cohort("c", fold="latest", durable=True)
    assert made.settings["durable"] is True
    assert store.cohort("c").settings == store.cohort("c", fold="latest").settings == made.settings
    with pytest.raises(tallyfold.Conflict, match="exists with fold"):
        store.cohort("c", fold="merge")
    with pytest.raises(tallyfold.Conflict, match="exists with durable true, not false"):
        store.cohort("c", durable=False)
    with pytest.raises(tallyfold.Invalid, match="unknown field `colour`"):
        store.cohort("c", colour=1)
    with pytest.raises(tallyfold.Invalid, match="newest"):
        store.cohort("d", fold="newest")
    assert store.cohorts() == ["c"]


def test_the_parameters_of_a_fold_may_be_left_out_where_they_have_defaults(store):
    store.cohort("m", fold="series")
    assert store.cohort("m", fold={"kind": "series", "points": 1000}).settings["fold"]["points"] == 1000
    with pytest.raises(tallyfold.Conflict):
        store.cohort("m", fold={"kind": "series", "points": 5})


def test_what_is_not_there_is_not_found(store, tmp_path):
    with pytest.raises(tallyfold.NotFound) as missing:
        store.cohort("c")
    assert isinstance(missing.value, FileNotFoundError) and missing.value.errno == 2
    with pytest.raises(FileNotFoundError):
        tallyfold.Store(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()


def test_many_threads_that_make_one_cohort_all_get_it(store):
    made, barrier = [], threading.Barrier(8)

    def make(i):
        barrier.wait()
        made.append(store.cohort("c", fold="log").append(i))

    threads = [threading.Thread(target=make, args=(i,)) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(made) == list(range(1, 9))


def test_append_get_state_items_view(store):
    c = store.cohort("c", fold="latest")
    assert [c.append({"n": i}, f"run-{i}") for i in range(3)] == [1, 2, 3]
    assert store.cohort("d", fold="log").append(1, None, True) == 1
    assert c.append_batch({"run-1": 10, "other": None}, durable=True) == 5
    assert c.append_batch([("run-2", [1]), ("run-2", [2])]) == 7
    view = c.view()
    c.delete("run-0")
    assert c.state() == {"other": None, "run-1": 10, "run-2": [2]}
    assert list(c.items("run-")) == [("run-1", 10), ("run-2", [2])]
    assert list(c.items("z")) == [] and list(c.state()) == sorted(c.state())
    assert (c.get("run-0"), c.get("run-0", default=5), c.get("other", default=5)) == (None, 5, None)
    # The view is as it was.
    assert view.seq == 7 and view.get("run-0") == {"n": 0} and "run-0" in view and "zz" not in view
    assert (view.seq_of("run-2"), view.seq_of("zz")) == (7, 0)
    with pytest.raises(tallyfold.Invalid, match="empty"):
        c.append_batch({})


def test_items_go_on_over_many_entries(store):
    c = store.cohort("c", fold="latest")
    c.append_batch({f"{i:05}": i for i in range(2000)})
    c.compact()
    c.append_batch({f"{i:05}x": i for i in range(0, 2000, 3)})
    assert list(c.items()) == sorted(c.state().items()) and len(c.state()) == 2667
    assert list(c.items("019")) == [(key, value) for key, value in c.state().items() if key.startswith("019")]


def test_an_append_that_expects_something_else_is_a_conflict_and_writes_nothing(store):
    c = store.cohort("c", fold="latest")
    assert c.append(1, "k", expected_seq=0) == 1
    assert c.append(2, "k", expected_key_seq=1) == 2
    for expected in ({"expected_seq": 1}, {"expected_key_seq": 1}):
        with pytest.raises(tallyfold.Conflict) as conflict:
            c.append(3, "k", **expected)
        assert conflict.value.seq == 2
    with pytest.raises(ValueError, match="not both"):
        c.append(3, "k", expected_seq=2, expected_key_seq=2)
    assert (c.get("k"), c.last_seq) == (2, 2)


def test_updates_by_many_threads_lose_nothing(store):
    c = store.cohort("c", fold="latest")

    def count():
        for _ in range(50):
            c.update("n", lambda old: (old or 0) + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert c.get("n") == 200


def test_an_update_whose_function_raises_or_returns_none_writes_nothing(store):
    c = store.cohort("c", fold="latest")
    assert c.update("k", lambda old: None) is None
    with pytest.raises(ZeroDivisionError):
        c.update("k", lambda old: 1 / 0)
    with pytest.raises(TypeError, match=r"value\['a'\]"):
        c.update("k", lambda old: {"a": object()})
    assert c.last_seq == 0
    assert c.update("k", lambda old: 1j, default=str) == 1


def test_records_are_read_in_order_and_know_what_they_are(store):
    c = store.cohort("c", fold="log")
    c.append({"loss": float("inf")}, "k")
    c.delete("k")
    c.append_raw(b"\x00\xff")
    put, delete, raw = c.log()
    assert (put.seq, put.key, put.kind, put.value) == (1, "k", "put", {"loss": float("inf")})
    assert (delete.seq, delete.kind, delete.value) == (2, "delete", None)
    assert (raw.kind, raw.value) == ("raw", b"\x00\xff")
    assert 1.6e9 < put.time <= raw.time
    assert [record.seq for record in c.log(3)] == [3]
    with pytest.raises(tallyfold.Invalid, match="raw"):
        store.cohort("d", fold="latest").append_raw(b"")


def test_records_that_are_folded_away_are_told(store):
    c = store.cohort("c", fold="latest")
    for round in range(3):
        c.append(round, "k")
        c.compact()
    with pytest.raises(tallyfold.Compacted) as gone:
        c.log(1)
    assert gone.value.seq > 1 and [record.seq for record in c.log(gone.value.seq)][-1] == 3


def test_a_follower_sees_what_comes_and_gives_up_after_its_timeout(store):
    c = store.cohort("c", fold="log")
    follower = c.log(follow=True, timeout=0.2)
    writer = threading.Timer(0.05, lambda: [c.append(i) for i in range(3)])
    writer.start()
    assert [record.value for record in follower] == [0, 1, 2]
    writer.join()
    assert follower.next_seq == 4


def test_ctrl_c_ends_a_follower(store, tmp_path):
    store.cohort("c", fold="log").append(1)
    program = (
        "import sys, tallyfold\n"
        f"for record in tallyfold.Store({str(tmp_path / 'store')!r}).cohort('c').log(follow=True):\n"
        "    print(record.seq, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "1\n"
        child.send_signal(2)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
    assert "KeyboardInterrupt" in said


def test_compact_verify_stats(store):
    c = store.cohort("c", fold="latest")
    c.append(1, "k")
    assert c.compact() == {"done": "folded", "seq": 1, "records": 1, "entries": 1, "bytes": c.stats()["snapshot_bytes"]}
    assert c.compact()["done"] == "nothing"
    report = c.verify()
    assert report["damaged"] is False and report["entries"] == 1
    with open(os.path.join(c.path, "snapshot.json")) as file:
        assert json.load(file)["state"] == {"k": {"seq": 1, "value": 1}}


@pytest.mark.parametrize("lock", ["memory", "file"])
def test_what_is_done_is_counted(store, lock):
    if lock == "memory" and store.cohort("probe", fold="log").stats()["lock"] != "memory":
        pytest.skip("no memory is shared on this file system")
    c = store.cohort("c", fold="latest", lock=lock)
    assert c.counters() is None
    for i in range(3):
        c.append(i, "k")
    c.append_batch([("a", 1), ("b", 2)])
    counters = c.counters()
    assert (counters["records"], counters["batches"]) == (5, 4)
    assert counters["scope"] == {"memory": "cohort", "file": "handle"}[lock]


def test_damage_is_corruption_and_verify_says_where(store):
    c = store.cohort("c", fold="log")
    for i in range(3):
        c.append({"n": i}, durable=True)
    c.detach()
    segment = os.path.join(c.path, "00000001.journal")
    with open(segment, "r+b") as file:
        file.seek(1024 + 45)
        byte = file.read(1)
        file.seek(1024 + 45)
        file.write(bytes([byte[0] ^ 1]))
    again = tallyfold.Store(store.path).cohort("c")
    with pytest.raises(tallyfold.Corruption) as damage:
        list(again.log())
    assert damage.value.path.endswith("00000001.journal") and damage.value.seq == 1
    finding = again.verify()["findings"][0]
    assert (finding["severity"], finding["segment"]) == ("damage", 1)


def test_a_lock_that_another_process_has_is_a_timeout_that_names_it(store, tmp_path):
    c = store.cohort("c", fold="log", lock="file")
    c.append(1)
    program = (
        "import fcntl, sys, time\n"
        f"file = open({os.path.join(c.path, 'lock')!r}, 'r+')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "locked\n"
        impatient = store.cohort("c", timeout=0.05)
        with pytest.raises(TimeoutError) as timeout:
            impatient.append(2)
        assert isinstance(timeout.value, tallyfold.LockTimeout) and isinstance(timeout.value, OSError)
        assert c.last_seq == 1
    finally:
        child.communicate("", timeout=60)
    assert impatient.append(2) == 2


def test_handles_can_be_pickled_and_are_opened_again(store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    c = tallyfold.Store("store").cohort("c", fold="latest", timeout=7)
    c.append(1, "k")
    text = pickle.dumps((c, store))
    monkeypatch.chdir("/")
    again, store_again = pickle.loads(text)
    assert again.get("k") == 1 and again.append(2, "k") == 2 and store_again.cohorts() == ["c"]
    assert "'c'" in repr(again) and "store" in repr(store_again)


def test_a_read_only_store_is_read_and_not_written(store):
    c = store.cohort("c", fold="latest")
    c.append(1, "k")
    c.detach()
    if os.geteuid() == 0:
        pytest.skip("root writes where it may not")
    for path in (store.path, c.path):
        os.chmod(path, 0o500)
    try:
        again = tallyfold.Store(store.path, create=False).cohort("c")
        assert again.get("k") == 1
    finally:
        for path in (store.path, c.path):
            os.chmod(path, 0o700)
