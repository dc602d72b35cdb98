# shellcheck shell=bash
# What every part of the tests' script uses; sourced with the repository as the working directory.

# What the script fetches and keeps for the next time.
tools=$PWD/target/tools

# One line that says what is wrong and how to mend it, and the end.
fail() {
  printf '%s: %s\n' "$0" "$*" >&2
  exit 1
}

say() {
  printf '\n== %s\n' "$*" >&2
}

outcomes=()
status=0
part=

# Runs one part of the tests and notes how it went; the next part runs in any case.
#
# The part gets a process group of its own, so that an interrupted script can end all of it at once, and so can the time
# that it may take.
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
  sleep "$((minutes * 60))" &
  nap=$!
  wait "$nap"
  printf '%s: "%s" took longer than %d minutes; killed\n' "$0" "$name" "$minutes" >&2
  kill -KILL -- "-$part"
}

# Functions that end what the script started.
on_exit=()

# What lives no longer than the script; tests that are killed leave their own directories here too.
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
