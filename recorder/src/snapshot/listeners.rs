//! The sockets that listen now: network namespaces in, one row per listening TCP or MPTCP socket out, by the kernel's
//! sock_diag (which, unlike /proc/net/tcp, knows the backlog).

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

use super::{netns, processes};

const TCP: u16 = IPPROTO_TCP as u16;
const MPTCP: u16 = 262;
/// Attribute of a request: the protocol, where it does not fit into the header's byte.
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
/// The kernel fills buffers of up to 32 KiB.
const RECEIVE_BYTES: usize = 64 << 10;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Inode of its network namespace.
    pub netns: u32,
    /// Local address.
    pub addr: IpAddr,
    /// Local port.
    pub port: u16,
    /// Longest queue of connections not yet accepted.
    pub backlog: u32,
    /// IPv6 only; `None` for IPv4.
    pub v6only: Option<bool>,
    /// 6 = TCP, 262 = MPTCP.
    pub protocol: u16,
    /// Inode of the socket.
    pub inode: u64,
    /// Processes that hold it open, lowest id first; empty if none could be seen.
    pub pids: Vec<u32>,
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Found {
    /// The sockets, by namespace, port and inode.
    pub listeners: Vec<Listener>,
    /// One sentence per namespace that could not be entered.
    pub problems: Vec<String>,
}

/// All listening sockets of every namespace, or of those in `only` if it is not empty.
pub fn all(only: &[u32]) -> Found {
    let mut found = Found::default();
    let own = netns::inode_at("/proc/self/ns/net".as_ref()).ok();
    let mut hidden = 0;
    for (inode, path) in netns::all() {
        if !only.is_empty() && !only.contains(&inode) {
            continue;
        }
        let result = if own == Some(inode) { dump(inode) } else { dump_inside(inode, path) };
        match result {
            Ok(listeners) => found.listeners.extend(listeners),
            Err(error) if is_permission(&error) => hidden += 1,
            Err(error) => found.problems.push(format!("listeners of namespace {inode}: {error:#}")),
        }
    }
    if hidden > 0 {
        found.problems.push(format!(
            "listeners of {hidden} other network namespaces are not in the snapshot: entering them needs CAP_SYS_ADMIN"
        ));
    }
    let sockets: HashSet<u64> = found.listeners.iter().map(|listener| listener.inode).collect();
    if !sockets.is_empty() {
        let mut holders = processes::holders(&sockets);
        for listener in &mut found.listeners {
            listener.pids = holders.remove(&listener.inode).unwrap_or_default();
        }
    }
    found.listeners.sort_by_key(|l| (l.netns, l.port, l.inode));
    found
}

fn dump_inside(inode: u32, path: PathBuf) -> Result<Vec<Listener>> {
    netns::inside(&path, move || dump(inode))
}

fn is_permission(error: &anyhow::Error) -> bool {
    error.downcast_ref::<nix::Error>() == Some(&nix::Error::EPERM)
        || error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) == Some(libc::EACCES)
}

/// The listening sockets of this thread's namespace, whose inode is `netns`.
fn dump(netns: u32) -> Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("cannot open a sock_diag socket")?;
    socket.bind_auto().context("cannot bind a sock_diag socket")?;
    socket.connect(&SocketAddr::new(0, 0)).context("cannot connect to sock_diag")?;
    let mut found = BTreeMap::new();
    for family in [AF_INET, AF_INET6] {
        let mut rows = Vec::new();
        exchange(&socket, family, TCP, &mut rows)?;
        // A kernel without MPTCP, or without its mptcp_diag module, refuses this: then nobody listens so. The
        // listening subflow is in the TCP answer too, and its row gets the protocol that the program asked for.
        let _ = exchange(&socket, family, MPTCP, &mut rows);
        for (protocol, response) in rows {
            let listener = listener(netns, protocol, &response);
            found.insert(listener.inode, listener);
        }
    }
    Ok(found.into_values().collect())
}

fn listener(netns: u32, protocol: u16, response: &InetResponse) -> Listener {
    let header = &response.header;
    let v6only = response.nlas.iter().find_map(|nla| match nla {
        Nla::SkV6Only(v6only) => Some(*v6only),
        _ => None,
    });
    Listener {
        netns,
        addr: header.socket_id.source_address,
        port: header.socket_id.source_port,
        backlog: header.send_queue,
        v6only: v6only.filter(|_| header.family == AF_INET6),
        protocol,
        inode: u64::from(header.inode),
        pids: Vec::new(),
    }
}

/// Ask for the listening sockets of one family and protocol and collect the answers.
fn exchange(socket: &Socket, family: u8, protocol: u16, rows: &mut Vec<(u16, InetResponse)>) -> Result<()> {
    socket.send(&request(family, protocol), 0).context("cannot ask sock_diag")?;
    let mut buffer: Vec<u8> = Vec::with_capacity(RECEIVE_BYTES);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0).context("no answer from sock_diag")?;
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .context("cannot read the answer of sock_diag")?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    rows.push((protocol, *response));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    return Err(error.to_io()).context("sock_diag refuses to list listening sockets");
                }
                _ => {}
            }
            let length = (message.header.length as usize).next_multiple_of(4);
            if length == 0 {
                bail!("sock_diag gave an empty message");
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn request(family: u8, protocol: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: u8::try_from(protocol).unwrap_or(IPPROTO_TCP),
        extensions: ExtensionFlags::empty(),
        states: StateFlags::LISTEN,
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    if protocol > u16::from(u8::MAX) {
        bytes.extend(8u16.to_ne_bytes());
        bytes.extend(INET_DIAG_REQ_PROTOCOL.to_ne_bytes());
        bytes.extend(u32::from(protocol).to_ne_bytes());
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn own_listeners_are_found_with_port_backlog_and_process() {
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        let own = netns::inode_at("/proc/self/ns/net".as_ref()).unwrap();
        let found = all(&[own]);
        assert_eq!(found.problems, Vec::<String>::new());
        // The kernel makes a socket bound to an IPv6 address other than :: an IPv6-only one.
        for (socket, v6only) in [(&v4, None), (&v6, Some(true))] {
            let addr = socket.local_addr().unwrap();
            let listener = found
                .listeners
                .iter()
                .find(|l| l.addr == addr.ip() && l.port == addr.port())
                .unwrap_or_else(|| panic!("{addr} is not in {found:?}"));
            // The standard library listens with a backlog of 128, or -1 for the largest, by version.
            assert!(listener.backlog >= 128, "{listener:?}");
            assert_eq!(
                (listener.netns, listener.protocol, listener.v6only, &listener.pids[..]),
                (own, TCP, v6only, &[std::process::id()][..])
            );
        }
    }
}
