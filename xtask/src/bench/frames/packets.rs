//! Datagrams on loopback (`workload packets`): bursts of IPv4 and IPv6 in turn, with a pause between them. Sizes and
//! gaps are those of a recording on Linux 6.18.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use schemas::record::RecordBuilder;
use schemas::wire::subject;

use super::{Feed, Random, START_NS};

const PROBES: [(&str, &str, &str); 2] = [("v4", "fentry", "ip_rcv_core"), ("v6", "fentry", "ip6_rcv_core")];
/// Datagrams of a burst.
const BURST: u64 = 20_000;
const PAUSE_NS: u64 = 10_060_000;
const UDP: u64 = 17;

/// Write frames of `rows` packets.
pub fn write(rows: u64, out: impl Write) -> Result<()> {
    let layout = schemas::layouts::builtin(&[])?.remove("packets").context("there is no event packets")?;
    let mut feed = Feed::new(out, &layout, "", &PROBES)?;
    let mut random = Random(88_172_645_463_325_252);
    let (mut now_ns, mut cpu) = (START_NS, 0);
    let mut burst = 0u64;
    while feed.rows < rows {
        let is_v6 = burst % 2 == 1;
        let (address, via, family, len_bytes, skb_bytes) = match is_v6 {
            false => (IpAddr::from(Ipv4Addr::LOCALHOST), "ip_rcv_core", 2, 128, 128),
            true => (IpAddr::from(Ipv6Addr::LOCALHOST), "ip6_rcv_core", 10, 108, 148),
        };
        let record = RecordBuilder::new(&layout, 0)
            .set_text("via", via)
            .set_u64("netns", 4_026_532_177)
            .set_u64("netns_cookie", 4209)
            .set_u64("ifindex", 1)
            .set_u64("family", family)
            .set_ip("saddr", address)
            .set_ip("daddr", address)
            .set_u64("proto", UDP)
            .set_text("upper", "found")
            .set_u64("sport", 50_000 + burst % 10_000)
            .set_u64("dport", 60_000 + burst % 5000)
            .set_u64("len_bytes", len_bytes)
            .set_u64("skb_bytes", skb_bytes)
            .set_u64("gso_segs", 0)
            .set_u64("pkt_type", 0);
        let mut record = record.build();
        let subject = subject::SOFTIRQ << subject::SHIFT | subject::NOBODY;
        record[8..16].copy_from_slice(&subject.to_ne_bytes());
        let probe = u16::from(is_v6);
        for _ in 0..BURST.min(rows - feed.rows) {
            now_ns +=
                4160 + u64::from(is_v6) * 400 + 10 * (random.below(12) + random.below(12) + random.below(8));
            if random.once_in(250) {
                now_ns += random.below(30_000);
            }
            feed.record(probe, cpu, now_ns, &mut record)?;
        }
        now_ns += PAUSE_NS + random.below(200_000);
        cpu = if random.once_in(3) { 1 - cpu } else { cpu };
        burst += 1;
    }
    feed.end(now_ns)
}
