#!/usr/bin/env python3
"""Plants bugs in a copy of the repository, one at a time, and says which test caught each.

    make mutants            # all of them
    tests/mutants/run.py --only salt --only "ack before sync"

The copy and its build are in target/mutants. Nothing of this touches the sources. A bug that no test catches ends this with 1;
so does one that cannot be planted any more, because the code it stands in has changed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from planted import PLANTED

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "target" / "mutants" / "tree"
BUILD = ROOT / "target" / "mutants" / "build"
COPIED = ["Cargo.toml", "Cargo.lock", "src", "tests", "benches", "docs", ".config", "rustfmt.toml", "clippy.toml", "README.md"]
# A test that does not end has caught the bug as well as one that fails.
TESTS = ["cargo", "nextest", "run", "--color", "never", "--max-fail", "1:immediate"]
LOOM = ["cargo", "run", "--release", "--quiet", "--package", "tallyfold-loom"]
PATIENCE = 900


def copy():
    for name in COPIED:
        source, target = ROOT / name, COPY / name
        if source.is_dir():
            # Only what differs, so that the build knows what it need not do again.
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-ru", f"{source}/.", target], check=True)
        elif source.exists():
            shutil.copy2(source, target)


def run(command):
    """The exit code and what was printed; the whole group of processes is ended when the time is over."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BUILD)}
    process = subprocess.Popen(
        command, cwd=COPY, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, out
    except subprocess.TimeoutExpired:
        subprocess.run(["kill", "-KILL", "--", f"-{process.pid}"], check=False)
        out, _ = process.communicate()
        return None, out


def caught(command, code, out):
    """Which test has failed; None if none has, or the copy could not be built."""
    if code == 0 or re.search(r"^error(\[E\d+\])?: ", out, re.M) and "test run failed" not in out and command is TESTS:
        return None
    if command is LOOM:
        failing = re.search(r"FAILS\s+(.*)", out)
        return failing and f"loom: {failing[1]}"
    failing = re.search(r"^\s*(?:FAIL|TIMEOUT|SIG\w+|ABORT|LEAK-FAIL) \[[^\]]*\] (?:\([^)]*\) )?(.*)", out, re.M)
    if failing:
        return failing[1].strip()
    return "a test that did not end" if code is None else None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", help="only the bug of this name")
    arguments.add_argument("--list", action="store_true", help="name them and end")
    options = arguments.parse_args()
    planted = [bug for bug in PLANTED if not options.only or bug.name in options.only]
    if options.list:
        for bug in planted:
            print(bug.name)
        return 0
    COPY.mkdir(parents=True, exist_ok=True)
    copy()
    for command in [TESTS, LOOM] if any(bug.loom for bug in planted) else [TESTS]:
        code, out = run(command)
        if code != 0:
            print(out[-4000:])
            print("the tests fail without any bug planted")
            return 1
    missed = 0
    print(f"| planted bug | caught by | |\n|---|---|--:|")
    for bug in planted:
        path = COPY / bug.file
        whole = path.read_text()
        places = [(bug.old, bug.new), *bug.also]
        if any(whole.count(old) != 1 for old, _ in places):
            print(f"| {bug.name} | **cannot be planted**: the code has changed | |", flush=True)
            missed += 1
            continue
        begun = time.monotonic()
        try:
            with_bug = whole
            for old, new in places:
                with_bug = with_bug.replace(old, new)
            path.write_text(with_bug)
            command = LOOM if bug.loom else TESTS
            code, out = run(command)
        finally:
            path.write_text(whole)
        test = caught(command, code, out)
        if test is None:
            missed += 1
            (BUILD / "missed.log").write_text(out)
        print(f"| {bug.name} | {test or '**nothing**'} | {time.monotonic() - begun:.0f} s |", flush=True)
    print(f"\n{len(planted) - missed} of {len(planted)} planted bugs were caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
