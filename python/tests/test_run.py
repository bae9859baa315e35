"""Runs: what is logged, by whom, and how a run begins, goes on and ends."""

import math
import multiprocessing
import subprocess
import sys

import pytest

import tallyfold
from tallyfold import run as runs


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in (*runs._RANK, *runs._WORLD_SIZE, *runs._RUN_ID, "TALLYFOLD_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(runs, "_current", None)


def points(run):
    return [record.value for record in run.history()]


def test_a_run_logs_points_and_comes_to_a_summary(store):
    with tallyfold.init(store, run_id="r", tags=["a"], config={"lr": 0.1, "dropout": None}) as run:
        assert run.log({"loss": 0.5, "acc": math.nan}, step=10) == 1
        # A step that goes back, and one that comes again: both are data.
        run.log({"loss": 0.4}, step=3)
        run.log({"loss": 0.3}, step=3, durable=True)
        run.log({"note": "no step"})
        run.summary["best"] = 0.25
        assert dict(run.summary)["loss"] == 0.3 and run.config == {"lr": 0.1, "dropout": None}
        assert run.runs.get("r")["status"] == "running"
    assert math.isnan(points(run)[0].pop("acc"))
    assert points(run)[1:] == [{"loss": 0.4, "step": 3}, {"loss": 0.3, "step": 3}, {"note": "no step"}]
    about = store.cohort("metrics.runs").get("r")
    assert math.isnan(about["summary"].pop("acc"))
    assert about["summary"] == {"loss": 0.3, "note": "no step", "best": 0.25}
    assert (about["status"], about["tags"], about["world_size"]) == ("finished", ["a"], 1)
    assert about["ranks"]["0"]["status"] == "finished" and about["started"] < about["finished"]


def test_a_run_that_raises_has_failed(store):
    with pytest.raises(ZeroDivisionError):
        with tallyfold.init(store, run_id="r"):
            1 / 0
    assert store.cohort("metrics.runs").get("r")["status"] == "failed"


def test_resume_says_whether_a_run_may_or_must_be_there(store):
    with pytest.raises(tallyfold.NotFound, match="no run 'r'"):
        tallyfold.init(store, run_id="r", resume="must")
    with tallyfold.init(store, run_id="r", resume="never", config={"lr": 1}) as run:
        run.log({"loss": 2.0})
    with pytest.raises(tallyfold.Conflict, match="a run 'r' already"):
        tallyfold.init(store, run_id="r", resume="never")
    for resume in ("must", "allow"):
        with tallyfold.init(store, run_id="r", resume=resume) as run:
            assert run.summary["loss"] == 2.0 and run.config == {"lr": 1}
            run.log({"acc": 0.5})
    about = store.cohort("metrics.runs").get("r")
    assert about["summary"] == {"loss": 2.0, "acc": 0.5} and len(points(run)) == 3
    with pytest.raises(ValueError, match="resume is"):
        tallyfold.init(store, resume="perhaps")


def test_runs_without_an_id_get_one_each(store):
    ids = {tallyfold.init(store).id for _ in range(20)}
    assert len(ids) == 20 and set(store.cohort("metrics.runs").state()) == ids


def test_rank_and_world_size_come_from_the_environment(store, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="give run_id="):
        tallyfold.init(store)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "elastic")
    run = tallyfold.init(store)
    assert (run.id, run.rank, run.world_size) == ("elastic", 2, 4)
    run.log({"loss": 1.0})
    assert points(run) == [{"loss": 1.0, "rank": 2}]
    with pytest.raises(ValueError, match="'rank' of its own"):
        run.log({"rank": 0})
    with pytest.raises(ValueError, match="'step' of its own"):
        run.log({"step": 1}, step=2)
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(ValueError, match="the rank is 4"):
        tallyfold.init(store)
    monkeypatch.setenv("RANK", "two")
    with pytest.raises(ValueError, match="RANK is 'two'"):
        tallyfold.init(store)


def rank_of_many(path, rank):
    with tallyfold.init(path, run_id="shared", rank=rank, world_size=4, config={"lr": 0.1} if rank == 0 else None) as run:
        for step in range(25):
            run.log({"loss": rank + step}, step=step)


def test_all_ranks_log_to_one_run(store):
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=rank_of_many, args=(str(store.path), rank)) for rank in range(4)]
    [rank.start() for rank in ranks]
    [rank.join(60) for rank in ranks]
    about = store.cohort("metrics.runs").get("shared")
    assert [rank.exitcode for rank in ranks] == [0] * 4
    assert {rank["status"] for rank in about["ranks"].values()} == {"finished"} and len(about["ranks"]) == 4
    assert (about["status"], about["config"], about["summary"]["loss"] >= 24) == ("finished", {"lr": 0.1}, True)
    seen = [record.value for record in store.cohort("metrics").log()]
    for rank in range(4):
        assert [it["step"] for it in seen if it["rank"] == rank] == list(range(25))


def test_the_module_logs_to_the_run_begun_last(store, monkeypatch):
    with pytest.raises(RuntimeError, match="tallyfold.init"):
        tallyfold.log({"loss": 1})
    monkeypatch.setenv("TALLYFOLD_STORE", str(store.path))
    run = tallyfold.init(cohort="m")
    tallyfold.log({"loss": 1}, step=5)
    tallyfold.finish()
    assert points(run) == [{"loss": 1, "step": 5}]
    assert store.cohort("m.runs").get(run.id)["status"] == "finished"


def test_a_process_that_ends_without_saying_so_leaves_its_summary(store):
    program = f"import tallyfold; tallyfold.init({str(store.path)!r}, run_id='r'); tallyfold.log({{'loss': 0.5}})"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    about = store.cohort("metrics.runs").get("r")
    assert (about["status"], about["summary"]) == ("ended", {"loss": 0.5})
