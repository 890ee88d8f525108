#!/usr/bin/env bash
# Creates the seed corpora of the fuzzer: simulated drives and synthetic labels, no recordings.
#
#   fuzz/seeds.sh [WAYPOST]      default: build target/debug/waypost
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then waypost=$1; else
    cargo build --quiet --locked
    waypost=${CARGO_TARGET_DIR:-target}/debug/waypost
fi
export LC_ALL=C
corpus=fuzz/corpus
mkdir -p $corpus/framing $corpus/sentence $corpus/pipeline $corpus/code

seed() { # seed NAME FIRST ARGUMENTS...: FIRST is the type of sentence that starts an epoch of this receiver
    local name=$1 first=$2
    shift 2
    "$waypost" simulate "$@" >"$corpus/framing/$name"
    cp "$corpus/framing/$name" "$corpus/sentence/$name"
    # In a script of fuzz/src/lib.rs, 0x8A is a pause of 1 s and 0x85 one of 0.1 s.
    local pause='\x8a'
    case " $* " in *" --rate 10 "*) pause='\x85' ;; esac
    sed "s/^\\\$G.$first,/$pause&/" "$corpus/framing/$name" >"$corpus/pipeline/$name"
}

for route in config/routes/*.toml tests/fixtures/routes/*.toml; do
    name=$(basename "$route" .toml)
    seed "$name-m8" RMC "$route" --receiver ublox-m8 --cold-start 4 --duration 12
    seed "$name-m10" RMC "$route" --receiver ublox-m10 --cold-start 0 --duration 6
    seed "$name-sirf" GGA "$route" --receiver sirf-star --cold-start 4 --duration 12
    seed "$name-mtk" GGA "$route" --receiver mtk-3339 --cold-start 8 --duration 12
    seed "$name-gga" GGA "$route" --receiver gga-only --cold-start 2 --duration 20
    seed "$name-rmc" RMC "$route" --receiver rmc-only --cold-start 2 --duration 20
    seed "$name-10hz" RMC "$route" --receiver ublox-m8 --rate 10 --cold-start 0 --duration 1
    seed "$name-noise" RMC "$route" --receiver ublox-m8 --bad-checksum-rate 0.2 --duration 5
    seed "$name-midnight" RMC "$route" --receiver ublox-m8 --cold-start 0 --start 2026-12-31T23:59:56Z --duration 8
done
# Sentence types that no simulated receiver sends.
printf '$GPZDA,235959.00,31,12,2026,00,00*00\r\n\x8a$GPZDA,000000.00,01,01,2027,-01,30*00\r\n' >$corpus/pipeline/zda
printf '$GPRMC,235960.00,A,4820.892,N,01049.746,E,12.3,84.4,311226,,,A*00\r\n' >$corpus/pipeline/leap
printf '\x91$GPTXT,01,01,02,5*5*33\r\n\x90$GPGLL,4916.45,N,12311.12,W,225444,A*31\r\n' >$corpus/pipeline/raw
for kind in zda leap raw; do cp $corpus/pipeline/$kind $corpus/sentence/; cp $corpus/pipeline/$kind $corpus/framing/; done
# One label per entry of the dictionary. Entries are escaped for printf.
sed -n 's/^"\(.*\)"$/\1/p' fuzz/code.dict | while IFS= read -r word; do
    printf '%b' "$word" >"$corpus/code/$(printf '%s' "$word" | cksum | cut -d' ' -f1)"
done
printf ']d20039521234000000001443091381379100011575480043221\x1d43242611220800\r\n' >$corpus/code/scan4transport
printf ']C142090221\x1d9205590139515815555550\r\n' >$corpus/code/impb
echo "seeds: $(find $corpus -type f | wc -l) files in $corpus"
