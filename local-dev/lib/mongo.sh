# shellcheck shell=bash
# A private MongoDB for the tests, or its stand-in. The tests have these variables:
#
# TEST_MONGO_URI      servers of the tests, each a replica set, with a space between two; the caller may name others
#
# TEST_MONGO_PROGRAM  mongod, or a program that speaks its protocol, for tests that start servers of their own
#
# TEST_MONGO_KIND     mongod or secantusd, which says how that program is started

# The stand-in for a missing mongod: an emulation in Python, with transactions, that only tests use.
secantusdb=secantusdb==0.7.0b3

# Finds mongod on the machine, 8.0 or later, since a test counts the commands that it takes; or fetches the stand-in.
find_mongo() {
  if [[ -z ${TEST_MONGO_PROGRAM:-} ]]; then
    if TEST_MONGO_PROGRAM=$(PATH=$PATH:/usr/sbin type -P mongod) && server_user_can_run "$TEST_MONGO_PROGRAM"; then
      TEST_MONGO_KIND=mongod
    else
      TEST_MONGO_PROGRAM=$(unpack_secantusd)
      TEST_MONGO_KIND=secantusd
    fi
  fi
  : "${TEST_MONGO_KIND:=mongod}"
  export TEST_MONGO_PROGRAM TEST_MONGO_KIND
}

# Makes a Python environment of the stand-in that the user of the servers may run; prints the program.
unpack_secantusd() {
  local directory=$tools/secantusdb
  if ! is_made "$directory" "$secantusdb"; then
    say 'fetching a stand-in for MongoDB'
    python_environment "$directory" --pre "$secantusdb" ||
      fail "no stand-in for MongoDB; install mongod, or python3-venv and try again"
    mark_made "$directory" "$secantusdb"
  fi
  printf '%s' "$directory/bin/secantusd-py"
}

# Starts servers, unless the caller has named some: one, or so many of the stand-in, which works on one command at a
# time.
#
# Usage: start_mongo [NUMBER]
start_mongo() {
  if [[ -n ${TEST_MONGO_URI:-} ]]; then
    return
  fi
  local number=${1:-1} uris=() i
  [[ $TEST_MONGO_KIND != mongod ]] || number=1
  on_exit+=(stop_mongo)
  for ((i = 0; i < number; i++)); do
    start_one_mongo "$i"
    uris+=("mongodb://127.0.0.1:$mongo_port/?directConnection=true")
  done
  export TEST_MONGO_URI="${uris[*]}"
}

# The processes of the servers.
mongos=()

# Starts a server and sets `mongo_port`.
start_one_mongo() {
  local data=$scratch/mongo-data-$1 log=$scratch/mongo-$1.log pid
  mkdir "$data"
  mongo_port=$(free_port)
  # It ends with this script, even if that is killed.
  if [[ $TEST_MONGO_KIND == mongod ]]; then
    setpriv --pdeathsig KILL "$TEST_MONGO_PROGRAM" --dbpath "$data" --port "$mongo_port" --bind_ip 127.0.0.1 \
      --replSet rs0 --nounixsocket --quiet --wiredTigerCacheSizeGB 0.5 >"$log" 2>&1 &
  else
    # Its engine stops all commands while a fifth of the cache is not on the disk and an open transaction needs it. All
    # data of the tests are less than a fifth of this one.
    SECANTUS_CHECKPOINT_SECONDS=10 setpriv --pdeathsig KILL "$TEST_MONGO_PROGRAM" --storage-path "$data" \
      --host 127.0.0.1 --port "$mongo_port" --cache-size 4G --log-level ERROR >"$log" 2>&1 &
  fi
  pid=$!
  mongos+=("$pid")
  local attempt
  for ((attempt = 0; attempt < 300; attempt++)); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$mongo_port") 2>/dev/null; then
      [[ $TEST_MONGO_KIND != mongod ]] || initiate_mongo "$mongo_port"
      return
    fi
    kill -0 "$pid" || break
    sleep 0.1
  done
  fail "MongoDB did not start: $(tail -n 1 "$log")"
}

# Makes a mongod that has just started a replica set of one node, and waits until that can be written to.
initiate_mongo() {
  local directory=$tools/pymongo pymongo=pymongo==4.15.5
  if ! is_made "$directory" "$pymongo"; then
    python_environment "$directory" "$pymongo" ||
      fail 'no pymongo, which makes a replica set of mongod; install python3-venv and try again'
    mark_made "$directory" "$pymongo"
  fi
  "$directory/bin/python" - "$1" <<'PYTHON' || fail 'mongod does not become a replica set'
import sys, time
from pymongo import MongoClient
from pymongo.errors import OperationFailure

address = f"127.0.0.1:{sys.argv[1]}"
admin = MongoClient(f"mongodb://{address}/?directConnection=true").admin
try:
    admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": address}]})
except OperationFailure as failure:
    # It is one already.
    if failure.code != 23:
        raise
for _ in range(300):
    if admin.command("hello").get("isWritablePrimary"):
        break
    time.sleep(0.1)
else:
    sys.exit(1)
PYTHON
}

stop_mongo() {
  local pid
  for pid in "${mongos[@]}"; do
    kill -KILL "$pid" || true
    # The shell would say that it was killed.
    wait "$pid" 2>/dev/null || true
  done
  mongos=()
}

# Starts again with an empty directory, if the servers are the script's own: the stand-in gets slower with each
# database.
#
# Usage: restart_mongo [NUMBER]
restart_mongo() {
  if ((${#mongos[@]} == 0)); then
    return
  fi
  stop_mongo
  rm -rf "$scratch"/mongo-data-*
  unset TEST_MONGO_URI
  start_mongo "$@"
}
