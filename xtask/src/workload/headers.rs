//! Packets whose upper-layer header is not where a glance would find it: behind extension headers and options, in
//! fragments, encrypted, cut short, or not in one piece in the kernel's memory.
//!
//! The kernel itself makes some of them (sticky options, fragments of datagrams); the ports of those are what the socket
//! says. The others are written byte by byte. All come from addresses that nothing is routed to, so none is answered.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::netns::{Netns, in_receives, set_loopback_mtu, socket};

/// Where.
#[derive(clap::Args)]
pub struct Options {
    /// Namespace to send in, as path [default: a new one]
    #[arg(long)]
    pub netns: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub netns: u32,
    pub packets: Vec<Packet>,
    /// By how much `InReceives` of /proc/net/snmp grew, and `Ip6InReceives` of snmp6.
    pub in_receives_v4: u64,
    pub in_receives_v6: u64,
}

/// What is to be seen of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Packet {
    pub saddr: Option<String>,
    pub proto: Option<u8>,
    pub upper: String,
    pub ports: Option<(u16, u16)>,
    pub tcp_flags: Option<u8>,
}

/// So that datagrams become fragments, and larger packets than a page are still possible.
const MTU: u16 = 8000;
const SPORT: u16 = 40_001;
const DPORT: u16 = 40_002;
const SYN_ACK: u8 = 0x12;

const HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ESP: u8 = 50;
const AH: u8 = 51;
const ICMP6: u8 = 58;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

pub fn run(options: &Options) -> Result<Truth> {
    let home = Netns::current()?;
    let space = match &options.netns {
        Some(path) => Netns::open(path)?,
        None => Netns::new()?,
    };
    space.enter()?;
    set_loopback_mtu(MTU)?;
    let (v4_before, v6_before) = in_receives()?;
    let mut packets = Vec::new();
    datagrams(&mut packets)?;
    written_v6(&mut packets)?;
    written_v4(&mut packets)?;
    in_pieces(&mut packets)?;
    // On the loopback a packet is received before send returns, or in a softirq right after.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let (v4_after, v6_after) = in_receives()?;
    home.enter()?;
    let (in_receives_v4, in_receives_v6) = (v4_after - v4_before, v6_after - v6_before);
    Ok(Truth { netns: space.inode, packets, in_receives_v4, in_receives_v6 })
}

/// Datagrams with headers that the kernel makes.
fn datagrams(packets: &mut Vec<Packet>) -> Result<()> {
    const IPV6_HOPOPTS: i32 = 54;
    const IPV6_DSTOPTS: i32 = 59;
    let (short, long) = (vec![b'k'; 100], vec![b'k'; 20_000]);
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let cases: [(std::net::IpAddr, &[i32], &[u8]); 6] = [
        (v6, &[IPV6_HOPOPTS, IPV6_DSTOPTS], &short),
        (v6, &[], &long),
        (v6, &[IPV6_HOPOPTS], &long),
        (v6, &[IPV6_DSTOPTS], &long),
        (v4, &[], &short),
        (v4, &[], &long),
    ];
    for (addr, options, payload) in cases {
        let receiver = UdpSocket::bind((addr, 0)).context("cannot bind the receiver")?;
        let sender = UdpSocket::bind((addr, 0)).context("cannot bind the sender")?;
        for option in options {
            // Next header (set by the kernel), length, PadN of four bytes.
            set(sender.as_raw_fd(), libc::IPPROTO_IPV6, *option, &[0, 0, 1, 4, 0, 0, 0, 0])?;
        }
        let to = receiver.local_addr()?;
        sender.send_to(payload, to).context("cannot send")?;
        let mut buffer = vec![0; payload.len() + 1];
        let (received, from): (usize, SocketAddr) =
            receiver.recv_from(&mut buffer).context("nothing came")?;
        ensure!(received == payload.len() && from == sender.local_addr()?, "another datagram came: {from}");
        let saddr = Some(addr.to_string());
        let ports = Some((from.port(), to.port()));
        packets.push(Packet { saddr: saddr.clone(), ports, ..found(UDP) });
        let per_fragment = usize::from(MTU) - if addr.is_ipv4() { 20 } else { 48 + 8 * options.len() };
        let fragments = (payload.len() + 8).div_ceil(per_fragment / 8 * 8);
        let rest = Packet { saddr, ..state(Some(UDP), "fragment") };
        packets.extend(std::iter::repeat_n(rest, fragments - 1));
    }
    Ok(())
}

fn state(proto: Option<u8>, upper: &str) -> Packet {
    Packet { saddr: None, proto, upper: upper.to_owned(), ports: None, tcp_flags: None }
}

/// The header is there; with the ports and flags of [`udp`] and [`tcp`].
fn found(proto: u8) -> Packet {
    let ports = [TCP, UDP].contains(&proto).then_some((SPORT, DPORT));
    Packet { ports, tcp_flags: (proto == TCP).then_some(SYN_ACK), ..state(Some(proto), "found") }
}

fn udp() -> Vec<u8> {
    [&SPORT.to_be_bytes()[..], &DPORT.to_be_bytes(), &[0, 12, 0, 0], b"data"].concat()
}

fn tcp() -> Vec<u8> {
    [&SPORT.to_be_bytes()[..], &DPORT.to_be_bytes(), &[0; 8], &[0x50, SYN_ACK, 0, 9], &[0; 4]].concat()
}

/// An extension header of `units` times 8 bytes.
fn extension(next: u8, units: u8) -> Vec<u8> {
    let mut header = vec![next, units - 1, 1, 4];
    header.resize(usize::from(units) * 8, 0);
    header
}

fn fragment(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let at = offset << 3 | u16::from(more);
    [&[next, 0][..], &at.to_be_bytes(), &[0, 0, 0, 7]].concat()
}

/// Its length counts 4 bytes, less 2.
fn authentication(next: u8, bytes: u8) -> Vec<u8> {
    let mut header = vec![next, bytes / 4 - 2, 0, 0];
    header.resize(usize::from(bytes), 0xab);
    header
}

fn written_v6(packets: &mut Vec<Packet>) -> Result<()> {
    let chain = |n: usize| -> Vec<u8> {
        let next = |i: usize| if i + 1 < n { DESTINATION } else { UDP };
        (0..n).flat_map(|i| extension(next(i), 1)).chain(udp()).collect()
    };
    // First next header, what follows, what is to be seen.
    let cases: Vec<(u8, Vec<u8>, Packet)> = vec![
        (UDP, udp(), found(UDP)),
        (TCP, tcp(), found(TCP)),
        (HOP, [extension(ICMP6, 1), vec![143, 0, 0, 0, 0, 0, 0, 0]].concat(), found(ICMP6)),
        (
            HOP,
            [extension(ROUTING, 3), extension(DESTINATION, 2), extension(TCP, 31), tcp()].concat(),
            found(TCP),
        ),
        (AH, [authentication(UDP, 24), udp()].concat(), found(UDP)),
        (DESTINATION, [extension(AH, 1), authentication(TCP, 16), tcp()].concat(), found(TCP)),
        (ESP, vec![9; 40], state(Some(ESP), "encrypted")),
        (HOP, [extension(ESP, 1), vec![9; 40]].concat(), state(Some(ESP), "encrypted")),
        (NO_NEXT, vec![], state(Some(NO_NEXT), "none")),
        (DESTINATION, [extension(NO_NEXT, 1), udp()].concat(), state(Some(NO_NEXT), "none")),
        (MOBILITY, extension(NO_NEXT, 2), found(MOBILITY)),
        (HIP, extension(NO_NEXT, 5), found(HIP)),
        (SHIM6, [extension(UDP, 1), udp()].concat(), found(UDP)),
        (DESTINATION, chain(8), found(UDP)),
        (DESTINATION, chain(9), state(None, "too_many")),
        (FRAGMENT, [fragment(UDP, 0, true), udp(), vec![0; 4]].concat(), found(UDP)),
        (FRAGMENT, [fragment(TCP, 0, false), tcp()].concat(), found(TCP)),
        (FRAGMENT, [fragment(UDP, 3, false), udp()].concat(), state(Some(UDP), "fragment")),
        (
            FRAGMENT,
            [fragment(DESTINATION, 3, true), extension(UDP, 1), udp()].concat(),
            state(None, "fragment"),
        ),
        (FRAGMENT, [fragment(ESP, 3, false), udp()].concat(), state(Some(ESP), "fragment")),
        // Tiny first fragments: part of the header, and only an extension header.
        (FRAGMENT, [fragment(TCP, 0, true), tcp()[..16].to_vec()].concat(), state(Some(TCP), "cut")),
        (FRAGMENT, [fragment(DESTINATION, 0, true), extension(TCP, 1)].concat(), state(Some(TCP), "cut")),
        (UDP, udp()[..7].to_vec(), state(Some(UDP), "cut")),
        (UDP, vec![], state(Some(UDP), "cut")),
        (HOP, vec![UDP, 0, 1], state(None, "cut")),
        // More options than there are bytes.
        (HOP, [vec![UDP, 200], vec![0; 6], udp()].concat(), state(Some(UDP), "cut")),
        (HOP, [vec![DESTINATION, 200], vec![0; 6], udp()].concat(), state(None, "cut")),
        (4, vec![0x45; 40], found(4)),
        (41, vec![0x60; 40], found(41)),
        (47, vec![0; 8], found(47)),
        (132, [&SPORT.to_be_bytes()[..], &[0; 14]].concat(), found(132)),
        (253, vec![UDP, 0, 0, 0, 0, 0, 0, 0], found(253)),
    ];
    let raw = socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    for (number, (next, rest, packet)) in (1..).zip(cases) {
        send_v6(&raw, packets, (number, rest.len() as u16), next, &rest, packet)?;
    }
    // What the header calls shorter than it is: the rest is padding, though it looks like a header.
    send_v6(&raw, packets, (0x100, 4), UDP, &udp(), state(Some(UDP), "cut"))?;
    send_v6(&raw, packets, (0x101, 0), UDP, &udp(), state(Some(UDP), "cut"))?;
    send_v6(&raw, packets, (0x102, 0), HOP, &[extension(UDP, 1), udp()].concat(), state(None, "cut"))
}

fn header_v6(from: Ipv6Addr, length: u16, next: u8) -> Vec<u8> {
    let to = Ipv6Addr::LOCALHOST;
    [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[next, 64], &from.octets(), &to.octets()].concat()
}

fn send_v6(
    raw: &OwnedFd,
    packets: &mut Vec<Packet>,
    (number, length): (u16, u16),
    next: u8,
    rest: &[u8],
    packet: Packet,
) -> Result<()> {
    let from = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number);
    let bytes = [header_v6(from, length, next), rest.to_vec()].concat();
    let to = nix::sys::socket::SockaddrIn6::from(std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));
    nix::sys::socket::sendto(raw.as_raw_fd(), &bytes, &to, nix::sys::socket::MsgFlags::empty())
        .with_context(|| format!("cannot send packet {number}, next header {next}"))?;
    packets.push(Packet { saddr: Some(from.to_string()), ..packet });
    Ok(())
}

fn written_v4(packets: &mut Vec<Packet>) -> Result<()> {
    // Bytes of options, fragment offset with flags, protocol, what follows, what is to be seen.
    const MORE: u16 = 0x2000;
    let cases: Vec<(usize, u16, u8, Vec<u8>, Packet)> = vec![
        (0, 0, UDP, udp(), found(UDP)),
        (8, 0, UDP, udp(), found(UDP)),
        (40, 0, TCP, tcp(), found(TCP)),
        (0, 0, 1, vec![8, 0, 0, 0, 0, 1, 0, 1], found(1)),
        (0, 0, AH, [authentication(UDP, 24), udp()].concat(), found(UDP)),
        (12, 0, AH, [authentication(TCP, 16), tcp()].concat(), found(TCP)),
        (0, 0, ESP, vec![9; 40], state(Some(ESP), "encrypted")),
        (0, 0, AH, [authentication(ESP, 16), vec![9; 40]].concat(), state(Some(ESP), "encrypted")),
        (0, MORE, UDP, [udp(), vec![0; 4]].concat(), found(UDP)),
        (0, 5, UDP, udp(), state(Some(UDP), "fragment")),
        (0, MORE | 5, TCP, [tcp(), vec![0; 4]].concat(), state(Some(TCP), "fragment")),
        (0, 5, AH, udp(), state(None, "fragment")),
        (0, MORE, TCP, tcp()[..16].to_vec(), state(Some(TCP), "cut")),
        (0, 0, UDP, udp()[..5].to_vec(), state(Some(UDP), "cut")),
        (0, 0, AH, vec![UDP, 4, 0, 0], state(None, "cut")),
        // Numbers that are extension headers in version 6 only.
        (0, 0, HOP, vec![UDP, 0, 0, 0, 0, 0, 0, 0], found(HOP)),
        (0, 0, DESTINATION, vec![UDP, 0, 0, 0, 0, 0, 0, 0], found(DESTINATION)),
        (0, 0, 4, vec![0x45; 20], found(4)),
        (0, 0, 41, vec![0x60; 40], found(41)),
        (0, 0, 47, vec![0; 8], found(47)),
    ];
    let raw = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    let to = nix::sys::socket::SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    for (number, (options, fragment, proto, rest, packet)) in (1..).zip(cases) {
        let from = Ipv4Addr::new(10, 9, 0, number);
        let bytes = [header_v4(from, options, fragment, proto, rest.len() as u16), rest].concat();
        nix::sys::socket::sendto(raw.as_raw_fd(), &bytes, &to, nix::sys::socket::MsgFlags::empty())
            .with_context(|| format!("cannot send packet {number}, protocol {proto}"))?;
        packets.push(Packet { saddr: Some(from.to_string()), ..packet });
    }
    Ok(())
}

/// With `options` bytes of "no operation"; the kernel computes the checksum of raw sockets' packets.
fn header_v4(from: Ipv4Addr, options: usize, fragment: u16, proto: u8, length: u16) -> Vec<u8> {
    let total = 20 + options as u16 + length;
    let mut header = vec![0x45 + (options / 4) as u8, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 1]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, proto, 0, 0]);
    header.extend(from.octets());
    header.extend(Ipv4Addr::LOCALHOST.octets());
    header.extend(std::iter::repeat_n(1, options));
    header
}

/// Packets of which only the first bytes lie in one piece; the rest is in pages. And one of version 4 with padding.
fn in_pieces(packets: &mut Vec<Packet>) -> Result<()> {
    const ETHERNET: usize = 14;
    const BYTES: usize = 6000;
    let long = |header: Vec<u8>| {
        let mut bytes = [header, udp()].concat();
        bytes.resize(BYTES, 0x55);
        bytes
    };
    let v6 = |number, length| header_v6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number), length, UDP);
    let v4 = |number, length| header_v4(Ipv4Addr::new(10, 9, 1, number), 0, 0, UDP, length);
    let (length_v6, length_v4) = ((BYTES - 40) as u16, (BYTES - 20) as u16);
    let saddr = |text: &str| Some(text.to_owned());
    // Bytes of the IP packet that are in one piece, the packet, what is to be seen.
    let cases = [
        (48, long(v6(1, length_v6)), Packet { saddr: saddr("fd00::1:1"), ..found(UDP) }),
        (47, long(v6(2, length_v6)), Packet { saddr: saddr("fd00::1:2"), ..state(Some(UDP), "cut") }),
        (39, long(v6(3, length_v6)), state(None, "no_ip")),
        (28, long(v4(1, length_v4)), Packet { saddr: saddr("10.9.1.1"), ..found(UDP) }),
        (20, long(v4(2, length_v4)), Packet { saddr: saddr("10.9.1.2"), ..state(Some(UDP), "cut") }),
        (4, long(v4(3, length_v4)), state(None, "no_ip")),
        // All in one piece, as it is short; what the header does not count is padding.
        (0, [v4(4, 4), udp()].concat(), Packet { saddr: saddr("10.9.1.4"), ..state(Some(UDP), "cut") }),
    ];
    const PACKET_VNET_HDR: i32 = 15;
    let link = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    set(link.as_raw_fd(), libc::SOL_PACKET, PACKET_VNET_HDR, &1_i32.to_ne_bytes())?;
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = nix::net::if_::if_nametoindex("lo").context("there is no loopback")?.cast_signed();
    for (linear, packet, seen) in cases {
        let kind: u16 = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        // struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
        let mut bytes = vec![0, 0];
        bytes.extend(((ETHERNET + linear) as u16).to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend([0; 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(&packet);
        to.sll_protocol = kind.to_be();
        // SAFETY: the kernel reads a buffer and an address of the lengths given.
        let sent = unsafe {
            libc::sendto(
                link.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        Errno::result(sent)
            .with_context(|| format!("cannot send a packet with {linear} bytes in one piece"))?;
        packets.push(seen);
    }
    Ok(())
}

fn set(fd: i32, level: i32, option: i32, value: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads a buffer of the length given.
    let done = unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), value.len() as u32) };
    Errno::result(done).with_context(|| format!("cannot set option {option} of a socket"))?;
    Ok(())
}
