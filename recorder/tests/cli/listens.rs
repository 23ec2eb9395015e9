//! Listening sockets: those that were there before, and those of other network namespaces.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::sandbox::{Sandbox, Table};

#[test]
fn sockets_that_listen_already_are_in_the_trace_as_snapshot() {
    let sandbox = Sandbox::for_recording();
    let sockets = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap()];
    let own = std::process::id().to_string();
    sandbox.expect(0, &["record", "listens", "-o", "t", "-d", "200ms", "-p", &own]);
    let table = Table::read(&sandbox.path("t"), "listens");
    let rows: Vec<_> = table.text("ev").into_iter().zip(table.text("pid")).zip(table.text("port")).collect();
    for socket in sockets {
        let port = socket.local_addr().unwrap().port().to_string();
        let expected = (("snapshot".to_owned(), own.clone()), port);
        assert_eq!(rows.iter().filter(|row| **row == expected).count(), 1, "{expected:?} in {rows:?}");
    }
    let probes = Table::read(&sandbox.path("t"), "probes");
    assert_eq!(probes.count("kind", "snapshot"), 3, "cgroups, processes and sockets");
}

#[test]
fn the_first_listen_of_a_child_is_recorded() {
    let sandbox = Sandbox::for_recording();
    let script =
        "import socket; s=socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(7); print(s.getsockname()[1])";
    let Ok(python) = Command::new("python3").arg("-V").stdout(Stdio::null()).status() else {
        panic!("this test needs python3");
    };
    assert!(python.success());
    let port = sandbox.expect(0, &["record", "listens", "-o", "t", "--", "python3", "-c", script]).out;
    let table = Table::read(&sandbox.path("t"), "listens");
    let listens: Vec<usize> = (0..table.len()).filter(|i| table.text("ev")[*i] == "listen").collect();
    assert_eq!(listens.len(), 1);
    assert_eq!(table.text("port")[listens[0]], port.trim());
    assert_eq!(table.text("backlog")[listens[0]], "7");
    assert_eq!(table.text("addr")[listens[0]], "127.0.0.1");
}

/// Listens in a network namespace of its own, says which, and ends when its standard input does.
const LISTENER: &str = "import os, socket, sys
s = socket.socket(socket.AF_INET6); s.bind(('::', 7777)); s.listen(9)
print(os.stat('/proc/self/ns/net').st_ino, flush=True); sys.stdin.read()";

#[test]
fn listeners_of_other_namespaces_have_the_inode_of_theirs() {
    let sandbox = Sandbox::for_recording();
    let args = ["record", "listens", "-o", "t", "--", "unshare", "-n", "python3", "-c", LISTENER];
    let netns = sandbox.expect(0, &args).out.trim().to_owned();
    let table = Table::read(&sandbox.path("t"), "listens");
    assert_eq!(table.text("netns")[0], netns);
    assert_eq!((table.text("addr")[0].as_str(), table.text("port")[0].as_str()), ("::", "7777"));

    let mut child = Command::new("unshare")
        .args(["-n", "python3", "-c", LISTENER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let pid = child.id().to_string();
    for (trace, netns, expected) in [("a", line.trim(), 1), ("b", "4294967295", 0)] {
        sandbox.expect(0, &["record", "listens", "-o", trace, "-d", "100ms", "-p", &pid, "--netns", netns]);
        let table = Table::read(&sandbox.path(trace), "listens");
        assert_eq!(table.len(), expected, "--netns {netns}");
        if expected == 1 {
            assert_eq!(
                (table.text("netns"), table.text("backlog")),
                (vec![netns.to_owned()], vec!["9".to_owned()])
            );
            assert_eq!(
                (table.text("pid"), table.text("ev")),
                (vec![pid.clone()], vec!["snapshot".to_owned()])
            );
        }
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}
