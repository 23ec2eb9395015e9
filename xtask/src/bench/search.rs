//! A tracer in, the highest rate of a getppid storm out at which nothing of it is missing.

use anyhow::Result;
use serde::Serialize;

use super::load::Load;
use super::run::{Bench, Watch};
use super::tracer::Tracer;

/// A rate holds if nothing is missing once in so many runs: on a shared machine a run can be disturbed.
const TRIES: u32 = 2;

/// The highest rate found.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Highest {
    /// Calls a second, as made.
    pub per_second: f64,
    /// The workload could not call faster while it was traced: the tracer might take more.
    pub is_workload_limit: bool,
}

/// How to look.
#[derive(Clone, Copy)]
pub struct Search {
    /// Length of a storm.
    pub seconds: f64,
    pub threads: u16,
    /// Each halves what is not known yet of the rate.
    pub steps: u32,
}

/// What a storm as fast as can be gave.
#[derive(Clone, Copy, Debug)]
pub struct Saturated {
    /// Calls a second.
    pub per_second: f64,
    /// Nothing was missing in any round.
    pub is_complete: bool,
}

impl Search {
    /// Look for it.
    pub fn highest(self, bench: &Bench, tracer: &Tracer, saturated: Saturated) -> Result<Highest> {
        let Saturated { per_second, is_complete } = saturated;
        if is_complete {
            return Ok(Highest { per_second, is_workload_limit: true });
        }
        let (mut low, mut high) = (0.0, per_second);
        let mut best = 0.0;
        for _ in 0..self.steps {
            let middle = (low + high) / 2.0;
            match self.holds(bench, tracer, middle)? {
                Some(made) => (low, best) = (middle, made),
                None => high = middle,
            }
        }
        Ok(Highest { per_second: best, is_workload_limit: false })
    }

    /// The rate that was made, if nothing of it is missing.
    fn holds(self, bench: &Bench, tracer: &Tracer, rate: f64) -> Result<Option<f64>> {
        let Self { seconds, threads, .. } = self;
        let load = Load::Storm { seconds, rate: Some(rate as u64), threads };
        for _ in 0..TRIES {
            let sample = bench.run(Watch::Tracer(tracer), load)?;
            if sample.is_complete() {
                return Ok(Some(sample.per_second()));
            }
        }
        Ok(None)
    }
}
