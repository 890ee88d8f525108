#!/usr/bin/env bash
# Runs each fuzz target for SECONDS and prints executions, crashes, and the memory at the start and at the end.
#
#   fuzz/run.sh [SECONDS [TARGET...]]      default: 60 seconds, all targets
#
# Needs cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler. The core contains no `unsafe` code and needs no
# sanitizer. A stable toolchain therefore suffices, and the memory figures are undistorted. Exits with 1 if a target
# crashed or its memory grew; the crashing input is in fuzz/artifacts. Run fuzz/seeds.sh first to create the seeds.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
((${#targets[@]})) || targets=(framing sentence pipeline code)
# Allowed growth: the corpus and its tables take some memory. A leak of one line per execution takes gigabytes.
may_grow_mib=192
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo fuzz build --sanitizer none >"$log" 2>&1 || { cat "$log"; exit 1; }
status=0
printf '%-10s %8s %12s %9s %8s %15s %13s\n' target seconds executions per_s crashes rss_start_MiB rss_end_MiB
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    # Enough for a few lines, or for the epochs in which the pipeline learns their boundary.
    max_len=1024
    [ "$target" = pipeline ] && max_len=4096
    dictionary=fuzz/nmea.dict
    [ "$target" = code ] && dictionary=fuzz/code.dict
    crashes=0
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len="$max_len" -timeout=10 \
        -dict="$dictionary" -print_final_stats=1 >"$log" 2>&1 || crashes=1
    figures=$(awk '
        /INITED/ { for (i = 1; i < NF; i++) if ($i == "rss:") { first = $(i + 1); sub("Mb", "", first) } }
        /^stat::number_of_executed_units:/ { runs = $2 }
        /^stat::average_exec_per_sec:/ { rate = $2 }
        /^stat::peak_rss_mb:/ { last = $2 }
        END { print runs + 0, rate + 0, first + 0, last + 0 }' "$log")
    read -r runs rate first last <<<"$figures"
    printf '%-10s %8s %12s %9s %8s %15s %13s\n' "$target" "$seconds" "$runs" "$rate" "$crashes" "$first" "$last"
    if ((crashes)); then
        grep -A 4 -m 1 'panicked at\|ERROR: libFuzzer' "$log" || tail -n 30 "$log"
        grep 'Test unit written' "$log" || true
        status=1
    fi
    if ((runs == 0 || last > first + may_grow_mib)); then
        echo "$target: no executions, or the memory grew by more than $may_grow_mib MiB"
        status=1
    fi
done
exit $status
