# native
# compiled: mutexes
# Mutexes that threads take in one order and in another. Leaves mutexes.trace, mutexes.log and the truth as expected.csv: which of
# them are taken in a circle, by address, beginning with the least.
mkdir truth
recorder record -o mutexes.trace \
    'wants=uprobe:mutexes:pthread_mutex_lock{ mutex=$arg1 }' \
    'locks=uretprobe:mutexes:pthread_mutex_lock{ mutex=$arg1, ret=retval:s32 }' \
    'trylocks=uretprobe:mutexes:pthread_mutex_trylock{ mutex=$arg1, ret=retval:s32 }' \
    'unlocks=uprobe:mutexes:pthread_mutex_unlock{ mutex=$arg1 }' \
    'inits=uprobe:mutexes:pthread_mutex_init{ mutex=$arg1 }' \
    'destroys=uprobe:mutexes:pthread_mutex_destroy{ mutex=$arg1 }' \
    --stacks user -- mutexes truth >mutexes.log 2>&1 || exit 1
mv truth/expected.csv .
