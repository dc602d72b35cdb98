"""Runs a WASI program with the Python package `wasmtime`: what cargo runs the tests for wasm32-wasip1 with.

Usage: run-wasm.py PROGRAM [ARGUMENT…]

The exit status is the program's, or 134 (that of an abort) if it trapped, as a test that panics does.
"""

import sys

import wasmtime

ABORTED = 134


def main() -> int:
    wasi = wasmtime.WasiConfig()
    wasi.argv = sys.argv[1:]
    wasi.inherit_env()
    wasi.inherit_stdout()
    wasi.inherit_stderr()

    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    store.set_wasi(wasi)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, sys.argv[1]))
    try:
        instance.exports(store)["_start"](store)
    except wasmtime.ExitTrap as exit_trap:
        return exit_trap.code
    except wasmtime.Trap as trap:
        print(trap, file=sys.stderr)
        return ABORTED
    return 0


sys.exit(main())
