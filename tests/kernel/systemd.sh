#!/bin/sh
# Runs the unit of contrib/ in a guest whose process 1 is systemd, for tests/kernel/systemd.rs. Leaves what systemd,
# /proc and the recorder showed, and the traces.
unit=ktape-recorder
await() {
    for _ in $(seq 120); do
        eval "$1" && return
        sleep 0.5
    done
    echo "waited in vain: $1"
    systemctl status $unit
    ls -l /var/log/ktape
    cat recorder.log
    exit 1
}
# The trace that is being recorded; snapshots of triggers and by SIGUSR1.
trace() { ls -d /var/log/ktape/*.trace 2>/dev/null | grep -v -e -snapshot- | tail -n 1; }
snapshots() { ls -d /var/log/ktape/*-snapshot-*.trace 2>/dev/null | wc -l; }
main_pid() { systemctl show -P MainPID $unit; }
# Once it has said so, `recorder snapshot` can ask.
is_recording() { [ -S "$(trace)/.control.tmp" ]; }

await 'systemctl is-active -q multi-user.target' 2>/dev/null
# As the comment of the unit says.
mkdir -p /etc/systemd/system/$unit.service.d
# There is no journal in the guest.
printf '[Service]\nStandardError=append:/out/recorder.log\n' >/etc/systemd/system/$unit.service.d/log.conf
cp /kernel/ktape-recorder.service /etc/systemd/system/ && systemctl enable --now ktape-recorder
# What it may do before it has attached: the first look at the recorder itself.
pid=$(main_pid)
await '[ "$(readlink /proc/$pid/exe)" = /usr/local/bin/recorder ]'
cat /proc/$pid/status >before.status
await is_recording
systemctl is-active $unit >active
sleep 1
cat /proc/$pid/task/*/status >after.status

nc -l -p 4444 </dev/null &
listener=$!
echo $listener >listener.pid
await '[ "$(snapshots)" = 1 ]'
kill $listener
systemctl kill -s USR1 ktape-recorder
await '[ "$(snapshots)" = 2 ]'

killed=$(trace)
echo "$killed" >killed.name
kill -9 "$pid"
await '[ "$(main_pid)" != 0 ] && [ "$(main_pid)" != $pid ]'
await '[ "$(trace)" != "$killed" ] && is_recording'
systemctl show -P NRestarts $unit >restarts

trace >stopped.name
began=$(cut -d' ' -f1 /proc/uptime)
systemctl stop $unit
echo "$began $(cut -d' ' -f1 /proc/uptime)" >stop.uptime
systemctl show -p Result,ActiveState,ExecMainCode,ExecMainStatus $unit >stopped
ls -ld /var/log/ktape /var/log/ktape/* >listing
cp -r /var/log/ktape .
dmesg | grep 'systemd\[1\]: ktape' >systemd.log
