//! A plugin that misbehaves on purpose, in the real runtime, over custody and a store on disk.
//!
//! Whatever it does, the host counts right, its neighbours are served, and nothing leaves that was
//! not counted.

#![expect(clippy::unwrap_used, reason = "tests")]

mod budgets;
mod headquarters;
mod log;
mod memory;
mod node;
mod units;
