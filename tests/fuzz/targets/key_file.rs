//! A file of sealed device keys, as it is carried to a site.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::pool::{KeyFile, KeyFileHead, SealedKeys, assemble};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = KeyFile::parse(bytes) else { return };
    let Ok(chunks) = file.chunks() else { return };
    for chunk in &chunks {
        if let Ok(keys) = SealedKeys::decode(chunk) {
            assert_eq!(keys.encode(), *chunk);
        }
    }
    let Ok(head) = KeyFileHead::decode(file.head()) else { return };
    assert_eq!(head.encode(), file.head());
    let chunks: Vec<_> = chunks.into_iter().map(<[u8]>::to_vec).collect();
    assert_eq!(assemble(&head, &chunks), bytes, "two files of the same parts");
});
