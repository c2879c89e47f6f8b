#!/bin/sh
# Runs every target for FUZZ_SECONDS (10), with at most five seconds and 512 MB for each input. What breaks a
# target is kept in rust/fuzz/target/found.
set -eu
cd "$(dirname "$0")"
./build.sh
host=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p target/found
for source in src/bin/*.rs; do
	name=$(basename "$source" .rs)
	echo "fuzz: $name"
	mkdir -p "target/corpus/$name"
	"target/$host/debug/$name" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=5 -rss_limit_mb=512 \
		-malloc_limit_mb=64 -max_len=4096 -len_control=0 -verbosity=0 -print_final_stats=1 \
		-artifact_prefix=target/found/"$name"- "target/corpus/$name"
done
