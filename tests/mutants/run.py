#!/usr/bin/env python3
"""Plants bugs in a copy of the repository, and says which test catches each.

    make mutants                                  # all of them, and the table in docs/reliability.md anew
    tests/mutants/run.py --only salt --only seq   # those whose names contain a word; --write: and their rows
    tests/mutants/run.py --check                  # whether each can still be planted; builds nothing

The copy and its build are in target/mutants. Nothing of this touches the sources. Many bugs are planted at once, each behind a
switch, so that few builds are needed; then one after the other is switched on. With all of them off the tests must pass. Each is
tried with the tests that should catch it, and if they do not, with all of them. A bug that no test catches ends this with 1; so
does one that cannot be planted any more, because the code it stands in has changed.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import compaction
import journal
import processes
import syncs
from bug import switched

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "target" / "mutants" / "tree"
BUILD = ROOT / "target" / "mutants" / "build"
DOCUMENT = ROOT / "docs" / "reliability.md"
COPIED = ["Cargo.toml", "Cargo.lock", "src", "tests", "benches", "fuzz", "python", "docs", "examples", ".config", "README.md"]
GROUPS = [
    ("a sync is left out", syncs.LEFT_OUT),
    ("too early", syncs.TOO_EARLY),
    ("a failed sync is believed", syncs.BELIEVED),
    ("frames and segments", journal.FRAMES),
    ("where the journal ends", journal.ENDS),
    ("snapshots and folds", compaction.SNAPSHOTS),
    ("retired, or written in spite of a condition", compaction.RETIRED),
    ("locks and forks", processes.LOCKS),
    ("orders of steps", processes.ORDERS),
]
EVERYTHING = [bug for _, bugs in GROUPS for bug in bugs] + syncs.REDUNDANT
# Built once for many bugs; then nobody need ask cargo again whether anything has changed.
BUILT = ["cargo", "nextest", "list", "--list-type", "binaries-only", "--message-format", "json", "--build-jobs", "2"]
METADATA = ["cargo", "metadata", "--format-version", "1", "--offline", "--filter-platform"]
TESTS = ["cargo", "nextest", "run", "--color", "never", "--test-threads", "2"]
FIRST_FAILURE = ["--max-fail", "1:immediate"]
LOOM = ["cargo", "run", "--release", "--quiet", "--package", "tallyfold-loom", "--"]
# Built once and run briefly: what matters is that the build is quick.
QUICK = {"CARGO_PROFILE_TEST_OPT_LEVEL": "0", "CARGO_PROFILE_TEST_DEBUG": "0", "CARGO_TARGET_DIR": str(BUILD)}
# Where the switch is made: `crate` in the library, and in the program that `make loom` runs, which has some of its files.
ROOTS = ["src/lib.rs", "tests/loom/src/main.rs"]
SWITCH = """
/// Whether this one of the planted bugs is on.
pub(crate) fn planted(number: u32) -> bool {
    static ON: std::sync::LazyLock<Option<u32>> =
        std::sync::LazyLock::new(|| std::env::var("TALLYFOLD_PLANTED").ok()?.parse().ok());
    *ON == Some(number)
}
"""
HEADINGS = ("planted bug", "left out", "---")
# What `cargo nextest run` ends with.
PASSED, NO_TESTS, FAILED = 0, 4, 100
# For one command, in seconds.
PATIENCE = 590


class Wrong(Exception):
    """Nothing can be said of the bug."""


def find(bug):
    """Where a bug is planted in the sources: (file, from, to, old, new)."""
    found = []
    for name, text, begin, old, new in bug.places():
        source = (ROOT / name).read_text()
        times = source.count(text)
        if times != 1:
            raise Wrong(f"{name} has this {times} times, not once:\n{text}")
        at = source.index(text) + begin
        found.append((name, at, at + len(old), old, new))
    return found


def in_rounds(bugs):
    """As few builds as can be: bugs that change the same place exclude each other."""
    rounds = []
    for bug in bugs:
        places = find(bug)
        for planted in rounds:
            others = [place for other in planted for place in find(other)]
            if not any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for a in places for b in others):
                planted.append(bug)
                break
        else:
            rounds.append([bug])
    return rounds


def contents(bugs):
    """What the files of the copy hold with these bugs planted, and all of them off."""
    held = {}
    for name in COPIED:
        source = ROOT / name
        for path in [source, *source.rglob("*")] if source.is_dir() else [source]:
            if path.is_file() and "__pycache__" not in path.parts:
                held[str(path.relative_to(ROOT))] = path.read_bytes()
    places = [(*place, EVERYTHING.index(bug)) for bug in bugs for place in find(bug)]
    # From the end of each file on, so that what is before keeps its place.
    for name, begin, end, old, new, number in sorted(places, key=lambda place: place[1], reverse=True):
        text = held[name].decode()
        held[name] = (text[:begin] + switched(old, new, number) + text[end:]).encode()
    for name in ROOTS:
        # What is switched has parentheses too many.
        held[name] = b"#![allow(warnings)]\n" + held[name] + SWITCH.encode()
    return held


def plant(bugs):
    """Only what differs is written, so that the build knows what it need not do again."""
    held = contents(bugs)
    for path in [path for path in COPY.rglob("*") if path.is_file()]:
        if str(path.relative_to(COPY)) not in held:
            path.unlink()
    for name, content in held.items():
        path = COPY / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def run(command, environment, stderr=subprocess.STDOUT):
    """What was printed, and the exit code; the whole group of processes is ended when the time is over."""
    process = subprocess.Popen(
        command, cwd=COPY, env={**os.environ, **QUICK, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=stderr, text=True, start_new_session=True,
    )
    try:
        return process.communicate(timeout=PATIENCE)[0], process.returncode
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise


def build():
    """Builds the tests, and returns how they are run without asking for a build again."""
    # Without what other systems would need, which may never have been downloaded.
    host = re.search(r"(?m)^host: (.*)$", run(["rustc", "-vV"], {})[0])[1]
    told = []
    for option, command in [("--binaries-metadata", BUILT), ("--cargo-metadata", [*METADATA, host])]:
        out, code = run(command, {}, stderr=None)
        if code != 0:
            raise Wrong("the copy cannot be built")
        path = BUILD / (option.strip("-") + ".json")
        path.write_text(out)
        told += [option, str(path)]
    return TESTS + told


def nextest(tests, filters, environment):
    """The test that has failed; None if none has."""
    out, code = run(tests + FIRST_FAILURE + filters, environment)
    if code == PASSED:
        return None
    if code == NO_TESTS:
        raise Wrong(f"no test is meant by {filters}")
    if code != FAILED:
        raise Wrong(f"the tests could not be run:\n{out[-2000:]}")
    told = re.findall(r"^\s*(FAIL|TIMEOUT|SIG\w+|ABORT) \[[^\]]*\] (?:\([^)]*\) )?(\S+) (\S+)", out, re.M)
    for what, where, test in told:
        where = where.removeprefix("tallyfold").removeprefix("::")
        name = f"`tests/{where}.rs`: `{test}`" if where else f"`{test}`"
        # A test that does not end is better than none, and is called what it is.
        return name if what != "TIMEOUT" else f"{name} (does not end)"
    raise Wrong(f"no test is named:\n{out[-2000:]}")


def loom(checks, environment):
    """The check that has failed; None if none has."""
    out, code = run(LOOM + checks, environment)
    if code == 0:
        return None
    failing = re.search(r"FAILS\s+(.*)", out)
    if failing is None:
        raise Wrong(f"`make loom` could not be run:\n{out[-2000:]}")
    return f"`make loom`: {failing[1]}"


def catch(bug, tests):
    """What catches the bug; None if nothing does."""
    on = {"TALLYFOLD_PLANTED": str(EVERYTHING.index(bug))}
    if bug.loom:
        return loom([bug.loom], on) or loom([], on)
    caught = nextest(tests, ["-E", bug.run], {**bug.environment, **on})
    # What is redundant by design is tried with the crash tests alone.
    return caught or (None if bug.why else nextest(tests, [], on))


def passes_with_all_off(bugs, tests):
    """Or a failure would say nothing."""
    by_environment = {}
    for bug in bugs:
        if not bug.loom:
            by_environment.setdefault(tuple(bug.environment.items()), set()).add(bug.run)
    failing = [
        nextest(tests, ["-E", " | ".join(sorted(filters))], dict(environment))
        for environment, filters in by_environment.items()
    ]
    failing += [loom([check], {}) for check in sorted({bug.loom for bug in bugs if bug.loom})]
    for what in filter(None, failing):
        print(f"with no bug on, this fails: {what}", file=sys.stderr)
    return not any(failing)


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def try_all(bugs):
    """A row for each bug, by its name; and how many were not what they should be."""
    rows, wrong = {}, 0
    # What takes longest comes last, with builds of its own.
    rounds = in_rounds([bug for bug in bugs if not bug.loom]) + in_rounds([bug for bug in bugs if bug.loom])
    for number, planted in enumerate(rounds, 1):
        plant(planted)
        tests = [] if planted[0].loom else build()
        if not passes_with_all_off(planted, tests):
            return rows, wrong + len(planted)
        for bug in planted:
            begun = time.monotonic()
            try:
                caught = catch(bug, tests)
                good = caught is None if bug.why else caught is not None
                what = caught or bug.why or "**nothing**"
                what = what if good or not bug.why else f"**not so**: {what}"
            except Wrong as e:
                good, what = False, "**could not be tried**"
                print(e, file=sys.stderr)
            wrong += not good
            rows[bug.name] = row(bug.name, what)
            took = f"build {number}, {time.monotonic() - begun:.0f} s"
            print("" if good else "WRONG", rows[bug.name], took, file=sys.stderr, flush=True)
    return rows, wrong


def told():
    """The rows in the document, by the names of their bugs."""
    inside = re.search(r"(?s)<!-- mutants -->(.*)<!-- /mutants -->", DOCUMENT.read_text())[1]
    rows = {name: line for line, name in re.findall(r"(?m)^(\| ([^*|]+) \|.*)$", inside)}
    return {name: line for name, line in rows.items() if name not in HEADINGS}


def check():
    """Whether every bug can be planted, and the document has all of them."""
    bad = []
    for bug in EVERYTHING:
        try:
            find(bug)
        except Wrong as e:
            bad.append(f"{bug.name!r} cannot be planted: {e}")
    names = [bug.name for bug in EVERYTHING]
    bad += [f"there are two bugs of the name {name!r}" for name in set(names) if names.count(name) > 1]
    bad += [f"docs/reliability.md has no {name!r}: run `make mutants`" for name in set(names) - set(told())]
    bad += [f"docs/reliability.md has {name!r}, which there is not" for name in set(told()) - set(names)]
    bad += [f"docs/reliability.md: {line}" for line in told().values() if "| **" in line]
    for what in bad:
        print(f"mutants: {what}")
    print(f"mutants: {len(EVERYTHING)} can be planted" if not bad else f"mutants: {len(bad)} faults")
    return 1 if bad else 0


def table(rows):
    bugs = sum(bug.name in rows for _, bugs in GROUPS for bug in bugs)
    lines = [f"{bugs} bugs:", "", row("planted bug", "caught by"), row("---", "---")]
    for group, bugs in GROUPS:
        of_group = [rows[bug.name] for bug in bugs if bug.name in rows]
        lines += [row(f"*{group}*", ""), *of_group] if of_group else []
    redundant = [rows[bug.name] for bug in syncs.REDUNDANT if bug.name in rows]
    if redundant:
        lines += ["", "Redundant by design: the crash tests pass without.", ""]
        lines += [row("left out", "why that costs nothing"), row("---", "---"), *redundant]
    return "\n".join(lines)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", metavar="WORD", help="only bugs whose names contain it")
    arguments.add_argument("--check", action="store_true", help="only see whether each bug can be planted")
    arguments.add_argument("--write", action="store_true", help="put the rows into docs/reliability.md")
    options = arguments.parse_args()
    if options.check:
        return check()
    chosen = [bug for bug in EVERYTHING if not options.only or any(word in bug.name for word in options.only)]
    begun = time.monotonic()
    try:
        rows, wrong = try_all(chosen)
    except Wrong as e:
        print(e, file=sys.stderr)
        return 1
    print(table(rows))
    print(f"{len(chosen)} tried in {(time.monotonic() - begun) / 60:.0f} minutes, {wrong or 'none'} wrong", file=sys.stderr)
    if options.write:
        # What was not tried now stays as it was told, unless there is no such bug any more.
        text = f"<!-- mutants -->\n{table({**told(), **rows})}\n<!-- /mutants -->"
        DOCUMENT.write_text(re.sub(r"(?s)<!-- mutants -->.*<!-- /mutants -->", lambda _: text, DOCUMENT.read_text()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
