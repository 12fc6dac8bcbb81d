//! Stories: real processes, real sockets, real files, from the root to the verdict.

#![expect(clippy::unwrap_used, reason = "a test says at once what did not hold")]

mod approvals;
mod clock;
mod copies;
mod crash;
mod disk;
mod line;
mod orders;
mod pool;
mod program;
mod python;
mod refusals;
mod restored;
mod rotation;
mod station;
mod tampered;
mod tools;
mod units;
mod whole_loop;
mod world;
