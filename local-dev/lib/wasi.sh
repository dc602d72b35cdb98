# shellcheck shell=bash
# The library without features on wasm32-wasip1, its unit tests under wasmtime.

wasi_target=wasm32-wasip1

# Runs the unit tests, with the toolchain's own target if it is installed, and otherwise with Debian's packages.
test_wasi() {
  find_wasmtime
  local cargo_arguments=(test --locked --lib --no-default-features --target "$wasi_target" --target-dir target/wasi)
  if compgen -G "$(rustc --print target-libdir --target "$wasi_target")/libstd-*.rlib" >/dev/null; then
    cargo "${cargo_arguments[@]}" "$@"
  else
    unpack_wasi_toolchain
    cargo "${cargo_arguments[@]}" -Zbuild-std=std,panic_abort,test "$@"
  fi
}

# Debian's compiler for browsers comes with the source of its standard library, which is built for the target here.
# The toolchain's own cargo and linker do the rest.
unpack_wasi_toolchain() {
  local debian=$tools/wasi sysroot host
  debian_unpack "$debian" "run \`rustup target add $wasi_target\`" \
    rustc-web libstd-rust-web-dev rust-web-src wasi-libc
  debian_command "$debian" usr/bin/rustc
  sysroot=$(rustc --print sysroot)
  host=$(rustc --version --verbose | sed -n 's/^host: //p')
  export RUSTC=$debian/bin/rustc RUSTC_BOOTSTRAP=1
  export CARGO_TARGET_WASM32_WASIP1_LINKER=$sysroot/lib/rustlib/$host/bin/rust-lld
  # Debian's libc for WASI has no threads, which the standard library names but nothing here starts.
  export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="-L native=$debian/usr/lib/wasm32-wasi -C link-arg=--unresolved-symbols=ignore-all"
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
}

find_wasmtime() {
  if command -v wasmtime >/dev/null; then
    export CARGO_TARGET_WASM32_WASIP1_RUNNER='wasmtime run -S inherit-env=y'
    return
  fi
  local packages=$tools/wasmtime wasmtime=wasmtime==50.0.1
  if ! is_made "$packages" "$wasmtime"; then
    find_pip
    say 'getting wasmtime from PyPI'
    rm -rf "$packages"
    fetch python3 -m pip install --quiet --target "$packages" "$wasmtime" ||
      fail 'wasmtime cannot be fetched from PyPI; install wasmtime'
    mark_made "$packages" "$wasmtime"
  fi
  export PYTHONPATH=$packages
  export CARGO_TARGET_WASM32_WASIP1_RUNNER="python3 $PWD/local-dev/lib/run-wasm.py"
}
