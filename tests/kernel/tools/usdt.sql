-- the program came past each probe as often as it says, and somebody listened each time
SELECT * FROM said WHERE times <> 500 OR prepared <> 500 OR semaphore <> 1;

-- without a recorder nobody listens
SELECT * FROM alone WHERE times <> 3 OR prepared <> 0 OR semaphore <> 0;

-- each probe has a row each time, and nothing is lost
SELECT * FROM (
    SELECT (SELECT count(*) FROM constants) AS constants, (SELECT count(*) FROM registers) AS registers,
        (SELECT count(*) FROM memory) AS memory, (SELECT count(*) FROM places) AS places, (SELECT count(*) FROM heard) AS heard,
        (SELECT count(*) FROM odds) AS odds
) AS n
WHERE constants <> 500 OR registers <> 500 OR memory <> 500 OR places <> 2500 OR heard <> 500 OR odds <> 249;

-- constants have the size and the sign of their argument
SELECT DISTINCT arg0, arg1, arg2, arg3, arg4, arg5, arg6, arg7 FROM constants
WHERE arg0 <> -7 OR arg1 <> 4294967289 OR arg2 <> 5 OR arg3 <> 18446744073709551615 OR arg4 <> -56 OR arg5 <> 200
    OR arg6 <> 4464 OR arg7 <> -3;

-- registers of each width have what the program has
SELECT * FROM (
    SELECT arg1 AS whole, CAST(arg3 AS BIGINT) AS low32, CAST(arg5 AS BIGINT) AS low16, CAST(arg7 AS BIGINT) AS low8,
        CAST(arg8 AS BIGINT) AS second
    FROM registers
    EXCEPT SELECT whole, low32, low16, low8, CASE WHEN second % 256 > 127 THEN second % 256 - 256 ELSE second % 256 END FROM values_of
) AS other;
SELECT DISTINCT text FROM registers WHERE text IS DISTINCT FROM 'text in a register';

-- so have local variables, items of arrays, global variables, and text
SELECT m.* FROM (
    SELECT CAST(arg0 AS BIGINT) AS local, arg1 AS item, arg2 AS again, CAST(arg3 AS BIGINT) AS counter, CAST(at AS BIGINT) AS at,
        CAST(name AS VARCHAR) AS name, CAST(same AS VARCHAR) AS same FROM memory
) AS m
FULL JOIN values_of AS v ON v.counter = m.counter
WHERE (m.local IS DISTINCT FROM v.local) OR (m.item IS DISTINCT FROM v.item) OR (m.again IS DISTINCT FROM v.item)
    OR (m.at IS DISTINCT FROM v.counter) OR (m.name IS DISTINCT FROM v.name) OR (m.same IS DISTINCT FROM v.name);

-- each of the places has its own arguments
SELECT p.*, t.n AS times FROM (SELECT arg0, arg1, count(*) AS n FROM places_of GROUP BY 1, 2) AS t
FULL JOIN (SELECT CAST(arg0 AS BIGINT) AS arg0, CAST(arg1 AS BIGINT) AS arg1, count(*) AS n FROM places GROUP BY 1, 2) AS p
ON t.arg0 = p.arg0 AND coalesce(t.arg1, -1) = coalesce(p.arg1, -1)
WHERE t.n IS DISTINCT FROM p.n;
