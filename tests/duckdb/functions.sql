-- What analyze adds to SQL, once more for DuckDB; the analyses themselves are the same text in both engines.
CREATE MACRO ns(t) AS epoch_ns(t);
CREATE MACRO utc(n) AS CAST(make_timestamp_ns(n) AS TIMESTAMPTZ_NS);
CREATE MACRO log2_floor(n) AS CASE WHEN n < 2 THEN 0 ELSE length(ltrim(bin(n), '0')) - 1 END;
CREATE MACRO symbol(a) AS coalesce(
    (SELECT min(name || CASE WHEN offset_bytes <> 0 THEN printf('+0x%x', offset_bytes) ELSE '' END
        || coalesce(' [' || module || ']', '')) FROM symbols WHERE addr = a),
    printf('0x%x', a));
CREATE VIEW stack_frames AS
    SELECT stack_id, unnest(frames) AS frame, generate_subscripts(frames, 1) AS depth FROM stacks;
CREATE MACRO stack_text(id) AS
    (SELECT string_agg(symbol(frame), ' <- ' ORDER BY depth) FROM stack_frames WHERE stack_frames.stack_id = id);
CREATE MACRO percentile(x, share) AS quantile_disc(x, share);
CREATE MACRO histogram_text(counts) AS
    array_to_string(list_transform(map_entries(counts), lambda e: concat(e.key, ':', e.value)), ' ');
CREATE MACRO log2_histogram(x) AS histogram_text(histogram(log2_floor(x)));
CREATE MACRO linear_histogram(x, width) AS histogram_text(histogram(x - ((x % width) + width) % width));
CREATE MACRO function_of(a) AS
    coalesce((SELECT min(name) FROM symbols WHERE addr = a), printf('0x%x', a));
CREATE MACRO stack_fold(id) AS
    (SELECT string_agg(function_of(frame), chr(59) ORDER BY depth DESC) FROM stack_frames WHERE stack_frames.stack_id = id);
CREATE MACRO container(id) AS (SELECT min(container_id) FROM cgroups WHERE cgroup_id = id);
CREATE MACRO dev_name(dev) AS CAST(dev >> 20 AS VARCHAR) || ':' || CAST(dev & 1048575 AS VARCHAR);
CREATE MACRO syscall_name(nr) AS CASE nr
    WHEN 0 THEN 'read' WHEN 35 THEN 'nanosleep' WHEN 219 THEN 'restart_syscall' WHEN 231 THEN 'exit_group'
    ELSE CAST(nr AS VARCHAR) END;
CREATE MACRO ip(a) AS CASE WHEN a LIKE '::ffff:%.%' THEN substr(a, 8) ELSE a END;
CREATE MACRO ip6_words(t) AS CASE WHEN t = '' THEN '' ELSE
    array_to_string(list_transform(string_split(t, ':'), lambda w: lpad(bin(CAST('0x' || w AS INTEGER)), 16, '0')), '') END;
CREATE MACRO ip_bits(a) AS CASE
    WHEN contains(a, '.') THEN array_to_string(list_transform(string_split(a, '.'), lambda b: lpad(bin(CAST(b AS INTEGER)), 8, '0')), '')
    WHEN contains(a, '::') THEN ip6_words(split_part(a, '::', 1))
        || repeat('0', 128 - length(ip6_words(trim(replace(a, '::', ':'), ':'))))
        || ip6_words(split_part(a, '::', 2))
    ELSE ip6_words(a) END;
CREATE MACRO in_net(a, net) AS contains(ip(a), '.') = contains(net, '.')
    AND left(ip_bits(ip(a)), CAST(split_part(net, '/', 2) AS INTEGER))
        = left(ip_bits(split_part(net, '/', 1)), CAST(split_part(net, '/', 2) AS INTEGER));
CREATE MACRO errno_name(ret) AS CASE
    WHEN ret BETWEEN -40 AND -1 THEN split_part(
        'EPERM,ENOENT,ESRCH,EINTR,EIO,ENXIO,E2BIG,ENOEXEC,EBADF,ECHILD,EAGAIN,ENOMEM,EACCES,EFAULT,ENOTBLK,EBUSY,EEXIST,EXDEV,'
        || 'ENODEV,ENOTDIR,EISDIR,EINVAL,ENFILE,EMFILE,ENOTTY,ETXTBSY,EFBIG,ENOSPC,ESPIPE,EROFS,EMLINK,EPIPE,EDOM,ERANGE,EDEADLK,'
        || 'ENAMETOOLONG,ENOLCK,ENOSYS,ENOTEMPTY,ELOOP', ',', CAST(-ret AS INTEGER))
    WHEN ret < 0 THEN CAST(ret AS VARCHAR) END;
CREATE MACRO signal_name(n) AS CASE
    WHEN n BETWEEN 1 AND 31 THEN 'SIG' || split_part(
        'HUP,INT,QUIT,ILL,TRAP,ABRT,BUS,FPE,KILL,USR1,SEGV,USR2,PIPE,ALRM,TERM,STKFLT,CHLD,CONT,STOP,TSTP,TTIN,TTOU,URG,XCPU,XFSZ,VTALRM,PROF,WINCH,IO,PWR,SYS',
        ',', CAST(n AS INTEGER))
    ELSE CAST(n AS VARCHAR) END;
