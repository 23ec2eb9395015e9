# Recipes that need functions or a disk of their own: names that are looked up and are not in the cache, and what the kernel's
# flushers write. Leaves recipes.trace, recipes.log and the truth as names.csv and flushed.csv (pages that the kernel counts).
# with: perl
# disk: 64
mkdir -p /disk names
mount -t ext4 -o noinit_itable /dev/vda /disk || exit 1
cat >lookups.pl <<'END'
# In this directory, so that a name is all of the path.
chdir 'names' or die;
for (1 .. 50) { open my $f, '>', "there-$_" or die }
$0 = 'lookuper';
for (1 .. 50) { stat "missing-$_"; stat "there-$_"; stat "there-$_" }
END
{
    echo name,misses,hits
    for n in $(seq 50); do echo "missing-$n,1,0"; echo "there-$n,0,2"; done
} >names.csv
# With what each processor has counted and not yet told.
pages() { echo 1 >/proc/sys/vm/stat_refresh; sed -n 's/^nr_written //p' /proc/vmstat; }
recorder record \
    'lookups=fn:lookup_fast{ name=nd->last.name:string[63], len=nd->last.len, retval } if comm == "lookuper"' \
    'begun=tp:writeback:writeback_start{ item=work, device=wb->bdi->dev_name:string[31], pages=work->nr_pages, reason=work->reason:enum(kernel wb_reason) }' \
    'written=tp:writeback:writeback_written{ item=work, pages=work->nr_pages }' \
    -o recipes.trace >recipes.log 2>&1 &
recorder=$!
until grep -q "recorder: recording" recipes.log || ! kill -0 $recorder; do sleep 0.1; done
perl lookups.pl
before=$(pages)
dd if=/dev/zero of=/disk/dirty bs=4k count=256 2>/dev/null
sync
after=$(pages)
kill -INT $recorder
wait $recorder || exit 1
umount /disk
# The device as the kernel calls it: MAJOR:MINOR.
echo "device,pages
$(cat /sys/block/vda/dev),$((after - before))" >flushed.csv
