//! What people write -> what DataFusion plans, and its errors in their words.

pub mod bind;
pub mod errors;
pub mod keywords;
pub mod near;
pub mod notations;
pub mod parse;
pub mod pasted;
pub mod problem;
pub mod syntax;
pub mod types;
pub mod values;
pub mod words;
