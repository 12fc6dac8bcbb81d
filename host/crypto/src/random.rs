//! Random bytes from the operating system.

use ring::rand::{SecureRandom, SystemRandom};

/// Overwrites `bytes` with random ones.
///
/// # Panics
///
/// If the operating system gives no random bytes: a host without them can do nothing safely, and
/// every fallback would be worse.
pub fn fill(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the operating system gives random bytes");
}

/// An array of random bytes. For what is not secret: nonces, identifiers, serial numbers.
#[must_use]
pub fn array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_arrays_differ() {
        assert_ne!(array::<32>(), array::<32>());
    }
}
