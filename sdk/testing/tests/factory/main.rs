//! The two official plugins against each other: headquarters grants, a site provisions and
//! reports, headquarters audits. Everything runs natively on the real custody code.

#![expect(clippy::unwrap_used, reason = "a test fails where its world does")]

mod audits;
mod exchange;
mod gap;
mod limits;
mod line;
mod orders;
