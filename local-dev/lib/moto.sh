# shellcheck shell=bash
# Secrets Manager and Systems Manager for the tests, as moto plays them.
#
# What the tests are given:
# TEST_AWS_URL  the endpoint; the caller may name another

moto='moto[server]==5.2.3'

# Finds moto where it was put, or fetches it.
find_moto() {
  local directory=$tools/moto
  if [[ -n ${TEST_AWS_URL:-} || (-e $directory/requirement && $(<"$directory/requirement") == "$moto") ]]; then
    return
  fi
  say 'getting moto, which plays AWS'
  python_environment "$directory" "$moto" || fail 'moto cannot be had; install python3-venv and try again'
  printf '%s' "$moto" >"$directory/requirement"
}

# Starts it, unless the caller has named an endpoint.
start_moto() {
  if [[ -n ${TEST_AWS_URL:-} ]]; then
    return
  fi
  local log=$scratch/moto.log port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  # It ends with this script even where that is killed.
  setpriv --pdeathsig KILL "$tools/moto/bin/python" -m moto.server --host 127.0.0.1 --port "$port" >"$log" 2>&1 &
  moto_server=$!
  on_exit+=(stop_moto)
  local attempt
  for ((attempt = 0; attempt < 600; attempt++)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      export TEST_AWS_URL=http://127.0.0.1:$port
      return
    fi
    kill -0 "$moto_server" || break
    sleep 0.1
  done
  fail "moto did not start: $(tail -n 1 "$log")"
}

stop_moto() {
  kill -KILL "$moto_server" || true
  wait "$moto_server" 2>/dev/null || true
}
