//! Honest bundles are clean; each way of tampering gives the right verdict and names the row.

mod bounded;
mod closed;
mod copied;
mod dated;
mod everywhere;
mod explained;
mod forgotten;
mod honest;
mod recertified;
mod replaced;
pub(crate) mod site;
mod tampered;
