//! Recordings of packets against /proc/net/snmp and the sender's own clock.

use anyhow::{Result, ensure};
use xtask::workload::headers;
use xtask::workload::packets::Truth;

use super::same;
use crate::place::Recorded;
use crate::trace::{Row, int, text};

/// `pkt_type` of packets that `InReceives` does not count.
const OTHER_HOST: i64 = 3;

pub fn packets(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("packets")?;
    let rows = place.trace("packets")?.rows("packets")?;
    ensure!(
        rows.iter().all(|row| int(row, "netns").ok() == Some(i64::from(truth.netns))),
        "of another namespace"
    );
    for (family, expected) in [(2, truth.in_receives_v4), (10, truth.in_receives_v6)] {
        let recorded = rows.iter().filter(|row| int(row, "family").ok() == Some(family)).count();
        ensure!(
            recorded as u64 == expected,
            "family {family}: {recorded} recorded, the kernel received {expected}"
        );
    }
    Ok(())
}

pub fn bursts(place: &Recorded) -> Result<()> {
    let truth: Truth = place.truth("packets")?;
    let trace = place.trace("packets")?;
    let rows = trace.rows("packets")?;
    for burst in &truth.bursts {
        let mut count = 0;
        for row in &rows {
            if int(row, "dport").ok() != Some(i64::from(burst.dport)) {
                continue;
            }
            count += 1;
            let at = trace.boottime_ns(row)?;
            // The last may still be on its way when send returns, but not for long.
            let around = burst.from_boottime_ns..burst.to_boottime_ns + 20_000_000;
            ensure!(
                around.contains(&at),
                "at {at}, sent {} .. {}",
                burst.from_boottime_ns,
                burst.to_boottime_ns
            );
            let (ip_header, udp_header) = (if burst.family == 2 { 20 } else { 0 }, 8);
            let expected = ip_header + udp_header + i64::from(burst.payload_bytes);
            ensure!(int(row, "len_bytes")? == expected, "length {row:?}, not {expected}");
            ensure!(
                int(row, "sport")? == i64::from(burst.sport) && int(row, "proto")? == 17,
                "not it: {row:?}"
            );
            ensure!(int(row, "family")? == i64::from(burst.family), "family: {row:?}");
            let (from, to): (std::net::IpAddr, std::net::IpAddr) =
                (text(row, "saddr")?.parse()?, text(row, "daddr")?.parse()?);
            ensure!(from == burst.addr && to == burst.addr, "addresses: {row:?}");
            ensure!(!row.contains_key("tcp_flags"), "UDP has no TCP flags: {row:?}");
        }
        ensure!(
            count == burst.count,
            "burst to port {}: {count} recorded, {} sent",
            burst.dport,
            burst.count
        );
    }
    Ok(())
}

/// Headers that are not where a glance would find them: each packet with what its sender knows of it.
pub fn headers(place: &Recorded) -> Result<()> {
    let truth: headers::Truth = place.truth("headers")?;
    let rows = place.trace("headers")?.rows("packets")?;
    for (family, expected) in [(2, truth.in_receives_v4), (10, truth.in_receives_v6)] {
        let received = rows.iter().filter(|row| {
            int(row, "family").ok() == Some(family) && int(row, "pkt_type").ok() != Some(OTHER_HOST)
        });
        let received = received.count();
        ensure!(received as u64 == expected, "family {family}: {received} recorded, {expected} received");
    }
    let number = |row: &Row, column: &str| int(row, column).ok();
    let seen = |row: &Row| -> Result<headers::Packet> {
        let ports = number(row, "sport").zip(number(row, "dport"));
        Ok(headers::Packet {
            saddr: text(row, "saddr").ok().map(str::to_owned),
            proto: number(row, "proto").map(u8::try_from).transpose()?,
            upper: text(row, "upper")?.to_owned(),
            ports: ports
                .map(|(from, to)| Ok::<_, std::num::TryFromIntError>((from.try_into()?, to.try_into()?)))
                .transpose()?,
            tcp_flags: number(row, "tcp_flags").map(u8::try_from).transpose()?,
        })
    };
    let found = rows.iter().map(seen).collect::<Result<Vec<_>>>()?;
    same("packets", found, truth.packets)
}
