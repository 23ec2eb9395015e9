-- @tests sofdsnoop, swapin, mdflush, virtiostat
-- @tool sofdsnoop: sofdsnoop | recorder record 'sent=fn:__scm_send{ count=p->fp->count, ino0=p->fp->fp[0]->f_inode->i_ino, ino1=p->fp->fp[1]->f_inode->i_ino, ino2=p->fp->fp[2]->f_inode->i_ino, name0=p->fp->fp[0]->f_path.dentry->d_name.name:string[31], name1=p->fp->fp[1]->f_path.dentry->d_name.name:string[31], name2=p->fp->fp[2]->f_path.dentry->d_name.name:string[31] } if count > 0' 'received=fn:scm_detach_fds{ count=entry(scm->fp->count), ino0=entry(scm->fp->fp[0]->f_inode->i_ino), ino1=entry(scm->fp->fp[1]->f_inode->i_ino), ino2=entry(scm->fp->fp[2]->f_inode->i_ino), name0=entry(scm->fp->fp[0]->f_path.dentry->d_name.name):string[31], name1=entry(scm->fp->fp[1]->f_path.dentry->d_name.name):string[31], name2=entry(scm->fp->fp[2]->f_path.dentry->d_name.name):string[31] }' -d 60 | analyze sql x.trace "SELECT ts, pid, comm, 'sent' AS way, count, 0 AS nth, ino0 AS ino, name0 AS name FROM sent WHERE count > 0 UNION ALL SELECT ts, pid, comm, 'sent', count, 1, ino1, name1 FROM sent WHERE count > 1 UNION ALL SELECT ts, pid, comm, 'sent', count, 2, ino2, name2 FROM sent WHERE count > 2 UNION ALL SELECT ts, pid, comm, 'received', count, 0, ino0, name0 FROM received WHERE count > 0 UNION ALL SELECT ts, pid, comm, 'received', count, 1, ino1, name1 FROM received WHERE count > 1 UNION ALL SELECT ts, pid, comm, 'received', count, 2, ino2, name2 FROM received WHERE count > 2 ORDER BY ts, nth"
--     Looks at sendmsg and recvmsg only, and tells numbers of descriptors, which mean something in one of the processes; here it is the
--     files that pass, by inode and name, whichever call it is. Of each message the first three; count is how many it has, and of
--     those that are received some are thrown away if there is no room for them. Files without a name (sockets) have none.
-- @tool swapin: swapin.bt | recorder record 'swap_faults=fn:do_swap_page{ address=vmf->address, result=retval, dur }' -d 60 | analyze sql x.trace "SELECT date_trunc('second', ts) AS second, comm, pid, count(*) FILTER (WHERE result & 1028 <> 0) AS waited, count(*) FILTER (WHERE result & 1028 = 0) AS found, sum(dur_ns) AS took_ns, max(dur_ns) AS max_ns FROM swap_faults GROUP BY second, comm, pid ORDER BY second, waited DESC"
--     Counts pages that are read, also those that come along (readahead), in a function that has another name in each kernel. Here it
--     is who waits: faults that had to wait for a page from swap, those that found it in memory again, and how long they took. Of memory
--     of a process alone: tmpfs and shared memory come back by shmem_swapin_folio.
-- @tool mdflush: mdflush | recorder record 'flushes=tp:block:block_bio_queue{ dev, rwbs } if dev >= 0x900000 && dev < 0xa00000' -d 60 | analyze sql x.trace "SELECT ts, pid, comm, dev_name(dev) AS device, rwbs FROM flushes WHERE rwbs LIKE 'F%' ORDER BY ts"
--     Needs a function of the module that has changed twice. 0x900000 is the first device of md (major 9); without the condition it is
--     flushes of all devices. Tried on a virtual disk, whose flushes come by the same tracepoint; not on md.
-- @tool virtiostat: virtiostat 10 | recorder record 'requests=fn:virtqueue_add_sgs{ device=((struct virtqueue *)$arg1)->vdev->dev.kobj.name:string[31], queue=((struct virtqueue *)$arg1)->name:string[31], out_sgs=$arg3:u32, in_sgs=$arg4:u32, ret=retval:s32 }' -d 10 | analyze sql x.trace "SELECT device, queue, count(*) FILTER (WHERE ret = 0) AS requests, count(*) FILTER (WHERE ret < 0) AS full, sum(out_sgs) FILTER (WHERE ret = 0) AS out_sgs, sum(in_sgs) FILTER (WHERE ret = 0) AS in_sgs FROM requests GROUP BY device, queue ORDER BY requests DESC"
--     Counts requests that the queue had no room for, too. Disks, file systems and SCSI come this way; for network and consoles
--     record virtqueue_add_outbuf, virtqueue_add_inbuf and virtqueue_add_inbuf_ctx likewise. No bytes here: take block_io and packets.

-- each file that passed was sent and received once, in this order, and no message without any
SELECT t.message, t.nth, t.name, t.ino, f.*
FROM (SELECT p.message, p.nth, p.name, p.ino, w.way FROM passed AS p CROSS JOIN (SELECT 'sent' AS way UNION ALL SELECT 'received') AS w) AS t
FULL JOIN (
    SELECT way AS how, dense_rank() OVER (PARTITION BY way ORDER BY ts) AS at, nth AS place, ino AS file, name AS title
    FROM (SELECT ts, pid, comm, 'sent' AS way, count, 0 AS nth, ino0 AS ino, name0 AS name FROM sent WHERE count > 0
        UNION ALL SELECT ts, pid, comm, 'sent', count, 1, ino1, name1 FROM sent WHERE count > 1
        UNION ALL SELECT ts, pid, comm, 'sent', count, 2, ino2, name2 FROM sent WHERE count > 2
        UNION ALL SELECT ts, pid, comm, 'received', count, 0, ino0, name0 FROM received WHERE count > 0
        UNION ALL SELECT ts, pid, comm, 'received', count, 1, ino1, name1 FROM received WHERE count > 1
        UNION ALL SELECT ts, pid, comm, 'received', count, 2, ino2, name2 FROM received WHERE count > 2) AS files
    WHERE comm = 'fd_passer'
) AS f ON f.how = t.way AND f.at = t.message AND f.place = t.nth
WHERE (f.file IS DISTINCT FROM t.ino) OR (f.title IS DISTINCT FROM t.name);

-- there were six messages with twelve files
SELECT count(*) AS files FROM passed HAVING count(*) <> 12 OR count(DISTINCT message) <> 6;

-- each page of the memory that was in swap came back once
SELECT s.kib, f.pages FROM swapped AS s
LEFT JOIN (SELECT pid, count(DISTINCT address - address % 4096) AS pages FROM swap_faults JOIN (SELECT pid AS of, first, last FROM swapped) AS r ON pid = of AND address BETWEEN first AND last GROUP BY pid) AS f
ON f.pid = s.pid
WHERE f.pages IS NULL OR f.pages * 4 <> s.kib OR s.kib < 3072;

-- faults that waited are the major faults that the kernel counts for the process, and each took some time
SELECT s.faults, f.waited, f.least_ns FROM swapped AS s
LEFT JOIN (SELECT pid, count(*) AS waited, min(dur_ns) AS least_ns FROM swap_faults WHERE result & 1028 <> 0 GROUP BY pid) AS f ON f.pid = s.pid
WHERE (f.waited IS DISTINCT FROM s.faults) OR s.faults < 1 OR f.least_ns < 1;

-- flushes of the disk: one before a write, or without one, and another after it where the disk has no writes that flush themselves;
-- fewer rows only where the kernel skipped the probe while it recorded
SELECT d.flushes, f.before, f.after, l.skips FROM disk AS d
CROSS JOIN (SELECT count(*) AS skips FROM losses CROSS JOIN traces WHERE event = 'flushes' AND ts > start_ts) AS l
LEFT JOIN (
    SELECT dev_name(dev) AS device, count(*) FILTER (WHERE rwbs LIKE 'F%') AS before, count(*) FILTER (WHERE rwbs LIKE '_%F%') AS after FROM flushes GROUP BY device
) AS f ON f.device = d.dev
WHERE f.before IS NULL OR d.flushes < f.before OR l.skips = 0 AND (f.before < 5 OR d.flushes > f.before + f.after);

-- requests that give the device memory to fill are the reads of the disk, those without data its flushes
SELECT d.reads, d.flushes, r.*, l.skips FROM disk AS d
CROSS JOIN (SELECT count(*) AS skips FROM losses CROSS JOIN traces WHERE event = 'requests' AND ts > start_ts) AS l
LEFT JOIN (
    SELECT device AS of, count(*) FILTER (WHERE in_sgs = 2) AS filled, count(*) FILTER (WHERE out_sgs = 1 AND in_sgs = 1) AS empty, count(DISTINCT queue) AS queues
    FROM requests WHERE ret = 0 GROUP BY device
) AS r ON r.of = d.device
WHERE r.of IS NULL OR r.filled > d.reads OR r.empty > d.flushes OR d.reads < 100 OR d.flushes < 5 OR r.queues < 1
    OR l.skips = 0 AND (r.filled < d.reads OR r.empty < d.flushes);
