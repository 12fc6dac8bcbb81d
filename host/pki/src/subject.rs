//! Distinguished names, of the few attributes that certificates here have.

use der::asn1::{Any, ObjectIdentifier, PrintableString};
use der::{Decode as _, Encode as _, Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use crate::Error;

pub(crate) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(crate) const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.5");
pub(crate) const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
pub(crate) const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
pub(crate) const DESCRIPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.13");

/// A distinguished name with one attribute in each step, in this order.
pub(crate) fn name(attributes: &[(ObjectIdentifier, &str)]) -> Result<Name, Error> {
    let mut steps = RdnSequence::default();
    for (oid, text) in attributes {
        let mut step = RelativeDistinguishedName::default();
        let value = value(*oid, text)?;
        step.insert(AttributeTypeAndValue { oid: *oid, value }).map_err(|_| Error::Subject)?;
        steps.push(step);
    }
    steps.to_der().and_then(|der| Name::from_der(&der)).map_err(|_| Error::Subject)
}

/// The value of an attribute that occurs at most once in a name.
///
/// Of the string types only UTF8String and PrintableString are read: with the others, two
/// readers could see two different texts in one certificate.
pub(crate) fn attribute(name: &Name, oid: ObjectIdentifier) -> Result<Option<String>, Error> {
    let mut found = name.iter().filter(|attribute| attribute.oid == oid);
    let Some(attribute) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(Error::Subject);
    }
    if !matches!(attribute.value.tag(), Tag::Utf8String | Tag::PrintableString) {
        return Err(Error::Subject);
    }
    let text = str::from_utf8(attribute.value.value()).map_err(|_| Error::Subject)?;
    if is_text(text) { Ok(Some(text.into())) } else { Err(Error::Subject) }
}

/// X.520's bound for the attributes used here, in characters.
const TEXT_LEN_MAX: usize = 64;

fn value(oid: ObjectIdentifier, text: &str) -> Result<Any, Error> {
    if !is_text(text) {
        return Err(Error::Subject);
    }
    // X.520 knows serial numbers as PrintableString only.
    if oid == SERIAL_NUMBER {
        PrintableString::new(text).and_then(|text| Any::encode_from(&text))
    } else {
        Any::new(Tag::Utf8String, text.as_bytes())
    }
    .map_err(|_| Error::Subject)
}

/// Text that prints as what it is: no NUL that cuts it short, no control characters.
fn is_text(text: &str) -> bool {
    let len = text.chars().count();
    (1..=TEXT_LEN_MAX).contains(&len) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_back() {
        let name = name(&[(ORGANIZATION, "Acme \u{e9}"), (SERIAL_NUMBER, "SN-1")]).unwrap();
        assert_eq!(attribute(&name, ORGANIZATION), Ok(Some("Acme \u{e9}".into())));
        assert_eq!(attribute(&name, SERIAL_NUMBER), Ok(Some("SN-1".into())));
        assert_eq!(attribute(&name, COMMON_NAME), Ok(None));
    }

    #[test]
    fn k10_text_that_could_be_misread_is_refused() {
        let longest = "x".repeat(TEXT_LEN_MAX);
        assert!(name(&[(COMMON_NAME, &longest)]).is_ok());
        for text in ["", "a\0b", "a\nb", &format!("{longest}x")] {
            assert_eq!(name(&[(COMMON_NAME, text)]), Err(Error::Subject));
        }
        for text in ["\u{e9}", "a_b", "a@b"] {
            assert_eq!(name(&[(SERIAL_NUMBER, text)]), Err(Error::Subject));
        }
        let twice = name(&[(COMMON_NAME, "a"), (COMMON_NAME, "b")]).unwrap();
        assert_eq!(attribute(&twice, COMMON_NAME), Err(Error::Subject));
    }
}
