# What the scripts that record workloads share.
set -e
# A value out of the truth: field CASE NAME NUMBER.
field() { sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",]*\).*/\1/p" "$1.json" | sed -n "$3p"; }
await() {
    for _ in $(seq 300); do
        [ -e "$1" ] && return
        sleep 0.1
    done
    echo "$1 does not appear"
    exit 1
}
# Until all probes are attached.
await_recording() { until grep -q "recording" "$1"; do sleep 0.5; done; }
