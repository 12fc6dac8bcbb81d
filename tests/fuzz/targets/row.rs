//! A row of the ledger, in its envelope.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::row::{Row, encode_envelope};

fuzz_target!(|bytes: &[u8]| {
    let link = Row::link(bytes);
    let Ok(row) = Row::decode(bytes) else { return };
    let values = row.counters.map(|counters| counters.values());
    let counters = values.as_ref().map_or(&[][..], |values| &values[..]);
    let body = row.body.encode();
    let written = encode_envelope(row.sequence, &row.previous, &body, counters, &row.set_hash);
    assert_eq!(written.as_deref(), Ok(bytes));
    assert_eq!(link, Some((row.sequence, row.previous, row.hash)));
});
