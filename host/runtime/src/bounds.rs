//! Sizes of what a guest hands in, as the comments of the contract bound them. Custody checks what
//! it means.

use mintmark_custody::Digest;
use mintmark_model::{Name, Refusal};

/// The longest list of bytes, where the contract says nothing else.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// The longest string, where the contract says nothing else.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// The most entries of a list of names, fields or clusters.
const ENTRIES_MAX: usize = 256;

/// Refuses a string of more than [`TEXT_BYTES_MAX`] bytes.
pub(crate) fn text(what: &str, text: &str) -> Result<(), Refusal> {
    text_up_to(what, text, TEXT_BYTES_MAX)
}

/// Refuses a string of more than `max` bytes.
pub(crate) fn text_up_to(what: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.len() <= max {
        return Ok(());
    }
    Err(Refusal::invalid(format!("`{what}` is longer than {max} bytes.")))
}

/// Refuses a list of more than [`BYTES_MAX`] bytes.
pub(crate) fn bytes(what: &str, bytes: &[u8]) -> Result<(), Refusal> {
    bytes_up_to(what, bytes, BYTES_MAX)
}

/// Refuses a list of more than `max` bytes.
pub(crate) fn bytes_up_to(what: &str, bytes: &[u8], max: usize) -> Result<(), Refusal> {
    if bytes.len() <= max {
        return Ok(());
    }
    Err(Refusal::invalid(format!("`{what}` is longer than {max} bytes.")))
}

/// Refuses what is no name of a key, key set, allotment or plugin.
pub(crate) fn name(what: &str, name: &str) -> Result<(), Refusal> {
    match Name::parse(name) {
        Some(_) => Ok(()),
        None => Err(Refusal::invalid(format!("`{what}` is not 1 to 64 characters of [a-z0-9-.]."))),
    }
}

/// The digest, where the list has its length.
pub(crate) fn digest(what: &str, bytes: &[u8]) -> Result<Digest, Refusal> {
    Digest::try_from(bytes).map_err(|_| Refusal::invalid(format!("`{what}` is not 32 bytes.")))
}

/// Refuses a number outside `min..=max`.
pub(crate) fn limit(what: &str, value: u32, min: u32, max: u32) -> Result<(), Refusal> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("`{what}` is not between {min} and {max}.")))
}

/// Refuses a list of more than `max` entries.
pub(crate) fn entries(what: &str, count: usize, max: usize) -> Result<(), Refusal> {
    if count <= max {
        return Ok(());
    }
    Err(Refusal::invalid(format!("`{what}` has more than {max} entries.")))
}

/// Refuses a list with too many strings, or with one that is too long.
pub(crate) fn texts(what: &str, list: &[String]) -> Result<(), Refusal> {
    entries(what, list.len(), ENTRIES_MAX)?;
    list.iter().try_for_each(|one| text(what, one))
}

/// Refuses a list with too many pairs, or with a string that is too long.
pub(crate) fn pairs(what: &str, list: &[(String, String)]) -> Result<(), Refusal> {
    entries(what, list.len(), ENTRIES_MAX)?;
    list.iter().try_for_each(|(key, value)| text(what, key).and_then(|()| text(what, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p15_the_bound_itself_is_allowed_and_one_more_is_not() {
        assert!(text("t", &"x".repeat(256)).is_ok() && text("t", &"x".repeat(257)).is_err());
        assert!(bytes("b", &vec![0; BYTES_MAX]).is_ok());
        assert!(bytes("b", &vec![0; BYTES_MAX + 1]).is_err());
        assert!(limit("l", 1, 1, 2).is_ok() && limit("l", 2, 1, 2).is_ok());
        assert!(limit("l", 0, 1, 2).is_err() && limit("l", u32::MAX, 1, 2).is_err());
        assert!(digest("d", &[0; 32]).is_ok() && digest("d", &[0; 31]).is_err());
        assert!(texts("t", &vec![String::new(); 256]).is_ok());
        assert!(texts("t", &vec![String::new(); 257]).is_err());
        assert!(name("n", "batch-7").is_ok() && name("n", "Batch").is_err());
    }

    #[test]
    fn w23_a_refusal_does_not_repeat_the_guests_bytes() {
        let refusal = name("name", "CANARY").unwrap_err();
        assert!(!refusal.detail.contains("CANARY"));
    }
}
