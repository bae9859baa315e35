"""Keys of parts, the entry before another, the past, other settings and folds."""

import json
import math
import threading

import pytest

import tallyfold


def test_parts_become_keys_and_keys_parts_again():
    assert tallyfold.key("run-1", "TRAINING") == "run-1:TRAINING"
    for parts in (["a:b", "100%"], ["", ""], ["%3A", "ü"], [""]):
        assert tallyfold.key_parts(tallyfold.key(*parts)) == parts
    assert len({tallyfold.key("a:b"), tallyfold.key("a", "b"), tallyfold.key("a%3Ab")}) == 3
    with pytest.raises(TypeError):
        tallyfold.key("run", 1)


def test_a_prefix_of_parts_finds_whole_parts_only(store):
    c = store.cohort("c", fold="latest")
    keys = ["run-1", "run-1!", "run-1:A", "run-1:B:C", "run-10", "run-10:A", "run-1;"]
    c.append_batch({key: key.upper() for key in keys})
    assert [key for key, _ in c.prefix("run-1")] == ["run-1", "run-1:A", "run-1:B:C"]
    assert list(c.view().prefix("run-1", "B")) == [("run-1:B:C", "RUN-1:B:C")]
    assert [key for key, _ in c.prefix()] == sorted(keys) and list(c.prefix("run")) == []


def test_a_prefix_of_parts_goes_on_over_many_entries(store):
    c = store.cohort("c", fold="latest")
    c.append_batch({tallyfold.key(f"run-{run}", f"{step:04}"): step for run in range(3) for step in range(700)})
    c.compact()
    assert [value for _, value in c.prefix("run-1")] == list(range(700))


def test_an_entry_has_its_seq_key_and_value(store):
    c = store.cohort("c", fold="latest")
    c.append(math.inf, "k")
    entry = c.entry("k")
    assert isinstance(entry, tallyfold.Entry) and entry == (1, "k", math.inf) == c.view().entry("k")
    assert (entry.seq, entry.key, entry.value) == tuple(entry) and c.entry("z") is None is c.view().entry("z")
    # What it is good for: an append that nobody has come before.
    assert c.append(2, "k", expected_key_seq=entry.seq) == 2


def indexed(store, fold="latest"):
    c = store.cohort("index", fold=fold)
    rows = [("run-7", "TRAINING", 0.5), ("run-3", "RANKING", 1), ("run-9", "TRAINING", math.nan), ("run-1", "TRAINING", 0.6)]
    for key, stage, auc in rows:
        c.append({"run_id": key, "stage": stage, "outputs": {"auc": auc}}, key)
    return c


@pytest.mark.parametrize("compacted", [False, True])
def test_the_previous_entry_is_the_newest_one_that_is_asked_for(store, compacted):
    c = indexed(store)
    if compacted:
        c.compact()
    training = {"stage": "TRAINING"}
    for of in (c, c.view()):
        found = of.previous(before_key="run-1", where=training)
        assert (found.seq, found.key, found.value["run_id"]) == (3, "run-9", "run-9")
        assert math.isnan(found.value["outputs"]["auc"])
        assert of.previous(before=3, where=training).key == "run-7"
        assert of.previous().seq == 4
        assert of.previous(where=training, not_={"run_id": "run-1"}).key == "run-9"
        assert of.previous(where={"outputs.auc": 1.0}).key == "run-3"
        assert of.previous(where={"outputs.auc": math.nan}).key == "run-9"
        assert of.previous(where={"stage": "RANKING", "outputs.auc": 0.5}) is None
        assert of.previous(before=1) is None


def test_the_previous_entry_knows_what_it_cannot_look_for(store):
    c = indexed(store)
    with pytest.raises(tallyfold.NotFound, match="run-2"):
        c.previous(before_key="run-2")
    with pytest.raises(ValueError, match="not both"):
        c.previous(before=1, before_key="run-1")
    with pytest.raises(tallyfold.Invalid, match="lists and objects"):
        c.previous(where={"outputs": {}})
    with pytest.raises(TypeError, match="has no JSON value"):
        c.previous(not_={"stage": object()})
    with pytest.raises(TypeError):
        c.previous(where=[("stage", "TRAINING")])


def test_of_a_log_the_previous_record_is_found(store):
    c = indexed(store, fold="log")
    c.append({"stage": "TRAINING", "again": True}, "run-9")
    found = c.previous(before_key="run-9", where={"stage": "TRAINING"})
    assert (found.seq, found.key) == (4, "run-1")
    assert c.previous(where={"again": True}).seq == 5


def test_history_is_that_of_a_key_between_two_seqs(store):
    c = store.cohort("c", fold="log")
    for i in range(1, 11):
        c.append(i, "even" if i % 2 == 0 else "odd")
    assert [record.value for record in c.history("even")] == [2, 4, 6, 8, 10]
    assert [(record.seq, record.key) for record in c.history("odd", 4, 7)] == [(5, "odd"), (7, "odd")]
    assert [record.seq for record in c.history(from_seq=9)] == [9, 10]
    assert [record.seq for record in c.history(to_seq=2)] == [1, 2]
    assert list(c.history("none")) == [] == list(c.history(from_seq=5, to_seq=4))


def test_history_begins_with_what_is_still_there_unless_a_seq_is_asked_for(store):
    c = store.cohort("c", fold="latest")
    for i in range(1, 6):
        c.append(i, "k")
        c.compact()
    there = [record.seq for record in c.history("k")]
    assert there == list(range(there[0], 6)) and there[0] > 1
    with pytest.raises(tallyfold.Compacted) as gone:
        c.history("k", from_seq=1)
    assert gone.value.seq == there[0]


def test_threads_may_share_a_history_and_each_record_is_handed_out_once(store):
    c = store.cohort("c", fold="log")
    c.append_batch([("k", i) for i in range(500)])
    history, seen = c.history("k"), []
    threads = [threading.Thread(target=lambda: [seen.append(record.seq) for record in history]) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(seen) == list(range(1, 501))


def test_settings_are_altered_and_the_fold_is_not(store):
    c = store.cohort("c", fold="latest")
    altered = c.alter(retain={"records": 7}, durable=True)
    assert altered["retain"] == {"records": 7} and altered["durable"] is True and altered["fold"] == {"kind": "latest"}
    # A handle has those that were there when it was opened.
    assert c.settings["durable"] is False and store.cohort("c").settings == altered
    assert c.alter(durable=None)["durable"] is False
    for wrong, told in (({"fold": {"kind": "log"}}, "fold"), ({"colour": 1}, "colour"), ({"segment_bytes": 1}, "segment_bytes")):
        with pytest.raises(tallyfold.Invalid, match=told):
            c.alter(**wrong)
    assert store.cohort("c").settings["retain"] == {"records": 7}


def test_a_refolded_cohort_has_the_same_records_and_the_state_of_its_fold(store):
    log = store.cohort("events", fold="log")
    log.append_batch([("a", {"n": 1}), ("b", {"n": 2}), ("a", {"n": 3})])
    total = store.refold("events", "total", fold="sum", durable=True)
    assert total.state() == {"a": {"n": 4}, "b": {"n": 2}} and total.last_seq == 3 and total.settings["durable"] is True
    assert [(r.seq, r.key, r.value, r.time) for r in total.history()] == [(r.seq, r.key, r.value, r.time) for r in log.log()]
    assert store.refold("events", "best", fold={"kind": "latest"}).get("a") == {"n": 3}
    with pytest.raises(tallyfold.Conflict, match="total"):
        store.refold("events", "total", fold="latest")
    log.append("text", "a")
    with pytest.raises(tallyfold.Invalid) as refused:
        store.refold("events", "other", fold="sum")
    assert refused.value.seq == 4 and store.cohorts() == ["best", "events", "total"]


def test_a_mirror_shows_the_state_as_plain_json(store, tmp_path):
    c = store.cohort("c", fold="latest", mirror=str(tmp_path / "state.json"))
    c.append_batch({"a": 1, "b": [2]})
    assert c.mirror() == {"path": tmp_path / "state.json", "seq": 2, "entries": 2}
    assert json.loads((tmp_path / "state.json").read_text()) == {"a": 1, "b": [2]}
    assert c.mirror(tmp_path / "b.json", key="b")["seq"] == 2
    assert json.loads((tmp_path / "b.json").read_text()) == [2]
    with pytest.raises(tallyfold.Invalid, match="mirror"):
        store.cohort("d", fold="latest").mirror()
    with pytest.raises(ValueError, match="path"):
        c.mirror(key="b")


def test_a_batch_that_expects_another_last_seq_is_a_conflict_and_writes_nothing(store):
    c = store.cohort("c", fold="log")
    assert c.append_batch([("k", 1), ("k", 2)], expected_seq=0) == 2
    with pytest.raises(tallyfold.Conflict) as conflict:
        c.append_batch([("k", 3)], expected_seq=0, durable=True)
    assert conflict.value.seq == 2 == c.last_seq
    assert c.append_batch([("k", 3)], expected_seq=2, durable=True) == 3


def test_a_handle_with_another_patience_is_the_same_cohort(store):
    c = store.cohort("c", fold="latest")
    patient = c.with_timeout(60)
    assert isinstance(patient, tallyfold.Cohort) and patient.append(1, "k") == 1 and c.get("k") == 1
    with pytest.raises(ValueError, match="0 or more"):
        c.with_timeout(-1)
