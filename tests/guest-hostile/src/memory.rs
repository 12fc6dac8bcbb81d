//! The search of the guest's own linear memory.
//!
//! What is looked for comes masked and is never put together here, so that the search does not
//! find itself: each byte of the memory is compared through the mask.

use std::hint::black_box;

use crate::proto::Needle;

/// Bytes of a page of linear memory.
#[cfg(target_family = "wasm")]
const PAGE_BYTES: usize = 64 << 10;

/// Bytes of the linear memory: all that there is, also what was never allocated.
#[cfg(target_family = "wasm")]
pub(crate) fn size() -> usize {
    core::arch::wasm32::memory_size(0) * PAGE_BYTES
}

/// Natively there is no linear memory.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn size() -> usize {
    0
}

/// The names of the needles that are somewhere in memory, in their order.
pub(crate) fn search(needles: &[Needle]) -> Vec<String> {
    let mut found = vec![false; needles.len()];
    for address in 0..size() {
        let first = byte(address);
        for (needle, found) in needles.iter().zip(&mut found) {
            *found = *found || (begins(needle, first) && lies_at(needle, address));
        }
    }
    let names = needles.iter().zip(found).filter(|(_, found)| *found);
    names.map(|(needle, _)| needle.name.clone()).collect()
}

/// The positive control: puts the needle into memory in the clear and searches for it.
pub(crate) fn is_found_in_the_clear(needle: &Needle) -> bool {
    let bytes = needle.masked.iter().zip(&needle.mask);
    let clear: Vec<u8> = bytes.map(|(masked, mask)| masked ^ mask).collect();
    let clear = black_box(clear);
    let found = search(std::slice::from_ref(needle)) == [needle.name.as_str()];
    // The next search must not find this one's.
    drop(black_box(wiped(clear)));
    found
}

fn wiped(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.fill(0);
    bytes
}

fn begins(needle: &Needle, first: u8) -> bool {
    match (needle.masked.first(), needle.mask.first()) {
        (Some(masked), Some(mask)) => first ^ black_box(*mask) == *masked,
        _ => false,
    }
}

fn lies_at(needle: &Needle, address: usize) -> bool {
    address + needle.masked.len() <= size()
        && needle.masked.len() == needle.mask.len()
        && (address..)
            .zip(needle.masked.iter().zip(&needle.mask))
            // Opaque to the compiler, which could unmask the whole needle ahead of the loop.
            .all(|(address, (masked, mask))| byte(address) ^ black_box(*mask) == *masked)
}

#[expect(unsafe_code, reason = "memory that belongs to nobody is searched too")]
fn byte(address: usize) -> u8 {
    debug_assert!(address < size(), "the address lies in linear memory");
    // SAFETY: every address below the memory's size can be read in WebAssembly, from 0 on; a
    // volatile read takes the byte as it is, whoever it belongs to.
    unsafe { core::ptr::with_exposed_provenance::<u8>(black_box(address)).read_volatile() }
}
