# native
# compiled: marks
# Probes that a program has built in. Leaves usdt.trace, usdt.log and the truth, which the program itself writes, as values_of.csv,
# places_of.csv and said.csv; what it says without a recorder is in alone.csv.
mkdir truth
marks 3 >alone.csv || exit 1
recorder record -o usdt.trace \
    'constants=usdt:marks:marks:constants' \
    'registers=usdt:marks:marks:registers{ arg0, arg1, arg3, arg5, arg7, arg8, text=arg9:ustring }' \
    'memory=usdt:marks:marks:memory{ arg0, arg1, arg2, arg3, name=arg4:ustring, at=*(u32 *)arg5, same=arg6:ustring }' \
    'odds=usdt:marks:marks:memory{ arg0 } if arg4:ustring == "odd" && arg0 < -2' \
    'places=usdt:marks:marks:places' \
    'heard=usdt:marks:marks:heard' \
    -- sh -c 'exec marks 500 truth >said.csv' >usdt.log 2>&1 || exit 1
mv truth/*.csv .
