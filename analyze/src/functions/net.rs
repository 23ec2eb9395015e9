//! Functions of addresses and networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use datafusion::common::Result;
use ipnet::IpNet;

use super::{Args, Def, Dependence, failed, integers, text, texts};

/// See each `doc`.
pub const DEFS: &[Def] = &[
    Def {
        name: "ip",
        call: "ip(address)",
        doc: "an address as text in its usual form, IPv4 also where it was IPv6 (::ffff:10.0.0.1); of text, of 4 or 16 \
              bytes, or of the number that a little-endian machine read from 4 bytes in network order; NULL if it is none",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: text,
        eval: |_, args| {
            let addresses = addresses(&args[0])?.into_iter();
            Ok(Arc::new(addresses.map(|ip| ip.map(|ip| ip.to_string())).collect::<StringArray>()) as ArrayRef)
        },
    },
    Def {
        name: "in_net",
        call: "in_net(address, net)",
        doc: "is the address, as ip() takes it, in a network such as '10.0.0.0/8' or 'fe80::/10'; NULL if it is no address",
        args: Args::Any(&[2]),
        depends_on_trace: Dependence::No,
        returns: || DataType::Boolean,
        eval: |_, args| {
            let (addresses, nets) = (addresses(&args[0])?, texts(&args[1])?);
            // Nearly always it is one network for all rows.
            let mut known: Option<(String, IpNet)> = None;
            let mut is_in = BooleanArray::builder(addresses.len());
            for (address, net) in addresses.into_iter().zip(nets.iter()) {
                let Some((address, text)) = address.zip(net) else {
                    is_in.append_null();
                    continue;
                };
                let net = match &known {
                    Some((known, net)) if known == text => *net,
                    _ => network(text)?,
                };
                is_in.append_value(net.contains(&address));
                if known.as_ref().is_none_or(|(known, _)| known != text) {
                    known = Some((text.to_owned(), net));
                }
            }
            Ok(Arc::new(is_in.finish()) as ArrayRef)
        },
    },
    Def {
        name: "netns_name",
        call: "netns_name(netns)",
        doc: "name of a network namespace; always NULL today, because recordings do not carry names (of `ip netns`, or of \
              a container). container(cgroup_id) names the container of a row",
        args: Args::Any(&[1]),
        depends_on_trace: Dependence::No,
        returns: text,
        eval: |_, args| Ok(Arc::new(StringArray::new_null(args[0].len())) as ArrayRef),
    },
];

fn network(text: &str) -> Result<IpNet> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map_err(|_| failed(format!("in_net: '{text}' is no network: write 10.0.0.0/8 or fe80::/10")))
}

fn addresses(input: &ArrayRef) -> Result<Vec<Option<IpAddr>>> {
    Ok(match input.data_type() {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = cast(input, &DataType::Binary)?;
            bytes.as_binary::<i32>().iter().map(|bytes| of_bytes(bytes?)).collect()
        }
        ty if ty.is_integer() => {
            let number = |n: i64| of_bytes(&u32::try_from(n).ok()?.to_le_bytes());
            integers(input)?.iter().map(|n| number(n?)).collect()
        }
        _ => texts(input)?.iter().map(|text| Some(text?.parse::<IpAddr>().ok()?.to_canonical())).collect(),
    })
}

fn of_bytes(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
    v4.or(v6).ok().map(|ip| ip.to_canonical())
}
