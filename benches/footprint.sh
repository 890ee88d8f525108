#!/usr/bin/env bash
# Measures the footprint on a van: stripped binary, crates, and resident memory idle and with 100,000 pending records.
# Usage: benches/footprint.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --locked --release
folder=$(mktemp -d)
simulator=$folder/simulator
cp target/release/waypost "$simulator"
cargo build --quiet --locked --release -p waypost
agent=$PWD/target/release/waypost
trap 'kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT

echo "stripped binary     $(stat -c %s "$agent") bytes"
echo "cargo tree          $(cargo tree --locked -p waypost -e normal | wc -l) lines," \
    "$(cargo tree --locked -p waypost -e normal --prefix none --format '{p}' | cut -d' ' -f1 | sort -u | wc -l) crates"

cat >"$folder/waypost.toml" <<TOML
van.id = "BENCH"
mqtt.broker = "mqtt://127.0.0.1:9"
gnss.source = "stdin:"
outbox.path = "$folder/outbox.db"
outbox.tail_path = "$folder/tail"
control.path = ""
track.sampling = "raw"
TOML
mkfifo "$folder/receiver"
"$agent" run --config "$folder/waypost.toml" <"$folder/receiver" 2>"$folder/log" &
pid=$!
exec 3>"$folder/receiver"
resident() { awk '/VmRSS/ {rss=$2} /RssAnon/ {anon=$2} /VmHWM/ {peak=$2} END {print rss " KiB (" anon " KiB of it not shared, peak " peak " KiB)"}' "/proc/$pid/status"; }
sleep 2
echo "resident, idle      $(resident)"
"$simulator" simulate config/routes/city.toml --rate 10 --receiver rmc-only --cold-start 0 --duration 10300 >&3
sleep 3
echo "resident, 100,000   $(resident)"
kill "$pid"; wait "$pid" || true
echo "outbox              $(stat -c %s "$folder/outbox.db") bytes"
