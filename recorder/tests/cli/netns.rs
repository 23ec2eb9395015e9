//! Network namespaces are told apart although the kernel gives their inodes again. The truth is the inode of
//! /proc/thread-self/ns/net and what SO_NETNS_COOKIE says, asked by this test.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::sandbox::{Sandbox, Table};

/// A namespace with a listening socket, in a thread of its own.
struct Listening {
    inode: u64,
    cookie: u64,
    port: u16,
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Listening {
    /// `has_process`: another process is in it too, by which it can be found.
    fn start(has_process: bool) -> Self {
        let (tell, told) = channel();
        let (end, ended): (Sender<()>, Receiver<()>) = channel();
        let thread = std::thread::spawn(move || {
            // SAFETY: moves this thread only, which ends with the namespace.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "a network namespace takes root");
            let inode = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
            let socket = TcpListener::bind("0.0.0.0:0").unwrap();
            let process = has_process.then(|| Command::new("sleep").arg("600").spawn().unwrap());
            tell.send((inode, cookie_of(&socket), socket.local_addr().unwrap().port())).unwrap();
            // Until the other side goes.
            let _ = ended.recv();
            if let Some(mut process) = process {
                process.kill().unwrap();
                process.wait().unwrap();
            }
        });
        let (inode, cookie, port) = told.recv().unwrap();
        Self { inode, cookie, port, end, thread }
    }

    fn end(self) {
        drop(self.end);
        self.thread.join().unwrap();
    }
}

fn cookie_of(socket: &TcpListener) -> u64 {
    let (mut cookie, mut length) = (0u64, 8u32);
    // SAFETY: both pointers are to local variables, and the length is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0);
    cookie
}

#[test]
fn two_namespaces_that_had_one_inode_have_two_cookies() {
    let sandbox = Sandbox::for_recording();
    let before = Listening::start(true);
    let own = std::process::id().to_string();
    let mut running = sandbox.start(&["record", "listens", "-p", &own, "-o", "t"]);
    let first = Listening::start(false);
    let (inode, mut expected) = (first.inode, BTreeSet::from([(first.cookie, first.port)]));
    first.end();
    // The kernel gives the lowest free inode, once it has cleaned up, or somebody else has it for now.
    let mut others = Vec::new();
    while expected.len() < 2 {
        let next = Listening::start(false);
        if next.inode == inode {
            expected.insert((next.cookie, next.port));
            next.end();
        } else {
            others.push(next);
            assert!(others.len() < 1000, "inode {inode} does not come again");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    running.signal(libc::SIGINT);
    assert_eq!(running.wait(), Some(0), "{}", running.stderr());
    let table = Table::read(&sandbox.path("t"), "listens");
    let (ev, netns) = (table.text("ev"), table.integers("netns"));
    let (cookies, ports) = (table.integers("netns_cookie"), table.integers("port"));
    let found = |kind: &str, inode: u64| -> BTreeSet<(u64, u16)> {
        let rows = (0..table.len()).filter(|&i| ev[i] == kind && netns[i] == Some(i128::from(inode)));
        rows.map(|i| (cookies[i].unwrap() as u64, ports[i].unwrap() as u16)).collect()
    };
    assert_eq!(found("listen", inode), expected);
    assert_eq!(found("stop", inode), expected);
    assert_eq!(found("snapshot", before.inode), BTreeSet::from([(before.cookie, before.port)]));
    for listening in others.into_iter().chain([before]) {
        listening.end();
    }
}
