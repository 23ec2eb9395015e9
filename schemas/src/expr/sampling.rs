//! What follows `profile:`, `software:` and `hardware:` -> which perf event is sampled, and how often.

use super::{ProbeKind, near};

/// A perf event that is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// `perf_event_attr.type`.
    pub kind: u32,
    /// `perf_event_attr.config`.
    pub config: u64,
    /// There is a sample each so many: nanoseconds of a clock, otherwise events.
    pub period: u64,
    /// It is a clock.
    pub is_clock: bool,
}

/// `PERF_TYPE_HARDWARE`, `PERF_TYPE_SOFTWARE`.
const HARDWARE: u32 = 0;
const SOFTWARE: u32 = 1;
/// `PERF_COUNT_SW_CPU_CLOCK`, and the last of the clocks (`PERF_COUNT_SW_TASK_CLOCK`).
const CPU_CLOCK: u64 = 0;
const LAST_CLOCK: u64 = 1;
/// The kernel takes a shorter period of a clock for this one.
const LEAST_NS: u64 = 10_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Names in `software:NAME:COUNT`, as bpftrace has them.
pub const SOFTWARE_EVENTS: [(&str, u64); 10] = [
    ("cpu-clock", CPU_CLOCK),
    ("task-clock", LAST_CLOCK),
    ("page-faults", 2),
    ("context-switches", 3),
    ("cpu-migrations", 4),
    ("minor-faults", 5),
    ("major-faults", 6),
    ("alignment-faults", 7),
    ("emulation-faults", 8),
    ("cgroup-switches", 11),
];

/// Names in `hardware:NAME:COUNT`.
pub const HARDWARE_EVENTS: [(&str, u64); 12] = [
    ("cycles", 0),
    ("cpu-cycles", 0),
    ("instructions", 1),
    ("cache-references", 2),
    ("cache-misses", 3),
    ("branch-instructions", 4),
    ("branches", 4),
    ("branch-misses", 5),
    ("bus-cycles", 6),
    ("frontend-stalls", 7),
    ("backend-stalls", 8),
    ("ref-cycles", 9),
];

/// Units in `profile:UNIT:N`: nanoseconds, or for hz the nanoseconds of a second that are shared out.
pub const UNITS: [(&str, u64); 4] = [("hz", SECOND_NS), ("s", SECOND_NS), ("ms", 1_000_000), ("us", 1_000)];

impl Sampling {
    /// Read what follows `KIND:`; `None` if that is another kind. An error says what is wrong.
    pub fn parse(kind: ProbeKind, name: &str) -> Option<Result<Self, String>> {
        Some(match kind {
            ProbeKind::Profile => profile(name),
            ProbeKind::Software => event(SOFTWARE, "software", &SOFTWARE_EVENTS, name),
            ProbeKind::Hardware => event(HARDWARE, "hardware", &HARDWARE_EVENTS, name),
            _ => return None,
        })
    }

    /// Whether it is counted by the processor itself.
    pub fn is_hardware(&self) -> bool {
        self.kind == HARDWARE
    }

    /// Whether a sample is taken in an interrupt of its own: that of a timer, or of the processor's counter.
    pub fn interrupts(&self) -> bool {
        self.is_hardware() || self.is_clock
    }
}

fn profile(name: &str) -> Result<Sampling, String> {
    let usage = "expected how often: profile:hz:N, profile:s:N, profile:ms:N or profile:us:N";
    let (unit, number) = name.split_once(':').ok_or(usage)?;
    let (_, ns) = UNITS.iter().find(|(known, _)| *known == unit).ok_or(usage)?;
    let number = positive(number)?;
    let period = if unit == "hz" { ns / number } else { ns.saturating_mul(number) };
    clock(Sampling { kind: SOFTWARE, config: CPU_CLOCK, period, is_clock: true })
}

fn event(kind: u32, word: &str, known: &[(&str, u64)], name: &str) -> Result<Sampling, String> {
    let (event, count) = name.split_once(':').unwrap_or((name, ""));
    let names = || known.iter().map(|(name, _)| *name);
    let Some((_, config)) = known.iter().find(|(known, _)| *known == event) else {
        let hint = match near(event, names()).first() {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(format!("there is no {word} event '{event}': {hint}"));
    };
    if count.is_empty() {
        return Err(format!("expected after how many there is a sample: {word}:{event}:COUNT"));
    }
    let is_clock = kind == SOFTWARE && *config <= LAST_CLOCK;
    let sampling = Sampling { kind, config: *config, period: positive(count)?, is_clock };
    if is_clock { clock(sampling) } else { Ok(sampling) }
}

fn clock(sampling: Sampling) -> Result<Sampling, String> {
    if (LEAST_NS..=i64::MAX as u64).contains(&sampling.period) {
        return Ok(sampling);
    }
    Err("the kernel samples a clock each 10 us (100000 times a second) at most, and within 292 years"
        .to_owned())
}

fn positive(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|n| (1..=i64::MAX as u64).contains(n));
    number.ok_or_else(|| format!("expected a whole number above 0, and not '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::*;

    fn sampling(text: &str) -> Result<Sampling, String> {
        let target = Target::parse(text).map_err(|error| error.to_string())?;
        assert_eq!(target.to_string(), text);
        Sampling::parse(target.kind, &target.name).unwrap()
    }

    fn of(text: &str) -> (u32, u64, u64, bool) {
        let Sampling { kind, config, period, is_clock } = sampling(text).unwrap();
        (kind, config, period, is_clock)
    }

    #[test]
    fn a_rate_a_time_or_a_number_of_events_is_a_period() {
        assert_eq!(of("profile:hz:99"), (1, 0, 10_101_010, true));
        assert_eq!(of("profile:ms:20"), (1, 0, 20_000_000, true));
        assert_eq!(of("profile:us:10"), (1, 0, 10_000, true));
        assert_eq!(of("profile:s:2"), (1, 0, 2_000_000_000, true));
        assert_eq!(of("software:cpu-clock:1000000"), (1, 0, 1_000_000, true));
        assert_eq!(of("software:page-faults:1"), (1, 2, 1, false));
        assert_eq!(of("hardware:cache-misses:1000"), (0, 3, 1000, false));
        assert_eq!(of("hardware:cycles:5000"), (0, 0, 5000, false));
    }

    #[test]
    fn what_cannot_be_sampled_is_refused_with_what_can() {
        for (text, says) in [
            ("profile:99", "profile:hz:N"),
            ("profile:hertz:99", "profile:hz:N"),
            ("profile:hz:0", "above 0"),
            ("profile:hz:many", "'many'"),
            ("profile:hz:100001", "10 us"),
            ("software:cpu-clock:9999", "10 us"),
            ("software:page-fault:1", "did you mean page-faults?"),
            ("software:page-faults", "software:page-faults:COUNT"),
            ("hardware:zzz:1", "there are cycles, "),
        ] {
            let error = sampling(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_probe_without_a_name_is_named_after_what_is_sampled() {
        let name = |text| Target::parse(text).unwrap().default_name();
        assert_eq!(name("profile:hz:99"), "profile");
        assert_eq!(name("software:page-faults:100"), "page_faults");
        assert_eq!(name("hardware:cache-misses:1000"), "cache_misses");
    }
}
