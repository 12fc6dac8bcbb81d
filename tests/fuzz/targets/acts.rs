//! What people give to the host itself: keys, statements, requests; and messages that were changed
//! on their way.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mintmark_fuzz::acts::Acts;

thread_local! {
    static ACTS: RefCell<Option<Acts>> = const { RefCell::new(None) };
}

/// Each act leaves a row or a file: after so many the world begins anew.
const ACTS_MAX: u32 = 10_000;

fuzz_target!(|bytes: &[u8]| ACTS.with_borrow_mut(|acts| {
    let Some((which, given)) = bytes.split_first() else { return };
    if acts.as_ref().is_none_or(|acts| acts.count >= ACTS_MAX) {
        *acts = Some(Acts::new());
    }
    acts.as_mut().expect("it was made above").act(*which, given);
}));
