//! The upper-layer header of an IP packet: address, end and length -> protocol, address, and why it is not there.

use schemas::wire::CpuState;
use schemas::wire::headers::{
    CUT, ENCRYPTED, FOUND, FRAGMENT, MAX, NO_IP, NONE, PROTO, STATE, TOO_MANY, UPPER,
};

use crate::context::read;
use crate::state::{State, less, not_zero, opaque, scalar};

/// Extension headers of IPv6, which have the protocol of the next one in their first byte and a length in the second:
/// hop-by-hop options, routing, fragment, authentication, destination options, mobility, HIP, shim6 (RFC 7045).
const LOW: u64 = 1 << 0 | 1 << 43 | 1 << FRAGMENT_HEADER | 1 << AUTHENTICATION | 1 << 60;
/// Those whose number is 64 or more, less 128. When nothing follows them, they are the message themselves.
const HIGH: u64 = 1 << (135 - 128) | 1 << (139 - 128) | 1 << (140 - 128);
const FRAGMENT_HEADER: u64 = 44;
const AUTHENTICATION: u64 = 51;
const ESP: u64 = 50;
const NO_NEXT_HEADER: u64 = 59;

/// Bytes that an IP header takes at least.
const V4_BYTES: u64 = 20;
const V6_BYTES: u64 = 40;
/// A packet that is longer has no length in its header: jumbograms and BIG TCP.
const LONGEST: u64 = 0xffff;
/// More does not lie in one piece.
const MOST_BYTES: u64 = 1 << 24;

/// No protocol.
const UNKNOWN: u64 = 0x100;

/// What [`walk`] found, in one number: 9 bits of protocol, 4 of state, then the offset of the header.
const fn found(proto: u64, state: u64, at: u64) -> u64 {
    proto | state << 9 | at << 13
}

/// Put into the temporaries from `save` on what is found of the packet at `ip`, whose headers lie in one piece until the
/// address that is in temporary `end`, and whose length is in temporary `length`. `null`: the packet is not there.
/// (What is known on the way is in a map, and there is a function for each step, because the stack of all functions
/// together is 512 bytes.)
#[inline(always)]
pub fn find(state: &mut State, ip: u64, null: u32, save: u8, end: u8, length: u8) {
    let null = null | (state.temp_nulls >> end | state.temp_nulls >> length) & 1;
    let search = Search { cpu: state.cpu };
    search.put(Search::IP, ip);
    search.put(Search::HAVE, state.temp(end).wrapping_sub(ip));
    search.put(Search::LENGTH, state.temp(length));
    begin(state.cpu);
    let mut round = opaque(0);
    while round <= MAX {
        if hop(state.cpu, round) != 0 {
            break;
        }
        round = opaque(round + 1);
    }
    scalar(finish(state, u32::from(save), null));
}

/// Keep what was found.
#[inline(never)]
fn finish(state: &mut State, save: u32, null: u32) -> u64 {
    let search = Search { cpu: state.cpu };
    let what = search.get(Search::RESULT);
    let (proto, how) = (what & 0x1ff, what >> 9 & 0xf);
    let there = u64::from(null ^ 1);
    let is_known = there & (proto >> 8 ^ 1);
    let is_found = there & (not_zero(how ^ FOUND) ^ 1);
    let upper = search.get(Search::IP).wrapping_add(what >> 13);
    put(state, save as u8 + PROTO, proto, is_known);
    put(state, save as u8 + UPPER, upper, is_found);
    put(state, save as u8 + STATE, how, there);
    opaque(0)
}

/// A value, or NULL unless `is_there` is 1, into a temporary.
#[inline(always)]
fn put(state: &mut State, temp: u8, value: u64, is_there: u64) {
    state.set_temp(temp, value & is_there.wrapping_neg());
    state.temp_nulls = state.temp_nulls & !(1 << temp) | (is_there as u32 ^ 1) << temp;
    state.temp_faults &= !(1 << temp);
}

/// What is known of a packet while its headers are searched: numbers in the memory of this CPU.
struct Search {
    cpu: *mut CpuState,
}

impl Search {
    const IP: usize = 0;
    /// Bytes in one piece from there on; then those of them that are of the packet.
    const HAVE: usize = 1;
    /// Length of the packet; then whether it is of version 6.
    const LENGTH: usize = 2;
    const IS_V6: usize = Self::LENGTH;
    const NEXT: usize = 3;
    const AT: usize = 4;
    /// The last header, if it could be the message itself, and where it is; the place is only known with it.
    const LAST: usize = 5;
    const LAST_AT: usize = 6;
    const READ: usize = 7;
    /// What was found, or [`GO_ON`].
    const RESULT: usize = 8;

    #[inline(always)]
    fn get(&self, what: usize) -> u64 {
        // SAFETY: a field of this CPU's map value, here and below.
        unsafe { core::ptr::read_volatile(&raw const (*self.cpu).search[what]) }
    }

    #[inline(always)]
    fn put(&self, what: usize, value: u64) {
        // SAFETY: see above.
        unsafe { core::ptr::write_volatile(&raw mut (*self.cpu).search[what], value) }
    }

    /// 8 bytes at an offset from the IP header; 0 if they cannot be read, which a header that is there can.
    #[inline(always)]
    fn read(&self, at: u64) -> u64 {
        // SAFETY: see above.
        read(unsafe { (&raw mut (*self.cpu).search[Self::READ]).cast() }, 8, self.get(Self::IP) + at, false);
        self.get(Self::READ)
    }
}

/// The search goes on.
const GO_ON: u64 = u64::MAX;

/// Look at the IP header.
#[inline(never)]
fn begin(cpu: *mut CpuState) -> u32 {
    let search = Search { cpu };
    search.put(Search::RESULT, found(UNKNOWN, NO_IP, 0));
    let have = search.get(Search::HAVE);
    if have < V4_BYTES || have > MOST_BYTES {
        return 0;
    }
    let second = search.read(8);
    search.put(Search::NEXT, second >> 8 & 0xff);
    let first = search.read(0);
    let is_v6 = eq(first >> 4 & 15, 6);
    let is_v4 = eq(first >> 4 & 15, 4);
    let header = choose(is_v6, V6_BYTES, (first & 15) * 4);
    if is_v4 | is_v6 == 0 || header < V4_BYTES || (is_v6 != 0 && search.get(Search::HAVE) < header) {
        return 0;
    }
    search.put(Search::AT, header);
    // Of a short packet on Ethernet, what is behind it is padding.
    let said = choose(is_v6, be16(first >> 32), be16(first >> 16));
    let is_long = eq(said, 0) & less(LONGEST, search.get(Search::LENGTH));
    let (have, whole) = (search.get(Search::HAVE), said + is_v6 * V6_BYTES);
    search.put(Search::HAVE, choose(is_long | less(have, whole), have, whole));
    search.put(Search::IS_V6, is_v6);
    search.put(Search::LAST, UNKNOWN);
    let is_fragment = is_v4 & not_zero(be16(first >> 48) & 0x1fff);
    search.put(Search::NEXT, choose(is_v6, first >> 48 & 0xff, search.get(Search::NEXT) | is_fragment << 8));
    search.put(Search::RESULT, GO_ON);
    0
}

/// Pass over an extension header, or find that there is none; 1 if the search has come to its end. Bit 8 of what is next
/// says that this is a fragment other than the first.
#[inline(never)]
fn hop(cpu: *mut CpuState, round: u64) -> u32 {
    let search = Search { cpu };
    if search.get(Search::RESULT) != GO_ON {
        return 1;
    }
    let next = search.get(Search::NEXT) & 0xff;
    let is_v6 = search.get(Search::IS_V6);
    let is_high = bit(HIGH, next.wrapping_sub(128)) & is_v6;
    let is_extension = bit(LOW, next) & (is_v6 | eq(next, AUTHENTICATION)) | is_high;
    let at = search.get(Search::AT);
    if search.get(Search::NEXT) >> 8 != 0 {
        search.put(Search::RESULT, found(choose(is_extension, UNKNOWN, next), FRAGMENT, 0));
        return 1;
    }
    if is_extension == 0 {
        search.put(Search::RESULT, end(&search, next, at));
        return 1;
    }
    if round >= MAX {
        search.put(Search::RESULT, found(UNKNOWN, TOO_MANY, 0));
        return 1;
    }
    if at + 8 > search.get(Search::HAVE) {
        search.put(Search::RESULT, found(UNKNOWN, CUT, 0));
        return 1;
    }
    search.put(Search::LAST, choose(is_high, next, UNKNOWN));
    search.put(Search::LAST_AT, at);
    let header = search.read(at);
    let next = search.get(Search::NEXT);
    let is_fragment_header = eq(next, FRAGMENT_HEADER);
    let is_fragment = is_fragment_header & not_zero(be16(header >> 16) & 0xfff8);
    let units = header >> 8 & 0xff;
    let size = choose(eq(next, AUTHENTICATION), (units + 2) * 4, (units + 1) * 8);
    search.put(Search::AT, search.get(Search::AT) + choose(is_fragment_header, 8, size));
    search.put(Search::NEXT, header & 0xff | is_fragment << 8);
    0
}

/// What is behind all extension headers.
#[inline(always)]
fn end(search: &Search, next: u64, at: u64) -> u64 {
    if next == NO_NEXT_HEADER {
        let last = search.get(Search::LAST);
        let place = search.get(Search::LAST_AT);
        return if last == UNKNOWN { found(next, NONE, 0) } else { found(last, FOUND, place) };
    }
    if next == ESP {
        return found(next, ENCRYPTED, 0);
    }
    if at + fixed_bytes(next) > search.get(Search::HAVE) {
        found(next, CUT, 0)
    } else {
        found(next, FOUND, at)
    }
}

/// Bytes of an upper-layer header that are always there: ICMP and UDP 8, TCP 20, DCCP and SCTP 12.
#[inline(always)]
fn fixed_bytes(proto: u64) -> u64 {
    1 + eq(proto, 6) * 19
        + (eq(proto, 1) | eq(proto, 17) | eq(proto, 136)) * 7
        + (eq(proto, 33) | eq(proto, 132)) * 11
}

/// A number in network order.
#[inline(always)]
fn be16(value: u64) -> u64 {
    (value & 0xff) << 8 | value >> 8 & 0xff
}

/// 1 if equal.
#[inline(always)]
fn eq(a: u64, b: u64) -> u64 {
    not_zero(a ^ b) ^ 1
}

/// Bit `index` of `bits`; 0 if there is none.
#[inline(always)]
fn bit(bits: u64, index: u64) -> u64 {
    opaque(bits >> (index & 63)) & less(index, 64)
}

/// `yes` if `which` is 1, `no` if it is 0.
#[inline(always)]
fn choose(which: u64, yes: u64, no: u64) -> u64 {
    no ^ (yes ^ no) & which.wrapping_neg()
}
