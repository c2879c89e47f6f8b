#!/bin/sh
# Builds the targets with coverage counters for libFuzzer, on the stable compiler: the LLVM pass that
# cargo-fuzz asks a nightly one for needs nothing else. With a target given, build scripts go without.
set -eu
cd "$(dirname "$0")"
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=on" \
	exec cargo build --locked --target "$(rustc -vV | sed -n 's/^host: //p')" "$@"
