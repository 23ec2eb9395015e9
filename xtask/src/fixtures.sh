# Records the captured fixtures into the current directory, in a guest.
# start TRACE ARGUMENTS...: record everything in the guest, in the background; returns once it records.
start() {
    recorder record -o "$@" 2>/tmp/recorder.log &
    recorder=$!
    await_recording /tmp/recorder.log
}
stop() {
    kill -INT $recorder
    wait $recorder
    cat /tmp/recorder.log
}
printf 'kernel    %s\ndate      %s\nrecorder  %s\n' "$(uname -rv)" "$(date -u +%F)" "$(recorder --version)" >about

# Three namespaces with a listener each, there before; then redis, nginx and a workload start to listen.
mkfifo /tmp/hold.stdin
xtask workload hold --truth listens.before.json </tmp/hold.stdin &
exec 9>/tmp/hold.stdin
await listens.before.json
ip netns add cache
ip netns add web
for name in cache web; do ip netns exec $name ip link set lo up; done
printf 'daemon off; user root; pid /tmp/nginx.pid; error_log /tmp/nginx.log; events {}\n' >/tmp/nginx.conf
printf 'http { access_log off; server { listen 80; listen [::]:80; } }\n' >>/tmp/nginx.conf
mkdir -p /var/lib/nginx /var/log/nginx
start listens.trace listens
ip netns exec cache redis-server --port 6379 --bind 127.0.0.1 ::1 --save '' --dir /tmp >/tmp/redis.log 2>&1 &
redis=$!
ip netns exec web nginx -c /tmp/nginx.conf >/tmp/nginx.out 2>&1 &
nginx=$!
until ip netns exec cache ss -tlnH | grep -q 6379 && ip netns exec web ss -tlnH | grep -q :80; do sleep 0.2; done
for name in cache web; do
    echo "netns $(stat -Lc %i /run/netns/$name) $name"
    ip netns exec $name ss -tlneH
done >listens.ss
xtask workload listens --count 30 --edges --truth listens.json
kill $redis
wait $redis || true
sleep 0.5
stop
kill $nginx
exec 9>&-

start kmem.trace kmem --stacks kernel --buffer-size 128M
xtask workload kmem --held 50 --churned 200 --rules 30 --truth kmem.json
# kfree_rcu frees up to five seconds later.
sleep 7
stop
kill "$(field kmem keeper_pid 1)"

start packets.trace packets
xtask workload packets --truth packets.json
stop
recorder record mkdirs -o mkdirs.trace -- xtask workload mkdirs --truth mkdirs.json
recorder record netns_joins -o joins.trace -- xtask workload joins --truth joins.json
recorder record switches -o switches.trace -- xtask workload switches --rounds 100 --truth switches.json
