//! What was there before the first event: the running system in, plain rows out. Probes are attached first and the
//! snapshot is taken second, so that nothing falls between the two.

pub mod cgroups;
pub mod clock;
pub mod listeners;
pub mod netns;
pub mod processes;
pub mod starts;
