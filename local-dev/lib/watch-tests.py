#!/usr/bin/env python3
"""Runs a test command and ends it if one test takes too long, naming the test.

Usage: watch-tests.py SECONDS COMMAND [ARGUMENT…]

Rust's test harness has no limit of its own, but it reports each test that has been running for 60 seconds.
If such a test is still running SECONDS later, the whole process group is killed, this program included.
So the caller gives it a group of its own.
"""

import os
import re
import signal
import subprocess
import sys
import threading

SLOW = re.compile(rb"^test (\S+) has been running for over \d+ seconds")
ENDED = re.compile(rb"^test (\S+)(?: - should panic)? \.\.\. ")


def give_up(name: str, seconds: float) -> None:
    print(f"\ntest {name} did not end within {60 + seconds:.0f} seconds; killed", file=sys.stderr, flush=True)
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    timers: dict[bytes, threading.Timer] = {}
    for line in process.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        if found := SLOW.match(line):
            name = found[1]
            timers[name] = threading.Timer(seconds, give_up, (name.decode(), seconds))
            timers[name].daemon = True
            timers[name].start()
        elif (found := ENDED.match(line)) and found[1] in timers:
            timers.pop(found[1]).cancel()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
