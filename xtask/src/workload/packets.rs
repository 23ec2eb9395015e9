//! Bursts of UDP datagrams on the loopback of a network namespace, with pauses between.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::netns::{Netns, boottime_ns, in_receives};

/// How many.
#[derive(clap::Args)]
pub struct Options {
    /// Bursts, half of them IPv6
    #[arg(long, default_value_t = 8)]
    pub bursts: u16,
    /// Datagrams in each
    #[arg(long, default_value_t = 40)]
    pub size: u32,
    /// Pause between bursts
    #[arg(long, default_value_t = 50)]
    pub pause_ms: u64,
    /// Namespace to send in, as path [default: a new one]
    #[arg(long)]
    pub netns: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub netns: u32,
    pub bursts: Vec<Burst>,
    /// By how much `InReceives` of /proc/net/snmp grew, and `Ip6InReceives` of snmp6.
    pub in_receives_v4: u64,
    pub in_receives_v6: u64,
}

/// Datagrams of one burst; they differ from other bursts' in the port.
#[derive(Debug, Serialize, Deserialize)]
pub struct Burst {
    pub family: u8,
    pub addr: IpAddr,
    pub sport: u16,
    pub dport: u16,
    pub count: u32,
    pub payload_bytes: u32,
    /// CLOCK_BOOTTIME before the first and after the last.
    pub from_boottime_ns: i64,
    pub to_boottime_ns: i64,
}

pub fn run(options: &Options) -> Result<Truth> {
    let home = Netns::current()?;
    let space = match &options.netns {
        Some(path) => Netns::open(path)?,
        None => Netns::new()?,
    };
    space.enter()?;
    let (v4_before, v6_before) = in_receives()?;
    let mut bursts = Vec::new();
    for number in 0..options.bursts {
        bursts.push(burst(number, options.size)?);
        sleep(Duration::from_millis(options.pause_ms));
    }
    let (v4_after, v6_after) = in_receives()?;
    home.enter()?;
    let (in_receives_v4, in_receives_v6) = (v4_after - v4_before, v6_after - v6_before);
    Ok(Truth { netns: space.inode, bursts, in_receives_v4, in_receives_v6 })
}

fn burst(number: u16, count: u32) -> Result<Burst> {
    let (family, addr) = match number % 2 {
        0 => (2, IpAddr::from(Ipv4Addr::LOCALHOST)),
        _ => (10, IpAddr::from(Ipv6Addr::LOCALHOST)),
    };
    let (sport, dport, payload) = (50_000 + number, 60_000 + number, [b'k'; 100]);
    // Somebody must receive, or each datagram is answered with an ICMP error.
    let receiver = UdpSocket::bind((addr, dport)).context("cannot bind the receiver")?;
    let sender = UdpSocket::bind((addr, sport)).context("cannot bind the sender")?;
    sender.connect((addr, dport)).context("cannot connect")?;
    let from_boottime_ns = boottime_ns()?;
    for _ in 0..count {
        sender.send(&payload).context("cannot send")?;
    }
    let to_boottime_ns = boottime_ns()?;
    drop(receiver);
    let payload_bytes = payload.len() as u32;
    Ok(Burst { family, addr, sport, dport, count, payload_bytes, from_boottime_ns, to_boottime_ns })
}
