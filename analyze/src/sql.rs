//! Translates what people write to what DataFusion plans, and its errors to the words of people.

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
