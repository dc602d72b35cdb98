# A step of the checks, for the scripts beside this file.

# Usage: step MINUTES NAME COMMAND [ARGUMENT…]; the command is ended when its time is over.
step() {
  local minutes=$1 name=$2 began=$SECONDS
  shift 2
  printf '\n== %s\n' "$name"
  timeout --kill-after=10s "${minutes}m" "$@" || {
    printf '\n== %s: failed after %d s\n' "$name" $((SECONDS - began))
    exit 1
  }
  printf '== %s: %d s\n' "$name" $((SECONDS - began))
}
