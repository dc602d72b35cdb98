# shellcheck shell=bash
# curl, which runs the commands of the pages in a test.

find_curl() {
  if ! command -v curl >/dev/null; then
    debian_unpack "$tools/curl" 'install curl' curl
    debian_command "$tools/curl" usr/bin/curl
    export PATH=$PATH:$tools/curl/bin
  fi
}
