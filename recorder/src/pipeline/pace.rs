//! How late publications were in; how old rows may grow before they are published out.
//!
//! Rows are to be on the disk when they are `--segment-age` old, whatever the machine is doing. How long it takes from
//! the decision until the disk has them (queue, encoder, a busy processor) is measured each time.

/// The worst of the recent delays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    /// `None`: nothing is known yet.
    worst_ns: Option<u64>,
}

impl Lag {
    /// Of what is not recorded just now, and can wait.
    pub const NONE: Self = Self { worst_ns: Some(0) };

    /// Of a commit that was due at boot time `due_ns` the disk had everything at `now_ns`.
    pub fn measured(&mut self, due_ns: u64, now_ns: u64) {
        // A bad moment is forgotten slowly: the next one looks like it.
        let faded_ns = self.worst_ns.map_or(0, |worst| worst - worst / 16);
        self.worst_ns = Some(faded_ns.max(now_ns.saturating_sub(due_ns)));
    }

    /// Age (ns) of the oldest row at which a commit is due so that the disk has it before rows are `age_ns` old, if it takes
    /// twice as long as it did lately. A quarter of the age is left in any case; beginning before a quarter of it would
    /// only make the disk busier.
    pub fn publish_after_ns(self, age_ns: u64) -> u64 {
        let worst_ns = self.worst_ns.unwrap_or(age_ns);
        age_ns.saturating_sub(worst_ns.saturating_mul(2)).clamp(age_ns / 4, age_ns / 4 * 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_publications_begin_earlier_and_a_bad_moment_is_forgotten() {
        let mut lag = Lag::default();
        assert_eq!(lag.publish_after_ns(1000), 250, "who knows what this disk is like");
        lag.measured(100, 200);
        assert_eq!(lag.publish_after_ns(1000), 750, "twice 100 still fits");
        lag.measured(100, 400);
        assert_eq!(lag.publish_after_ns(1000), 400);
        lag.measured(100, 2000);
        assert_eq!(lag.publish_after_ns(1000), 250);
        for _ in 0..100 {
            lag.measured(100, 110);
        }
        assert_eq!(lag.publish_after_ns(1000), 750);
        assert_eq!(lag.publish_after_ns(0), 0);
    }
}
