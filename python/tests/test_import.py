"""The command's import of the journal file that Optuna writes, and what our backend makes of it."""

import json
import math

import pytest

optuna = pytest.importorskip("optuna")

from optuna.storages import JournalStorage  # noqa: E402
from optuna.storages.journal import JournalFileBackend  # noqa: E402

import tallyfold  # noqa: E402
from tallyfold.optuna import JournalBackend  # noqa: E402


@pytest.fixture
def file(tmp_path):
    return tmp_path / "journal.log"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


def objective(trial):
    x = trial.suggest_float("x", -10, 10)
    n = trial.suggest_int("n", 1, 100, log=True)
    kind = trial.suggest_categorical("kind", ["a", "ä:%", None])
    for step in range(3):
        trial.report([x, math.inf, math.nan][step], step)
    trial.set_user_attr("seen", {"nested": [1, 2.5, None, "NaN", "~Infinity"], "big": 2**70})
    if trial.number % 4 == 3:
        raise optuna.TrialPruned
    return (x - 2) ** 2 + n + (kind is None)


def of(trials):
    """What a trial is, in a form that compares; numbers that are no numbers are equal here."""
    shown = []
    for trial in trials:
        values = {step: repr(value) for step, value in trial.intermediate_values.items()}
        shown.append((trial.number, trial.state, trial.values, trial.params, trial.distributions, trial.user_attrs, trial.system_attrs,
                      values, trial.datetime_start, trial.datetime_complete))
    return shown


def make(file, trials=9):
    """Two studies in one file, in turn, as two processes would have written them."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileBackend(str(file)))
    studies = [optuna.create_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler(seed)) for seed, name in
               enumerate(["first", "second"])]
    studies[0].set_user_attr("owner", "somebody")
    for _ in range(trials):
        for study in studies:
            study.optimize(objective, n_trials=1)
    studies[1].enqueue_trial({"x": 3.0})
    studies[1].ask()
    return studies


def open_study(path, name, cohort="study"):
    return optuna.load_study(study_name=name, storage=JournalStorage(JournalBackend(path, cohort)))


def test_an_imported_study_is_the_same_and_goes_on(file, path, command):
    studies = make(file)
    done = command("import", "optuna", file, "study", "--json", store=path)
    told = json.loads(done.stdout)
    assert told["taken"] == told["rows"] == len(file.read_bytes().splitlines())
    assert told["skipped"] == 0 and "torn" not in told and told["nonfinite"] > 0
    for study in studies:
        ours = open_study(path, study.study_name)
        assert of(ours.trials) == of(study.trials)
        assert ours.user_attrs == study.user_attrs and ours.directions == study.directions
        assert ours.best_trial.number == study.best_trial.number

    again = open_study(path, "first")
    again.optimize(objective, n_trials=3)
    assert [trial.number for trial in again.trials] == list(range(12))
    # Another process sees them, and the second study has not changed.
    assert of(open_study(path, "first").trials) == of(again.trials)
    assert of(open_study(path, "second").trials) == of(studies[1].trials)


def test_who_has_begun_to_use_a_study_may_import_what_came_later(file, path, command):
    studies = make(file, trials=2)
    command("import", "optuna", file, "study", store=path)
    studies[0].optimize(objective, n_trials=2)
    told = json.loads(command("import", "optuna", file, "study", "--json", store=path).stdout)
    assert told["there"] > 0 and told["taken"] == told["rows"] - told["there"] > 0
    assert of(open_study(path, "first").trials) == of(studies[0].trials)
    assert json.loads(command("import", "optuna", file, "study", "--json", store=path).stdout)["taken"] == 0
    # Once the study has gone on here, what it went on with there cannot be joined to it.
    open_study(path, "first").optimize(objective, n_trials=1)
    studies[0].optimize(objective, n_trials=1)
    refused = command("import", "optuna", file, "study", store=path, code=7)
    assert b"the study went on without this file" in refused.stderr


def test_a_line_that_a_crash_has_cut_off_is_told_and_left_out(file, path, command):
    studies = make(file, trials=2)
    before = of(studies[0].trials)
    with open(file, "ab") as torn:
        torn.write(b'{"op_code":4,"worker_id":"w","study_id":0,"datetime_st')
    lines = len(file.read_bytes().splitlines())
    done = command("import", "optuna", file, "study", store=path)
    assert f"line {lines}: left out: it has no end".encode() in done.stderr
    assert of(open_study(path, "first").trials) == before


def test_a_broken_line_is_told_with_its_number_and_mended_the_import_goes_on(file, path, command):
    studies = make(file, trials=2)
    lines = file.read_bytes().splitlines(keepends=True)
    whole = lines[9]
    file.write_bytes(b"".join(lines[:9] + [whole[:20] + b"\n"] + lines[10:]))
    done = command("import", "optuna", file, "study", store=path, code=1)
    assert b"line 10: not taken: it is no JSON" in done.stderr and b"line 10 is broken" in done.stderr
    assert b"9 of 10 rows taken" in done.stdout
    # Optuna says no more of it either.
    with pytest.raises(json.JSONDecodeError):
        JournalStorage(JournalFileBackend(str(file)))
    file.write_bytes(b"".join(lines))
    told = json.loads(command("import", "optuna", file, "study", "--json", store=path).stdout)
    assert (told["there"], told["taken"]) == (9, len(lines) - 9)
    assert of(open_study(path, "second").trials) == of(studies[1].trials)


def test_it_opens_no_cohort_that_our_backend_would_not_open(file, path, command):
    make(file, trials=1)
    store = tallyfold.Store(path)
    store.cohort("other", fold="latest")
    store.cohort("quick", fold="log")
    for cohort, words in [("other", b"fold latest"), ("quick", b"not durable")]:
        assert words in command("import", "optuna", file, cohort, store=path, code=1).stderr
    command("import", "optuna", file, "study", "--dry-run", store=path)
    assert store.cohorts() == ["other", "quick"]
