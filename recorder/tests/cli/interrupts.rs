//! What happens in interrupts is nobody's: packets of a known sender, which the kernel receives in a soft interrupt of the
//! sender itself. The truth is how many it sent, and its gettid(2).

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::thread;

use crate::sandbox::{Sandbox, Table};

const PACKETS: usize = 300;
const SENT: &str = "sent=tp:net:net_dev_queue{ bytes=skb->len }";
const RECEIVED: &str = "received=tp:net:netif_receive_skb{ bytes=skb->len, id=$pid, group=$cgroup_id, name=$comm, ns=$netns, up=$task->pid }";

/// Send datagrams to itself, in a network namespace of its own, while `recorder ARGS...` records; `{netns}` is its inode.
/// Gives the sender's thread.
fn send(sandbox: &Sandbox, args: &[&str]) -> u32 {
    let (there, inode) = mpsc::channel();
    let (go, started) = mpsc::channel::<()>();
    let sender = thread::spawn(move || {
        // SAFETY: concerns this thread only; asks for a number; a socket and a request that is as long as it must be.
        let tid = unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWNET), 0, "{}", std::io::Error::last_os_error());
            libc::gettid()
        };
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // SAFETY: a structure of integers, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = libc::IFF_UP as i16;
        // SAFETY: see above.
        assert_eq!(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }, 0);
        there.send(fs::metadata("/proc/thread-self/ns/net").unwrap().ino().to_string()).unwrap();
        started.recv().unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut buffer = [0; 100];
        for _ in 0..PACKETS {
            socket.send_to(&[1; 100], ("127.0.0.1", port)).unwrap();
            assert_eq!(socket.recv(&mut buffer).unwrap(), 100);
        }
        tid.cast_unsigned()
    });
    let netns = inode.recv().unwrap();
    let args: Vec<String> = args.iter().map(|arg| arg.replace("{netns}", &netns)).collect();
    let mut running = sandbox.start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    go.send(()).unwrap();
    let tid = sender.join().unwrap();
    running.signal(libc::SIGINT);
    running.wait();
    tid
}

#[test]
fn a_packet_that_is_received_in_an_interrupt_is_of_no_process() {
    let sandbox = Sandbox::for_recording();
    // Conditions of its own, because the thread's network namespace is nothing in an interrupt.
    let received = format!("{RECEIVED} if skb->dev->nd_net.net->ns.inum == {{netns}}");
    let sent = format!("{SENT} if skb->dev->nd_net.net->ns.inum == {{netns}}");
    let tid = send(&sandbox, &["record", &sent, &received, "packets", "--netns", "{netns}", "-o", "both"]);
    let tables = ["packets", "sent"].map(|table| Table::read(&sandbox.path("both"), table));
    let [packets, sent] = &tables;
    assert_eq!((packets.len(), packets.count("ctx", "softirq")), (PACKETS, PACKETS));
    for column in ["pid", "tid"] {
        assert_eq!(packets.count(column, "NULL"), PACKETS, "{column}");
    }
    // A filter by the thread's namespace lets nothing pass that is no thread's.
    assert_eq!(Table::read(&sandbox.path("both"), "received").len(), 0);
    assert_eq!((sent.len(), sent.count("ctx", "task")), (PACKETS, PACKETS));
    assert_eq!(sent.count("tid", &tid.to_string()), PACKETS);
    assert_eq!(sent.count("pid", &std::process::id().to_string()), PACKETS);
}

#[test]
fn in_an_interrupt_all_that_tells_of_the_current_task_is_null() {
    let sandbox = Sandbox::for_recording();
    let received = format!("{RECEIVED} if skb->dev->nd_net.net->ns.inum == {{netns}}");
    send(&sandbox, &["record", &received, "--stacks", "user", "-o", "t"]);
    let table = Table::read(&sandbox.path("t"), "received");
    assert_eq!((table.len(), table.count("ctx", "softirq")), (PACKETS, PACKETS));
    for column in ["pid", "tid", "comm", "cgroup_id", "ustack", "id", "group", "name", "ns", "up"] {
        assert_eq!(table.count(column, "NULL"), PACKETS, "{column}");
    }
    // That is no failure to read.
    assert_eq!(table.count("faults", "0"), PACKETS);
}

#[test]
fn filters_by_process_do_not_take_what_interrupts_a_process_for_it() {
    let sandbox = Sandbox::for_recording();
    let own = std::process::id().to_string();
    let (received, sent) = (
        format!("{RECEIVED} if skb->dev->nd_net.net->ns.inum == {{netns}}"),
        format!("{SENT} if skb->dev->nd_net.net->ns.inum == {{netns}}"),
    );
    send(&sandbox, &["record", &sent, &received, "-p", &own, "-o", "t"]);
    let rows = |table: &str| Table::read(&sandbox.path("t"), table).len();
    assert_eq!((rows("sent"), rows("received")), (PACKETS, 0));
}
