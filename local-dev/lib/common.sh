# shellcheck shell=bash
# What every part of the tests' script uses; sourced with the repository as the working directory.

# The files that the script fetches and keeps for the next time, and the caches of the programs that fetch them.
tools=$PWD/target/tools
export XDG_CACHE_HOME=$tools/cache PIP_CACHE_DIR=$tools/cache/pip ZIG_GLOBAL_CACHE_DIR=$tools/cache/zig

# One line that says what is wrong and how to mend it, and the end.
fail() {
  printf '%s: %s\n' "$0" "$*" >&2
  exit 1
}

# Whether a directory was made whole, of these versions and for this place: a Python environment cannot be moved, nor
# outlive its Python.
#
# Usage: is_made DIRECTORY VERSION…
is_made() {
  [[ -e $1/made && $(<"$1/made") == "$(stamp "$@")" ]]
}

# Says so, when all of it is there.
mark_made() {
  stamp "$@" >"$1/made"
}

stamp() {
  realpath "$1"
  printf '%s\n' "${@:2}"
  python3 -c 'import sys; print(sys.version, sys.executable)'
}

# Runs a command that fetches something, for ten minutes at most.
fetch() {
  # In the foreground it stays in the group of its part, which can be ended as a whole.
  timeout --foreground --kill-after=10s 10m "$@"
}

# Prints a port that is free, outside the range that the system gives to others.
free_port() {
  python3 - <<'PYTHON'
import random, socket

while True:
    port = random.randrange(10_000, 32_000)
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
    except OSError:
        continue
    print(port)
    break
PYTHON
}

say() {
  printf '\n== %s\n' "$*" >&2
}

outcomes=()
status=0
part=

# Runs one part of the tests and notes how it went. The next part always runs.
#
# The part gets a process group of its own. So all of it can be ended at once, by an interrupt or when its time is over.
#
# Usage: run MINUTES NAME COMMAND [ARGUMENT…]
run() {
  local minutes=$1 name=$2
  shift 2
  say "$name"
  local began=$SECONDS outcome=passed
  set -m
  ("$@") </dev/null &
  part=$!
  set +m
  end_late_part "$part" "$minutes" "$name" &
  local watchdog=$!
  wait "$part" || outcome=FAILED status=1
  kill "$watchdog" 2>/dev/null || true
  wait "$watchdog" 2>/dev/null || true
  part=
  outcomes+=("$outcome  $name ($((SECONDS - began)) s)")
}

# Kills a part that takes longer than it may.
end_late_part() {
  local part=$1 minutes=$2 name=$3 nap=
  trap 'kill "$nap" 2>/dev/null; exit' TERM
  # It may outlive this script by a moment, and must not keep the script's output open then.
  sleep "$((minutes * 60))" >/dev/null 2>&1 &
  nap=$!
  wait "$nap"
  printf '%s: "%s" took longer than %d minutes; killed\n' "$0" "$name" "$minutes" >&2
  kill -KILL -- "-$part"
}

# Functions that end what the script started.
on_exit=()

# Files that live no longer than the script. Tests that are killed leave their own directories here too.
scratch=$(mktemp -d -t syncflow-test.XXXXXX)
chmod 711 "$scratch"
export TMPDIR=$scratch

clean_up() {
  [[ -z $part ]] || kill -KILL -- "-$part" || true
  local stop
  for stop in "${on_exit[@]}"; do
    "$stop"
  done
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
