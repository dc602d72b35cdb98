#!/usr/bin/env python3
"""Abuses a server in every way of rows.py, and says what that cost and whether others noticed.

Usage: main.py [--short] [--row NUMBER]… PROGRAM STORE [VARIABLE=VALUE]…

The short form checks answers and memory. It checks no times, because it is for machines of any speed.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from rows import ROWS, Sizes, unread_log
from server import RELEASE_SECONDS, Bystander, Server

PEAK_MAX_MIB = 512
HEALTH_MAX_SECONDS = 1
PUSH_MAX_SECONDS = 2
STOP_MAX_SECONDS = 35

# A request that hangs for so long is broken on any machine.
SHORT_MAX_SECONDS = 60


def abuse(number: int, options: argparse.Namespace) -> bool:
    row = ROWS[number - 1]
    settings = dict(setting.split("=", 1) for setting in options.settings)
    # On SQLite each row has a file of its own; on the other stores it has a schema or a database of its own.
    for name in {"POSTGRES_SCHEMA", "MONGO_DB_NAME"} & settings.keys():
        settings[name] += f"_{number}"
    server = Server(options.program, {"LOG_FORMAT": "json"} | settings, reads_log=row is not unread_log)
    bystander = Bystander(server)
    cpu, began = server.cpu_seconds(), time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        try:
            problems = thread.submit(row, server, Sizes(options.short)).result()
        except Exception as problem:  # The server and the bystander still have to end.
            problems = [f"{type(problem).__name__}: {problem}"]
    ended = time.monotonic()
    seconds, cpu = ended - began, server.cpu_seconds() - cpu
    bystander.finish()
    peak = server.mib("VmHWM")
    if options.short:
        # Otherwise the server has to close them, which takes a minute.
        server.let_go()
    released = server.seconds_to_release(ended)
    # The allocator keeps memory that is free, so this is only shown.
    kept = server.mib("VmRSS")
    stopped = server.stop()
    # A slow machine may need longer than a request waits for room.
    seen = {problem for problem in bystander.problems if not (options.short and problem.endswith(": 503"))}
    problems += sorted(seen)
    health, push = bystander.longest["health"], bystander.longest["push"]
    health_max, push_max, stop_max = HEALTH_MAX_SECONDS, PUSH_MAX_SECONDS, STOP_MAX_SECONDS
    if options.short:
        health_max, push_max, stop_max = (SHORT_MAX_SECONDS,) * 3
    for is_kept, problem in [
        (peak <= PEAK_MAX_MIB, f"more than {PEAK_MAX_MIB} MiB"),
        (health <= health_max, f"/health took more than {health_max} s"),
        (push <= push_max, f"a push of somebody else took more than {push_max} s"),
        (released is not None, f"not all memory was free within {RELEASE_SECONDS} s, or a connection stayed open"),
        (stopped is not None and stopped <= stop_max, f"the server did not stop by itself within {stop_max} s"),
    ]:
        problems += [] if is_kept else [problem]
    print(f"{number:2}  {row.__doc__}")
    print(
        f"    {options.store}: sent {server.bytes_sent / 1e6:.1f} MB in {seconds:.0f} s, peak {peak} MiB,"
        f" CPU {cpu:.1f} s, /health {health:.2f} s, push {push:.2f} s,"
        f" released {'never' if released is None else f'in {released:.1f} s'}, then {kept} MiB,"
        f" stopped {'never' if stopped is None else f'in {stopped:.1f} s'}"
    )
    for problem in problems[:10]:
        print(f"    FAILED {problem}")
    sys.stdout.flush()
    return not problems


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--row", type=int, action="append", choices=range(1, len(ROWS) + 1))
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("store")
    parser.add_argument("settings", nargs="*")
    options = parser.parse_args()
    results = [abuse(number, options) for number in options.row or range(1, len(ROWS) + 1)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
