# shellcheck shell=bash
# A private PostgreSQL for the tests, and pgbouncer. The tests have these variables:
#
# TEST_POSTGRES_URL   a server of the tests, with a superuser, over TCP; the caller may name another
#
# TEST_POSTGRES_BIN   the folder of initdb, pg_ctl and postgres, for tests that start servers of their own
#
# TEST_PGBOUNCER      the program pgbouncer

# PostgreSQL and pgbouncer refuse to run as root.
as_server_user=(setpriv)
if ((EUID == 0)); then
  as_server_user+=(--reuid=nobody --regid=nogroup --clear-groups)
fi

server_user_can_run() {
  "${as_server_user[@]}" test -x "$1"
}

# Finds PostgreSQL's programs and pgbouncer on the machine, or fetches them.
find_postgres() {
  local folders program
  folders=$PATH:/usr/sbin:$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr | paste -sd :)
  if [[ -z ${TEST_POSTGRES_BIN:-} ]]; then
    if program=$(PATH=$folders type -P initdb) && server_user_can_run "$program"; then
      TEST_POSTGRES_BIN=$(dirname "$(realpath "$program")")
    else
      TEST_POSTGRES_BIN=$(unpack_for_server_user postgresql 'usr/lib/postgresql/*/bin/*')
    fi
  fi
  if [[ -z ${TEST_PGBOUNCER:-} ]]; then
    if program=$(PATH=$folders type -P pgbouncer) && server_user_can_run "$program"; then
      TEST_PGBOUNCER=$program
    else
      TEST_PGBOUNCER=$(unpack_for_server_user pgbouncer usr/sbin/pgbouncer)/pgbouncer
    fi
  fi
  export TEST_POSTGRES_BIN TEST_PGBOUNCER
}

# Unpacks a package for the user of the servers; prints the folder of the programs that match a pattern.
unpack_for_server_user() {
  local package=$1 programs=$2 directory=$tools/$1 program
  debian_unpack "$directory" "install $package" "$package"
  for program in $(cd "$directory" && compgen -G "$programs"); do
    debian_command "$directory" "$program"
  done
  if ! server_user_can_run "$directory/${program:?}"; then
    cp -r "$directory" "$scratch/$package"
    directory=$scratch/$package
  fi
  printf '%s/bin' "$directory"
}

# Starts a server, unless the caller has named one.
#
# Usage: start_postgres OPTION-OF-POSTGRES…
start_postgres() {
  if [[ -n ${TEST_POSTGRES_URL:-} ]]; then
    return
  fi
  local data=$scratch/postgres-data log=$scratch/postgres.log port
  mkdir "$data"
  if ((EUID == 0)); then
    chown nobody "$data"
  fi
  port=$(free_port)
  (
    cd "$data" &&
      "${as_server_user[@]}" "$TEST_POSTGRES_BIN/initdb" --pgdata="$data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync
  ) >"$log" 2>&1 || fail "initdb failed: $(tail -n 1 "$log")"
  # It ends with this script, even if that is killed.
  (
    cd "$data"
    exec "${as_server_user[@]}" --pdeathsig QUIT "$TEST_POSTGRES_BIN/postgres" -D "$data" \
      -c listen_addresses=127.0.0.1 -c port="$port" -c unix_socket_directories= -c max_connections=500 "$@"
  ) >>"$log" 2>&1 &
  postgres=$!
  on_exit+=(stop_postgres)
  local attempt
  for ((attempt = 0; attempt < 300; attempt++)); do
    if "$TEST_POSTGRES_BIN/pg_isready" --quiet --host=127.0.0.1 --port="$port"; then
      export TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres
      return
    fi
    kill -0 "$postgres" || break
    sleep 0.1
  done
  fail "PostgreSQL did not start: $(tail -n 1 "$log")"
}

stop_postgres() {
  kill -QUIT "$postgres" || true
  wait "$postgres" || true
}
