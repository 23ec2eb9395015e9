//! What the kernel's symbols do not tell about its system calls: arch/x86/entry/syscalls/syscall_32.tbl and
//! io_uring/opdef.c of Linux 6.18, as far as they differ from what the names say.

/// Calls whose work 32-bit programs ask for by a call of another name too.
pub(super) const OTHER_NAMES: &[(&str, &str)] = &[
    ("fcntl", "fcntl64"),
    ("fstatfs", "fstatfs64"),
    ("ftruncate", "ftruncate64"),
    ("lseek", "_llseek"),
    ("mmap", "mmap2"),
    ("newfstat", "fstat64"),
    ("newfstatat", "fstatat64"),
    ("newlstat", "lstat64"),
    ("newstat", "stat64"),
    ("select", "the old select"),
    ("sendfile64", "sendfile"),
    ("statfs", "statfs64"),
    ("truncate", "truncate64"),
    ("wait4", "waitpid"),
];

/// Calls whose 32-bit function has other arguments, or other ones at the same place: a 64-bit number takes two.
/// (Functions with `ia32_` in their name have, too.)
pub(super) const OTHER_ARGUMENTS: &[&str] = &["fanotify_mark", "mmap", "semctl"];

/// Calls that are parts of the 32-bit call socketcall too.
pub(super) const OF_SOCKETCALL: &[&str] = &[
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recv",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "send",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "socket",
    "socketpair",
];

/// Calls that are parts of the 32-bit call ipc too.
pub(super) const OF_IPC: &[&str] = &[
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
];

/// Requests of io_uring, and the calls whose work they do.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("IORING_OP_READV", &["readv", "preadv", "preadv2"]),
    ("IORING_OP_WRITEV", &["writev", "pwritev", "pwritev2"]),
    ("IORING_OP_FSYNC", &["fsync", "fdatasync"]),
    ("IORING_OP_SYNC_FILE_RANGE", &["sync_file_range"]),
    ("IORING_OP_SENDMSG", &["sendmsg"]),
    ("IORING_OP_RECVMSG", &["recvmsg"]),
    ("IORING_OP_ACCEPT", &["accept", "accept4"]),
    ("IORING_OP_CONNECT", &["connect"]),
    ("IORING_OP_FALLOCATE", &["fallocate"]),
    ("IORING_OP_OPENAT", &["openat", "open", "creat"]),
    ("IORING_OP_CLOSE", &["close"]),
    ("IORING_OP_STATX", &["statx"]),
    ("IORING_OP_READ", &["read", "pread64"]),
    ("IORING_OP_WRITE", &["write", "pwrite64"]),
    ("IORING_OP_FADVISE", &["fadvise64"]),
    ("IORING_OP_MADVISE", &["madvise"]),
    ("IORING_OP_SEND", &["sendto"]),
    ("IORING_OP_RECV", &["recvfrom"]),
    ("IORING_OP_OPENAT2", &["openat2"]),
    ("IORING_OP_EPOLL_CTL", &["epoll_ctl"]),
    ("IORING_OP_EPOLL_WAIT", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    ("IORING_OP_POLL_ADD", &["poll", "ppoll"]),
    ("IORING_OP_SPLICE", &["splice"]),
    ("IORING_OP_TEE", &["tee"]),
    ("IORING_OP_SHUTDOWN", &["shutdown"]),
    ("IORING_OP_RENAMEAT", &["renameat2", "renameat", "rename"]),
    ("IORING_OP_UNLINKAT", &["unlinkat", "unlink", "rmdir"]),
    ("IORING_OP_MKDIRAT", &["mkdirat", "mkdir"]),
    ("IORING_OP_SYMLINKAT", &["symlinkat", "symlink"]),
    ("IORING_OP_LINKAT", &["linkat", "link"]),
    ("IORING_OP_FSETXATTR", &["fsetxattr"]),
    ("IORING_OP_SETXATTR", &["setxattr"]),
    ("IORING_OP_FGETXATTR", &["fgetxattr"]),
    ("IORING_OP_GETXATTR", &["getxattr"]),
    ("IORING_OP_SOCKET", &["socket"]),
    ("IORING_OP_WAITID", &["waitid", "wait4"]),
    ("IORING_OP_FUTEX_WAIT", &["futex_wait", "futex"]),
    ("IORING_OP_FUTEX_WAKE", &["futex_wake", "futex"]),
    ("IORING_OP_FUTEX_WAITV", &["futex_waitv"]),
    ("IORING_OP_FTRUNCATE", &["ftruncate"]),
    ("IORING_OP_BIND", &["bind"]),
    ("IORING_OP_LISTEN", &["listen"]),
    ("IORING_OP_PIPE", &["pipe2", "pipe"]),
];

/// The request that does the work of `call`.
pub(super) fn operation(call: &str) -> Option<&'static str> {
    OPERATIONS.iter().find(|(_, calls)| calls.contains(&call)).map(|(operation, _)| *operation)
}
