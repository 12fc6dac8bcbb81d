//! Stories: real processes, real sockets, real files, from the root to the verdict.

mod crash;
mod program;
mod python;
mod refusals;
mod station;
mod whole_loop;
mod world;
