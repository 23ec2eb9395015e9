//! Recordings of packets against /proc/net/snmp and the sender's own clock.

use anyhow::{Result, ensure};
use xtask::workload::packets::Truth;

use crate::place::Recorded;
use crate::trace::{int, text};

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
