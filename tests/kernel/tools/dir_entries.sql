-- @tests filelife, filegone

-- each file lived as long, with these names, as was done to it, and no other file did
SELECT l.name, l.ino, l.how, l.min_ms, f.name AS my_name, f.ino AS my_ino, f.last_name, f.how AS my_how, f.life_ns
FROM lives AS l FULL JOIN (SELECT * FROM file_lives() WHERE comm <> 'recorder') AS f
ON l.ino = f.ino AND l.name = f.name AND l.last_name = f.last_name AND l.how = f.how
WHERE f.life_ns IS NULL OR l.min_ms IS NULL OR f.life_ns < l.min_ms * 1000000 OR f.end_comm IS NULL;
-- all of them
SELECT count(*) FROM lives HAVING count(*) <> 25;
-- each name that is gone has its reason
SELECT g.*, found FROM gone AS g LEFT JOIN (
    SELECT how, name, coalesce(new_name, '') AS new_name, coalesce(error, '') AS error, count(*) AS found
    FROM files_gone(only => 'all') GROUP BY 1, 2, 3, 4
) AS f
ON f.how = g.how AND f.name = g.name AND f.new_name = coalesce(g.new_name, '') AND f.error = coalesce(g.error, '')
WHERE g.times IS DISTINCT FROM found;
-- and the short ones were all removed by rm
SELECT * FROM (SELECT count(*) AS n FROM files_gone(like => 'short-%') WHERE how = 'removed' AND comm = 'rm' AND links_left = 0) AS s WHERE n <> 20;
-- of two names one was left
SELECT * FROM (SELECT count(*) AS n FROM files_gone() WHERE (name = 'one' AND links_left = 1) OR (name = 'two' AND links_left = 0)) AS s WHERE n <> 2;
-- RENAME_NOREPLACE is refused before the file system is asked; an exchange is told by its flag and both names
SELECT * FROM (SELECT count(*) AS n FROM dir_entries WHERE ev = 'rename' AND flags = 2 AND name = 'left' AND new_name = 'right' AND ret = 0) AS s WHERE n <> 1;
