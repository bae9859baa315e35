"""Runs a command in a terminal of its own, presses keys, and tells what became of the terminal.

The arguments are the command; standard input is a plan, as JSON: {"rows", "columns", "steps"}. A step waits for a word on the
screen ({"wait": "fine"}), presses keys ({"keys": "q"}), changes the size ({"size": [24, 80]}), renames a file
({"move": ["a", "b"]}), or sends a signal to the process ({"signal": 2}). Standard output is {"code", "output", "restored", "missing"}: what it ended with, all that it wrote, whether the
terminal's modes are those from before, and the word that never came.
"""

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 60


def size(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def own(terminal):
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def read(master, output, seconds):
    """Whether there may be more."""
    ready, _, _ = select.select([master], [], [], seconds)
    if not ready:
        return True
    try:
        some = os.read(master, 1 << 16)
    except OSError:
        return False
    output.extend(some)
    return bool(some)


def main():
    plan = json.load(sys.stdin)
    master, slave = pty.openpty()
    size(slave, plan["rows"], plan["columns"])
    before = termios.tcgetattr(slave)
    child = subprocess.Popen(sys.argv[1:], stdin=slave, stdout=slave, stderr=slave, preexec_fn=lambda: own(slave))
    output = bytearray()
    missing = None
    since = 0
    for step in plan["steps"]:
        if "wait" in step:
            word = step["wait"].encode()
            deadline = time.monotonic() + PATIENCE
            while word not in output[since:] and child.poll() is None and time.monotonic() < deadline:
                read(master, output, 0.05)
            if word not in output[since:]:
                missing = step["wait"]
                break
        # What is waited for next has to come after this.
        since = len(output)
        if "size" in step:
            size(slave, *step["size"])
        if "move" in step:
            os.rename(*step["move"])
        if "keys" in step:
            os.write(master, step["keys"].encode())
        if "signal" in step:
            child.send_signal(step["signal"])
    deadline = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < deadline:
        read(master, output, 0.05)
    if child.poll() is None:
        child.kill()
    code = child.wait()
    while select.select([master], [], [], 0.05)[0] and read(master, output, 0.05):
        pass
    restored = termios.tcgetattr(slave) == before
    text = output.decode("utf-8", "replace")
    json.dump({"code": code, "output": text, "restored": restored, "missing": missing}, sys.stdout)


main()
