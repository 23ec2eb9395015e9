//! Routing rules over rtnetlink: as many added and deleted as asked for.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};

use super::netns::socket;

const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const FRA_PRIORITY: u16 = 6;
const TABLE_MAIN: u8 = 254;
const TO_TABLE: u8 = 1;

/// Add a rule and delete it, `count` times, in the thread's network namespace.
pub fn add_and_delete(count: u32) -> Result<()> {
    let netlink = socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    for number in 0..count {
        let priority = 1000 + number;
        request(&netlink, RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, priority)?;
        request(&netlink, RTM_DELRULE, 0, priority)?;
    }
    Ok(())
}

/// Send one request (nlmsghdr, fib_rule_hdr, the attribute FRA_PRIORITY) and read the answer.
fn request(netlink: &OwnedFd, kind: u16, flags: i32, priority: u32) -> Result<()> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    let mut message = Vec::new();
    message.extend(36_u32.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([libc::AF_INET as u8, 0, 0, 0, TABLE_MAIN, 0, 0, TO_TABLE, 0, 0, 0, 0]);
    message.extend(8_u16.to_ne_bytes());
    message.extend(FRA_PRIORITY.to_ne_bytes());
    message.extend(priority.to_ne_bytes());
    let fd = netlink.as_raw_fd();
    nix::sys::socket::send(fd, &message, nix::sys::socket::MsgFlags::empty())
        .context("cannot send to rtnetlink")?;
    let mut answer = [0; 512];
    let size = nix::sys::socket::recv(fd, &mut answer, nix::sys::socket::MsgFlags::empty())
        .context("no answer from rtnetlink")?;
    // The answer is an nlmsgerr: 16 bytes of header, then -errno or 0.
    match answer[..size].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => bail!("rtnetlink refuses a rule: {}", nix::errno::Errno::from_raw(-error)),
        None => bail!("rtnetlink sent {size} bytes"),
    }
}
