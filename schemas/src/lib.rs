//! The contract of ktape: what an event is, how it travels from the kernel, and what a trace looks like on disk.
//!
//! ```text
//! events/NAME.toml --event--> EventDef --(recorder::resolve, BTF)--> Plan + Layout --layout--> Arrow schema
//! ```
//! [`wire`] is shared with the kernel side (`no_std`); the rest needs the `std` feature.
#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]

pub mod wire;

#[cfg(feature = "std")]
pub mod column;
#[cfg(feature = "std")]
pub mod context;
#[cfg(feature = "std")]
pub mod def;
#[cfg(feature = "std")]
pub mod docs;
#[cfg(feature = "std")]
pub mod expr;
#[cfg(feature = "std")]
pub mod frames;
#[cfg(feature = "std")]
pub mod layouts;
#[cfg(feature = "std")]
pub mod name;
#[cfg(feature = "std")]
pub mod record;
#[cfg(feature = "std")]
pub mod text;
#[cfg(feature = "std")]
pub mod trace;
