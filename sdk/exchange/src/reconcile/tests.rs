//! Honest bundles are clean; each way of tampering gives the right verdict and names the row.

mod copied;
mod honest;
mod recertified;
mod site;
mod tampered;
