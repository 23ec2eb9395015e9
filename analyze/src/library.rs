//! Named questions: what the files of SQL say, and the values that their parameters take.

pub mod analysis;
pub mod params;
