# shellcheck shell=bash
# Random requests made from /openapi.json: no answer is a 5xx, and each is one that the document describes.

# In a virtual environment of its own, from PyPI.
find_schemathesis() {
  local requirement=schemathesis==4.32.5 environment=$tools/schemathesis
  schemathesis=$environment/bin/schemathesis
  if ! is_made "$environment" "$requirement"; then
    say 'getting schemathesis from PyPI'
    python_environment "$environment" "$requirement" ||
      fail 'schemathesis cannot be fetched from PyPI; install python3-venv and try again'
    mark_made "$environment" "$requirement"
  fi
}

# Plays for nine minutes at most, usually for one, on a local server, which is the program given, over SQLite.
# SCHEMATHESIS_SEED gives other requests. The server asks for a token, as the document says.
test_api_with_schemathesis() {
  local program=$1 directory server url='' attempt token
  local -x AUTH_TENANT=default AUTH_HS256_SECRET
  AUTH_HS256_SECRET=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
  token=$("$program" token dev --tenant default --subject tester --role admin)
  directory=$(mktemp -d -t api.XXXXXX)
  # There before the server is, which writes into it.
  : >"$directory/out"
  PORT=0 ADAPTER=sqlite SQLITE_PATH=$directory/syncflow.db LOG_LEVEL=warn \
    setpriv --pdeathsig KILL "$program" >"$directory/out" 2>&1 &
  server=$!
  for ((attempt = 0; attempt < 300; attempt++)); do
    url=$(sed -n 's/^listening *//p' "$directory/out")
    [[ -z $url ]] || break
    kill -0 "$server" || break
    sleep 0.1
  done
  if [[ -z $url ]]; then
    cat "$directory/out" >&2
    return 1
  fi
  local outcome=0
  # It is started there, because it leaves files in its working directory.
  (
    config=$PWD/local-dev/lib/schemathesis.toml
    cd "$directory"
    timeout --foreground 540 "$schemathesis" --config-file "$config" run "$url/openapi.json" --seed "${SCHEMATHESIS_SEED:-1}" \
      --header "Authorization: Bearer $token"
  ) || outcome=$?
  kill "$server"
  wait "$server" || true
  if ((outcome != 0)); then
    cat "$directory/out" >&2
  fi
  return "$outcome"
}
