# shellcheck shell=bash
# What is deployed to AWS: the template, and the functions as SAM builds them. Nothing here needs an account or a
# network.

# Gets what reads the template and what builds the functions.
find_aws_tools() {
  local packages=('aws-sam-translator==1.115.0' 'cfn-lint==1.58.0' 'cargo-lambda==1.9.2' 'ziglang==0.17.1')
  aws_tools=$tools/aws
  if ! is_made "$aws_tools" "${packages[@]}"; then
    find_pip
    say "getting ${packages[*]} from PyPI"
    rm -rf "$aws_tools"
    fetch python3 -m pip install --quiet --target "$aws_tools" "${packages[@]}" ||
      fail "${packages[*]} cannot be fetched from PyPI"
    mark_made "$aws_tools" "${packages[@]}"
  fi
}

test_template() {
  AWS_EC2_METADATA_DISABLED=true PYTHONPATH=$aws_tools PATH=$aws_tools/bin:$PATH python3 -B tests/template/check.py
}

# Builds two functions as `sam build` does, for this machine's architecture and for that of the template where its
# target is installed. They are not optimised, which changes nothing about whether they build and link.
test_lambda_build() {
  local host target function
  export PYTHONPATH=$aws_tools PATH=$aws_tools/bin:$PATH CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
  host=$(rustc --version --verbose | sed -n 's/^host: //p')
  host=${host%%-*}-unknown-linux-gnu
  for target in "$host" aarch64-unknown-linux-gnu; do
    if [[ $target == "$host" ]] || compgen -G "$(rustc --print target-libdir --target "$target")/libstd-*.rlib" >/dev/null; then
      for function in push_operations scheduled_compaction; do
        # SAM asks for this old glibc; that of provided.al2023 is 2.34.
        cargo lambda build --locked --skip-target-check --target "$target.2.26" --bin "$function"
        assert_needs_glibc_up_to 2.34 "$CARGO_TARGET_DIR/lambda/$function/bootstrap"
        assert_has_no_other_store "$CARGO_TARGET_DIR/lambda/$function/bootstrap"
      done
      [[ $target != aarch64-* ]] || return 0
    fi
  done
}

# Fails if a program needs a newer glibc than this, because Lambda could not start it.
assert_needs_glibc_up_to() {
  local newest
  newest=$(grep --text --only-matching 'GLIBC_2\.[0-9]*' "$2" | sort --version-sort | tail -n 1)
  if [[ $(printf '%s\n' "GLIBC_$1" "$newest" | sort --version-sort | tail -n 1) != "GLIBC_$1" ]]; then
    printf '%s needs %s\n' "$2" "$newest" >&2
    return 1
  fi
}

# Fails if a program was linked with a store that CargoLambda.toml does not name.
assert_has_no_other_store() {
  if grep --text --quiet sqlite3_open "$1"; then
    printf '%s has SQLite in it\n' "$1" >&2
    return 1
  fi
}
