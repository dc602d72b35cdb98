# shellcheck shell=bash
# The checks of the files that install the server elsewhere, and the programs that they need.

# Finds what the checks need: schemas from PyPI, and promtool on the machine or from Debian's packages. Sets
# `package_tools`, the directory of the former, and `promtool_path`, that of the latter.
find_package_tools() {
  local packages=('check-jsonschema==0.39.0' 'kubernetes-validate==1.37.0' 'pyyaml==6.0.3')
  package_tools=$tools/packages
  if ! is_made "$package_tools" "${packages[@]}"; then
    say "getting ${packages[*]} from PyPI"
    python_environment "$package_tools" "${packages[@]}" || fail "${packages[*]} cannot be fetched from PyPI"
    mark_made "$package_tools" "${packages[@]}"
  fi
  if command -v promtool >/dev/null; then
    promtool_path=$(dirname "$(command -v promtool)")
    return
  fi
  local directory=$tools/prometheus
  debian_unpack "$directory" 'install promtool of Prometheus' prometheus
  debian_command "$directory" usr/bin/promtool
  promtool_path=$directory/bin
}

test_packages() {
  PATH=$promtool_path:$PATH "$package_tools/bin/python3" -B tests/packages/check.py
}
