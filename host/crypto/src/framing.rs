//! The one encoding of everything that is signed or authenticated.

/// Label and fields, each preceded by its length as a u64 in big-endian.
///
/// The lengths make the encoding injective: no two different lists of fields give the same
/// bytes, so a signature over one statement can never be read as a signature over another.
#[must_use]
pub fn framed(label: &str, fields: &[&[u8]]) -> Vec<u8> {
    let fields_len: usize = fields.iter().map(|field| LENGTH_LEN + field.len()).sum();
    let mut bytes = Vec::with_capacity(LENGTH_LEN + label.len() + fields_len);
    push(&mut bytes, label.as_bytes());
    for field in fields {
        push(&mut bytes, field);
    }
    bytes
}

const LENGTH_LEN: usize = size_of::<u64>();

fn push(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u64::try_from(field.len()).expect("a length in memory fits in 64 bits");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_length_then_bytes() {
        let expected = [
            [0, 0, 0, 0, 0, 0, 0, 2].as_slice(),
            b"hi",
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 1],
            b"x",
        ]
        .concat();
        assert_eq!(framed("hi", &[b"", b"x"]), expected);
    }

    proptest::proptest! {
        #[test]
        fn different_fields_never_give_the_same_bytes(
            a: Vec<Vec<u8>>, b: Vec<Vec<u8>>, label_a in "[a-z]{0,3}", label_b in "[a-z]{0,3}",
        ) {
            let encode = |label: &str, fields: &[Vec<u8>]| {
                framed(label, &fields.iter().map(Vec::as_slice).collect::<Vec<_>>())
            };
            let same = label_a == label_b && a == b;
            proptest::prop_assert_eq!(encode(&label_a, &a) == encode(&label_b, &b), same);
        }
    }
}
