//! What people write -> what DataFusion plans, and its errors in their words.

pub mod errors;
pub mod expand;
pub mod notations;
pub mod pasted;
pub mod words;
