//! The head of a sealed message: what is read before anything of it is believed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mintmark_exchange::message::{HeadError, MessageHead, assemble, preamble};

fuzz_target!(|bytes: &[u8]| match MessageHead::parse(bytes) {
    Ok((head, length)) => {
        let aad = preamble(head.header()).expect("a sound header can be written");
        assert_eq!(aad, head.aad());
        let written = assemble(&aad, head.tail(), head.signature());
        assert_eq!(written.as_deref(), Ok(&bytes[..length]));
        let again = MessageHead::parse(&bytes[..length]).expect("nothing after it was looked at");
        assert_eq!(again, (head, length));
    }
    Err(HeadError::Incomplete { needed }) => assert!(needed > bytes.len()),
    Err(HeadError::Malformed | HeadError::UnknownVersion) => {}
});
