//! Requests to both plugins' methods, as clients send them: any bytes.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mintmark_fuzz::calls::Factory;

thread_local! {
    static FACTORY: RefCell<Option<Factory>> = const { RefCell::new(None) };
}

/// Each call leaves a row: after so many the world begins anew.
const CALLS_MAX: u32 = 20_000;

fuzz_target!(|bytes: &[u8]| FACTORY.with_borrow_mut(|factory| {
    let Some((which, request)) = bytes.split_first() else { return };
    if factory.as_ref().is_none_or(|factory| factory.calls >= CALLS_MAX) {
        *factory = Some(Factory::new());
    }
    let factory = factory.as_mut().expect("it was made above");
    factory.call(usize::from(*which), request);
}));
