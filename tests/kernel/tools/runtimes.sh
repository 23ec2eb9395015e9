# native
# compiled: runtimes
# installed as: /usr/lib/jvm/default-java/lib/server/libjvm.so,/usr/bin/python3,/usr/sbin/mysqld,/usr/lib/postgresql/15/bin/postgres
# Probes of runtimes of languages and of databases, which a program has built in as these do: calls that call themselves, in several
# threads at once, collections that take longer than 4.3 s while others come and go, queries in one step and in three. Leaves
# runtimes.trace, runtimes.log and the truth as did.csv: what the program did, in which order, and how long it measured that
# itself, within its probes and around them.
mkdir truth
recorder record -o runtimes.trace --interval 100ms \
    'calls=usdt:runtimes:hotspot:method__entry{ class=arg1:ustring[127], class_len=arg2, method=arg3:ustring[127], method_len=arg4 }' \
    'returns=usdt:runtimes:hotspot:method__return{ class=arg1:ustring[127], class_len=arg2, method=arg3:ustring[127], method_len=arg4 }' \
    'py_calls=usdt:runtimes:python:function__entry{ file=arg0:ustring[255], function=arg1:ustring[127], line=arg2 }' \
    'py_returns=usdt:runtimes:python:function__return{ file=arg0:ustring[255], function=arg1:ustring[127], line=arg2 }' \
    'call_rates=usdt:runtimes:hotspot:method__entry --count pid' \
    'object_rates=usdt:runtimes:hotspot:object__alloc --count pid' \
    'gc_rates=usdt:runtimes:hotspot:gc__begin --count pid' \
    'class_rates=usdt:runtimes:hotspot:class__loaded --count pid' \
    'thread_rates=usdt:runtimes:hotspot:thread__start --count pid' \
    'gc_starts=usdt:runtimes:python:gc__start{ generation=arg0 }' \
    'gc_dones=usdt:runtimes:python:gc__done{ found=arg0 }' \
    'gc_begins=usdt:runtimes:hotspot:gc__begin{ is_full=arg0 }' \
    'gc_ends=usdt:runtimes:hotspot:gc__end{}' \
    'pool_begins=usdt:runtimes:hotspot:mem__pool__gc__begin{ manager=arg0:ustring[63], manager_len=arg1:s32, pool=arg2:ustring[63], pool_len=arg3:s32, used=arg5 }' \
    'pool_ends=usdt:runtimes:hotspot:mem__pool__gc__end{ manager=arg0:ustring[63], manager_len=arg1:s32, pool=arg2:ustring[63], pool_len=arg3:s32, used=arg5 }' \
    'objects=usdt:runtimes:hotspot:object__alloc{ class=arg1:ustring[127], class_len=arg2, bytes=arg3 }' \
    'thread_starts=usdt:runtimes:hotspot:thread__start{ name=arg0:ustring[63], name_len=arg1, id=arg2, is_daemon=arg4 }' \
    'thread_stops=usdt:runtimes:hotspot:thread__stop{ id=arg2 }' \
    'statements=usdt:runtimes:postgresql:statement__status{ at=arg0, text=arg0:ustring[255] }' \
    'queries=usdt:runtimes:mysql:query__start{ text=arg0:ustring[255], db=arg2:ustring[63], db_user=arg3:ustring[63] }' \
    'query_ends=usdt:runtimes:mysql:query__done{ error=arg0 }' \
    -- runtimes truth >runtimes.log 2>&1 || exit 1
mv truth/did.csv .
