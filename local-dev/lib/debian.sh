# shellcheck shell=bash
# Programs from Debian's packages without installing them: no root needed, and the machine stays as it is.

# Unpacks packages, and what they need that the machine lacks, into a directory, once.
#
# Usage: debian_unpack DIRECTORY WHAT-TO-DO-WHERE-THIS-FAILS PACKAGE…
debian_unpack() {
  local directory=$1 instead=$2
  shift 2
  if [[ -e $directory/packages && $(<"$directory/packages") == "$*" ]]; then
    return
  fi
  command -v apt-get dpkg-deb >/dev/null || fail "this machine has no Debian packages; $instead"
  say "getting $* from Debian's packages"
  rm -rf "$directory"
  mkdir -p "$directory"/apt/{lists,archives}/partial
  local apt=(
    apt-get -qq -o "Dir::State::Lists=$directory/apt/lists" -o "Dir::Cache=$directory/apt"
    -o "APT::Sandbox::User=root"
  )
  fetch "${apt[@]}" update || fail "the lists of Debian's packages cannot be fetched; $instead"
  # This only asks which packages an installation would take. It removes nothing.
  local plan names
  plan=$(fetch "${apt[@]}" install --simulate --reinstall --no-install-recommends "$@") ||
    fail "Debian's packages $* cannot be fetched; $instead"
  mapfile -t names < <(awk '$1 == "Inst" { print $2 }' <<<"$plan")
  (cd "$directory/apt/archives" && fetch "${apt[@]}" download "${names[@]}") ||
    fail "Debian's packages $* cannot be fetched; $instead"
  local archive
  for archive in "$directory"/apt/archives/*.deb; do
    dpkg-deb --extract "$archive" "$directory"
  done
  rm -r "$directory/apt"
  printf '%s' "$*" >"$directory/packages"
}

# Makes DIRECTORY/bin/NAME of an unpacked program, so that it finds the libraries that were unpacked with it.
#
# Usage: debian_command DIRECTORY PROGRAM; the program's path within the directory, which may be moved afterwards.
debian_command() {
  local command=$1/bin/${2##*/}
  mkdir -p "$1/bin"
  cat >"$command" <<END
#!/bin/sh
root=\$(dirname "\$(dirname "\$(readlink -f "\$0")")")
for folder in "\$root"/lib/*-linux-gnu "\$root"/usr/lib/*-linux-gnu "\$root"/usr/lib/*-linux-gnu/pulseaudio; do
  LD_LIBRARY_PATH=\$folder\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "\$root/$2" "\$@"
END
  chmod 755 "$command"
}

# Finds pip, or takes Debian's.
find_pip() {
  if ! python3 -m pip --version >/dev/null 2>&1; then
    debian_unpack "$tools/pip" 'install pip for Python 3' python3-pip-whl
    PYTHONPATH=$(echo "$tools"/pip/usr/share/python-wheels/pip-*.whl)
    export PYTHONPATH
  fi
}

# Makes a Python environment with packages from PyPI, also where venv has no pip to put into it, as on Debian.
#
# Usage: python_environment DIRECTORY [ARGUMENT OF PIP INSTALL…]
python_environment() {
  local directory=$1
  shift
  rm -rf "$directory"
  if python3 -m venv "$directory" >/dev/null 2>&1; then
    fetch "$directory/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
    return
  fi
  rm -rf "$directory"
  find_pip >&2
  python3 -m venv --without-pip "$directory" >&2 &&
    fetch python3 -m pip --python "$directory/bin/python3" install --quiet --disable-pip-version-check "$@" >&2
}
