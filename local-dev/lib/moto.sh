# shellcheck shell=bash
# Secrets Manager and Systems Manager for the tests, as moto emulates them. The tests have the variable TEST_AWS_URL,
# the endpoint. The caller may name another one.

moto='moto[server]==5.2.3'

# Finds moto, or fetches it.
find_moto() {
  local directory=$tools/moto
  if [[ -n ${TEST_AWS_URL:-} ]] || is_made "$directory" "$moto"; then
    return
  fi
  say 'getting moto, which plays AWS'
  python_environment "$directory" "$moto" || fail 'moto cannot be fetched; install python3-venv and try again'
  mark_made "$directory" "$moto"
}

# Starts it, unless the caller has named an endpoint.
start_moto() {
  if [[ -n ${TEST_AWS_URL:-} ]]; then
    return
  fi
  local log=$scratch/moto.log port
  port=$(free_port)
  # It ends with this script, even if that is killed.
  setpriv --pdeathsig KILL "$tools/moto/bin/python" -m moto.server --host 127.0.0.1 --port "$port" >"$log" 2>&1 &
  moto_server=$!
  on_exit+=(stop_moto)
  local attempt
  for ((attempt = 0; attempt < 600; attempt++)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      export TEST_AWS_URL=http://127.0.0.1:$port
      load_moto
      return
    fi
    kill -0 "$moto_server" || break
    sleep 0.1
  done
  fail "moto did not start: $(tail -n 1 "$log")"
}

# Calls each service once: moto loads it then, which takes longer than the tests' clients wait.
load_moto() {
  AWS_EC2_METADATA_DISABLED=true fetch "$tools/moto/bin/python" - <<'PYTHON' || fail 'moto does not answer'
import os
import boto3

access = {name: "test" for name in ("aws_access_key_id", "aws_secret_access_key")}
for service, call in (("ssm", "describe_parameters"), ("secretsmanager", "list_secrets")):
    client = boto3.client(service, endpoint_url=os.environ["TEST_AWS_URL"], region_name="eu-west-1", **access)
    getattr(client, call)()
PYTHON
}

stop_moto() {
  kill -KILL "$moto_server" || true
  wait "$moto_server" 2>/dev/null || true
}
