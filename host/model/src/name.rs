//! Names of keys, key sets, allotments and plugins.

use std::fmt;

/// 1 to 64 characters of `[a-z0-9-.]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The longest name, in bytes.
    pub const LENGTH_MAX: usize = 64;

    /// The name, where `text` is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p16_names_are_plain_ascii() {
        for bad in ["", "A", "a b", "ä", "a/b", "a\u{202e}b", "а", &"x".repeat(65)] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
        assert!(Name::parse("batch-7.a").is_some());
    }
}
