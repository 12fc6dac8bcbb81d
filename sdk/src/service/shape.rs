//! What a request may consist of. Protobuf readers skip what they do not know; here that is
//! refused.
//!
//! A newer client may send a field that limits what it asks for. A plugin that skips it does more
//! than the client allowed, so an unknown field, an unknown enum value and a second value of a
//! singular field are refused before prost decodes the message. The walk allocates nothing that
//! grows with what the caller claims.

/// The fields of a message, by number.
#[derive(Debug)]
pub struct Shape {
    /// In ascending order of their numbers.
    pub fields: &'static [Field],
}

/// One field.
#[derive(Debug)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// Whether it may come more than once.
    pub repeated: bool,
    /// The oneof that it belongs to: at most one field of it may come.
    pub oneof: Option<i32>,
    /// What it holds.
    pub kind: Kind,
}

/// What a field holds.
#[derive(Debug)]
pub enum Kind {
    /// An integer or a bool of variable length.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// Four bytes.
    Fixed32,
    /// A string or bytes.
    Bytes,
    /// A message.
    Message(&'static Shape),
    /// One of these numbers, in ascending order.
    Enum(&'static [i32]),
    /// A form that is not supported.
    Refused,
}

/// What is wrong with a request. It names field numbers and nothing else that the caller sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end early or are no protobuf.
    #[error("the request is not a protobuf message")]
    Malformed,
    /// There is no such field.
    #[error("the request has a field {0} that this version of the plugin does not know")]
    UnknownField(u32),
    /// The field has another type.
    #[error("the request's field {0} has the wrong type")]
    WrongType(u32),
    /// A singular field, or a second one of a oneof.
    #[error("the request has a value too many in its field {0}")]
    Repeated(u32),
    /// There is no such value.
    #[error("the request's field {0} has a value that this version of the plugin does not know")]
    UnknownValue(u32),
    /// Messages in messages, deeper than prost goes.
    #[error("the request is nested too deeply")]
    TooDeep,
}

/// How deep messages may lie in one another; prost stops at 100 as well.
const DEPTH_MAX: u32 = 100;

/// Wire types of protobuf.
mod wire {
    pub(super) const VARINT: u64 = 0;
    pub(super) const FIXED64: u64 = 1;
    pub(super) const BYTES: u64 = 2;
    pub(super) const FIXED32: u64 = 5;
}

impl Shape {
    /// Whether `message` holds nothing but what this shape has.
    ///
    /// # Errors
    /// The first thing that it should not hold.
    pub fn check(&self, message: &[u8]) -> Result<(), Fault> {
        self.check_at(message, DEPTH_MAX)
    }

    fn check_at(&self, message: &[u8], depth_left: u32) -> Result<(), Fault> {
        let mut reader = Reader { rest: message };
        let mut seen = Seen(vec![false; self.fields.len()]);
        while !reader.rest.is_empty() {
            let tag = reader.varint()?;
            let number = u32::try_from(tag >> 3).map_err(|_| Fault::Malformed)?;
            let at = self
                .fields
                .binary_search_by_key(&number, |field| field.number)
                .map_err(|_| Fault::UnknownField(number))?;
            seen.count(self.fields, at)?;
            self.fields[at].check(&mut reader, tag & 7, depth_left)?;
        }
        Ok(())
    }
}

impl Field {
    fn check(&self, reader: &mut Reader<'_>, wire: u64, depth_left: u32) -> Result<(), Fault> {
        match (&self.kind, wire) {
            (Kind::Bytes, wire::BYTES) => reader.bytes().map(drop),
            (Kind::Message(shape), wire::BYTES) => {
                let inner = reader.bytes()?;
                shape.check_at(inner, depth_left.checked_sub(1).ok_or(Fault::TooDeep)?)
            }
            // Numbers may come packed where they may come repeatedly.
            (Kind::Varint | Kind::Fixed64 | Kind::Fixed32 | Kind::Enum(_), wire::BYTES)
                if self.repeated =>
            {
                let mut packed = Reader { rest: reader.bytes()? };
                while !packed.rest.is_empty() {
                    self.check_number(&mut packed)?;
                }
                Ok(())
            }
            (Kind::Varint | Kind::Enum(_), wire::VARINT)
            | (Kind::Fixed64, wire::FIXED64)
            | (Kind::Fixed32, wire::FIXED32) => self.check_number(reader),
            _ => Err(Fault::WrongType(self.number)),
        }
    }

    fn check_number(&self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        match self.kind {
            Kind::Varint => reader.varint().map(drop),
            Kind::Fixed64 => reader.take(8).map(drop),
            Kind::Fixed32 => reader.take(4).map(drop),
            Kind::Enum(values) => {
                // A negative number comes sign-extended to 64 bits.
                let value = i32::try_from(reader.varint()?.cast_signed());
                let known = value.is_ok_and(|value| values.binary_search(&value).is_ok());
                if known { Ok(()) } else { Err(Fault::UnknownValue(self.number)) }
            }
            Kind::Bytes | Kind::Message(_) | Kind::Refused => Err(Fault::WrongType(self.number)),
        }
    }
}

/// Which fields of a message have come.
struct Seen(Vec<bool>);

impl Seen {
    fn count(&mut self, fields: &[Field], at: usize) -> Result<(), Fault> {
        let field = &fields[at];
        let taken = match field.oneof {
            Some(oneof) => {
                fields.iter().zip(&self.0).any(|(other, seen)| *seen && other.oneof == Some(oneof))
            }
            None => self.0[at] && !field.repeated,
        };
        self.0[at] = true;
        if taken { Err(Fault::Repeated(field.number)) } else { Ok(()) }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Fault::Malformed)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(Fault::Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = usize::try_from(self.varint()?).map_err(|_| Fault::Malformed)?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static INNER: Shape = Shape {
        fields: &[
            Field { number: 1, repeated: false, oneof: None, kind: Kind::Message(&INNER) },
            Field { number: 2, repeated: true, oneof: None, kind: Kind::Enum(&[-1, 0, 7]) },
        ],
    };
    static SHAPE: Shape = Shape {
        fields: &[
            Field { number: 1, repeated: false, oneof: None, kind: Kind::Varint },
            Field { number: 2, repeated: true, oneof: None, kind: Kind::Bytes },
            Field { number: 3, repeated: false, oneof: Some(0), kind: Kind::Fixed32 },
            Field { number: 4, repeated: false, oneof: Some(0), kind: Kind::Fixed64 },
            Field { number: 16, repeated: false, oneof: None, kind: Kind::Message(&INNER) },
        ],
    };

    #[test]
    fn what_the_proto_file_has_is_taken() {
        SHAPE.check(&[]).unwrap();
        SHAPE.check(&[0x08, 0x01, 0x12, 0x01, b'a', 0x12, 0x00, 0x1d, 0, 0, 0, 0]).unwrap();
        // Repeated numbers, packed and one by one, with a negative enum value.
        INNER.check(&[0x12, 0x02, 0x00, 0x07, 0x10, 0x07]).unwrap();
        let mut negative = vec![0x10];
        negative.extend([0xff; 9]);
        negative.push(0x01);
        INNER.check(&negative).unwrap();
    }

    #[test]
    fn g12_a_field_that_is_not_known_is_refused_at_every_depth() {
        assert_eq!(SHAPE.check(&[0x28, 0x00]), Err(Fault::UnknownField(5)));
        assert_eq!(SHAPE.check(&[0x82, 0x01, 0x02, 0x18, 0x00]), Err(Fault::UnknownField(3)));
    }

    #[test]
    fn g12_an_enum_value_that_is_not_known_is_refused() {
        assert_eq!(INNER.check(&[0x10, 0x01]), Err(Fault::UnknownValue(2)));
        assert_eq!(INNER.check(&[0x12, 0x02, 0x07, 0x08]), Err(Fault::UnknownValue(2)));
        // 2^32 + 7 is no 7.
        let wide = [0x10, 0x87, 0x80, 0x80, 0x80, 0x10];
        assert_eq!(INNER.check(&wide), Err(Fault::UnknownValue(2)));
    }

    #[test]
    fn p5_a_second_value_of_a_singular_field_is_refused() {
        assert_eq!(SHAPE.check(&[0x08, 0x01, 0x08, 0x01]), Err(Fault::Repeated(1)));
        let two_of_a_oneof = [0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(SHAPE.check(&two_of_a_oneof), Err(Fault::Repeated(4)));
    }

    #[test]
    fn g12_a_field_of_another_type_is_refused() {
        assert_eq!(SHAPE.check(&[0x0a, 0x00]), Err(Fault::WrongType(1)));
        assert_eq!(SHAPE.check(&[0x10, 0x00]), Err(Fault::WrongType(2)));
        assert_eq!(SHAPE.check(&[0x0b, 0x0c]), Err(Fault::WrongType(1)));
    }

    #[test]
    fn p1_every_truncated_prefix_of_a_field_is_refused() {
        let whole = [0x82, 0x01, 0x04, 0x12, 0x02, 0x00, 0x07];
        SHAPE.check(&whole).unwrap();
        for length in 1..whole.len() {
            assert_eq!(SHAPE.check(&whole[..length]), Err(Fault::Malformed), "{length} bytes");
        }
    }

    #[test]
    fn p3_an_absurd_length_is_refused_without_allocating_it() {
        let mut absurd = vec![0x12];
        absurd.extend([0xff; 9]);
        absurd.push(0x01);
        assert_eq!(SHAPE.check(&absurd), Err(Fault::Malformed));
        *absurd.last_mut().unwrap() = 0x02;
        assert_eq!(SHAPE.check(&absurd), Err(Fault::Malformed));
    }

    #[test]
    fn p7_deep_nesting_is_refused() {
        let mut nested = Vec::new();
        for _ in 0..10_000_usize {
            let mut length = nested.len();
            let mut outer = vec![0x0a];
            while length > 0x7f {
                outer.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend(nested);
            nested = outer;
        }
        assert_eq!(INNER.check(&nested), Err(Fault::TooDeep));
    }
}
