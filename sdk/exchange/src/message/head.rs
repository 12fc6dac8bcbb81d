//! The bounded decoder of a message's head, and its counterpart.

use crate::{
    canonical::{self, DecodeError, Digest, encode, framed, sha256, sha256_of},
    message::{HEADER_BYTES_MAX, HPKE_LABEL, Header, LABEL, MAGIC, TAIL_BYTES_MAX, Tail, VERSION},
    order::SIGNATURE_BYTES_MAX,
};

/// A message up to its chunks, with the bytes as they were received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageHead {
    header: Header,
    tail: Tail,
    signature: Vec<u8>,
    /// Everything before the signature's length, as received.
    covered: Vec<u8>,
    aad_length: usize,
}

/// Why a head can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Sound so far; at least this many bytes from the message's start are needed to go on.
    #[error("the head is longer than the bytes at hand")]
    Incomplete {
        /// How many.
        needed: usize,
    },
    /// Not a message, or a part beyond its bounds. Nothing was allocated for it.
    #[error("not a message")]
    Malformed,
    /// A version of the message format that this code does not know.
    #[error("unknown message version")]
    UnknownVersion,
}

impl MessageHead {
    /// Reads the head from the first bytes of a message; gives also its length, where the chunks
    /// begin. The bytes are whatever an attacker put into a file: lengths are compared with their
    /// bounds before anything of that length is looked for.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), HeadError> {
        let mut cursor = Cursor { bytes, at: 0 };
        if cursor.take(4)? != MAGIC {
            return Err(HeadError::Malformed);
        }
        if cursor.take(2)? != VERSION.to_be_bytes() {
            return Err(HeadError::UnknownVersion);
        }
        let header = cursor.take_counted(4, HEADER_BYTES_MAX)?;
        let header: Header = canonical::decode(header, HEADER_BYTES_MAX)?;
        let aad_length = cursor.at;
        let tail = cursor.take_counted(4, TAIL_BYTES_MAX)?;
        let tail: Tail = canonical::decode(tail, TAIL_BYTES_MAX)?;
        let covered = bytes[..cursor.at].to_vec();
        let signature = cursor.take_counted(2, SIGNATURE_BYTES_MAX)?.to_vec();
        if signature.is_empty() || !header.is_sound() || !tail.is_sound(header.suite) {
            return Err(HeadError::Malformed);
        }
        Ok((Self { header, tail, signature, covered, aad_length }, cursor.at))
    }

    /// The header. Not authenticated before [`MessageHead::signed_bytes`] is verified.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The tail.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The signature over [`MessageHead::signed_bytes`], under the first key of the sender's
    /// chain.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The bytes that the sealing authenticates: all before the tail, as received.
    pub fn aad(&self) -> &[u8] {
        &self.covered[..self.aad_length]
    }

    /// The HPKE `info`.
    pub fn hpke_info(&self) -> Vec<u8> {
        hpke_info(&sha256(self.aad()))
    }

    /// The bytes that the signature covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        framed(LABEL, &[&self.digest()])
    }

    /// The digest by which the message is known: of all before the signature, so that a second
    /// signature does not make a second message.
    pub fn digest(&self) -> Digest {
        sha256(&self.covered)
    }

    /// Bytes of the chunks that follow the head.
    pub fn chunk_bytes(&self) -> u64 {
        self.tail.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }
}

/// A message's first bytes up to the tail: the AAD under which its chunks are sealed.
pub fn preamble(header: &Header) -> Result<Vec<u8>, DecodeError> {
    let encoded = encode(header);
    if encoded.len() > HEADER_BYTES_MAX || !header.is_sound() {
        return Err(DecodeError::TooLong);
    }
    let mut bytes = Vec::with_capacity(encoded.len() + 10);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    push_counted(&mut bytes, &encoded);
    Ok(bytes)
}

/// The HPKE `info` for a message whose AAD has this digest.
pub fn hpke_info(aad_digest: &Digest) -> Vec<u8> {
    [HPKE_LABEL.as_bytes(), aad_digest].concat()
}

/// The bytes to sign for a message: the counterpart of [`MessageHead::signed_bytes`].
pub fn signed_bytes(preamble: &[u8], tail: &Tail) -> Vec<u8> {
    let tail = encode(tail);
    let length = u32::try_from(tail.len()).expect("a tail is bounded by its count of chunks");
    framed(LABEL, &[&sha256_of(&[preamble, &length.to_be_bytes(), &tail])])
}

/// A message's head, to be followed by the chunks.
pub fn assemble(preamble: &[u8], tail: &Tail, signature: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let encoded = encode(tail);
    let length = u16::try_from(signature.len()).map_err(|_| DecodeError::TooLong)?;
    if encoded.len() > TAIL_BYTES_MAX || signature.len() > SIGNATURE_BYTES_MAX {
        return Err(DecodeError::TooLong);
    }
    let mut bytes = preamble.to_vec();
    push_counted(&mut bytes, &encoded);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(signature);
    Ok(bytes)
}

impl From<DecodeError> for HeadError {
    fn from(_: DecodeError) -> Self {
        Self::Malformed
    }
}

/// Reads forward, saying how much is missing.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], HeadError> {
        let end = self.at + count;
        let taken = self.bytes.get(self.at..end).ok_or(HeadError::Incomplete { needed: end })?;
        self.at = end;
        Ok(taken)
    }

    /// A field after its length of `width` bytes; the length is bounded before it is believed.
    fn take_counted(&mut self, width: usize, bytes_max: usize) -> Result<&'a [u8], HeadError> {
        let length = self.take(width)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let length = usize::try_from(length).map_err(|_| HeadError::Malformed)?;
        if length > bytes_max {
            return Err(HeadError::Malformed);
        }
        self.take(length)
    }
}

fn push_counted(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).expect("bounded by the caller");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::{
        CHUNK_BYTES_MAX, CHUNKS_MAX, ChunkRef, HEAD_BYTES_MAX, HeadRef, HostHeader,
        PLUGIN_HEADER_BYTES_MAX, Purpose, Stream, Suite, TrustedMeasurement,
    };

    fn header() -> Header {
        let stream = Stream {
            epoch: 1,
            sequence: 2,
            sent_at: 3,
            trust: vec![TrustedMeasurement { plugin: "hq".to_owned(), measurement: [4; 32] }],
            crls: vec![vec![5; 20]],
            site_heads: vec![HeadRef { node: "n1".to_owned(), ..HeadRef::default() }],
            ..Stream::default()
        };
        Header {
            purpose: Purpose::Entitlement,
            message_id: [6; 16],
            made_at: 7,
            host: HostHeader { stream: Some(stream) },
            plugin: vec![8; 3],
            sender_chain: vec![vec![9; 40], vec![10; 30]],
            recipient: [11; 32],
            suite: Suite::X25519,
        }
    }

    fn tail() -> Tail {
        let chunk = |digest, length| ChunkRef { digest: [digest; 32], length };
        Tail { encapsulated_key: vec![12; 32], chunks: vec![chunk(13, 1_048_592), chunk(14, 17)] }
    }

    fn message() -> Vec<u8> {
        assemble(&preamble(&header()).unwrap(), &tail(), &[15; 70]).unwrap()
    }

    #[test]
    fn a_head_reads_back_with_the_bytes_that_were_signed_and_sealed() {
        let before = preamble(&header()).unwrap();
        let bytes = [message(), b"chunks".to_vec()].concat();
        let (head, length) = MessageHead::parse(&bytes).unwrap();
        assert_eq!(length, bytes.len() - 6);
        assert_eq!((head.header(), head.tail()), (&header(), &tail()));
        assert_eq!(head.signature(), [15; 70]);
        assert_eq!(head.aad(), before);
        assert_eq!(head.hpke_info(), hpke_info(&sha256(&before)));
        assert_eq!(head.signed_bytes(), signed_bytes(&before, &tail()));
        assert_eq!(head.digest(), sha256(&bytes[..length - 72]));
        assert_eq!(head.chunk_bytes(), 1_048_609);
    }

    #[test]
    fn p1_every_truncated_prefix_is_incomplete_and_says_what_it_needs() {
        let bytes = message();
        for end in 0..bytes.len() {
            let Err(HeadError::Incomplete { needed }) = MessageHead::parse(&bytes[..end]) else {
                panic!("{end} bytes");
            };
            assert!(needed > end && needed <= bytes.len());
        }
    }

    #[test]
    fn p2_every_bit_flip_is_refused_or_changes_what_was_signed() {
        let bytes = message();
        let (whole, _) = MessageHead::parse(&bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok((head, _)) = MessageHead::parse(&flipped) {
                let same = head.signed_bytes() == whole.signed_bytes();
                assert!(!same || head.signature() != whole.signature(), "bit {bit}");
            }
        }
    }

    #[test]
    fn p3_lengths_beyond_their_bounds_are_refused_before_they_are_believed() {
        let bytes = message();
        let tail_at = preamble(&header()).unwrap().len();
        for place in [6, tail_at] {
            for claimed in [1 << 20, 1_u32 << 31, u32::MAX] {
                let mut longer = bytes.clone();
                longer[place..place + 4].copy_from_slice(&claimed.to_be_bytes());
                assert_eq!(MessageHead::parse(&longer), Err(HeadError::Malformed));
            }
        }
        let mut longer = bytes.clone();
        let at = bytes.len() - 72;
        longer[at..at + 2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(MessageHead::parse(&longer), Err(HeadError::Malformed));
    }

    #[test]
    fn p4_bytes_inside_of_the_header_s_length_but_after_it_are_refused() {
        let encoded = [encode(&header()), vec![0]].concat();
        let mut bytes = [MAGIC.as_slice(), &VERSION.to_be_bytes()].concat();
        push_counted(&mut bytes, &encoded);
        let bytes = assemble(&bytes, &tail(), &[15; 70]).unwrap();
        assert_eq!(MessageHead::parse(&bytes), Err(HeadError::Malformed));
    }

    #[test]
    fn p14_a_second_signature_does_not_make_a_second_message() {
        let before = preamble(&header()).unwrap();
        let signed = |signature: &[u8]| {
            let bytes = assemble(&before, &tail(), signature).unwrap();
            MessageHead::parse(&bytes).unwrap().0
        };
        let (one, other) = (signed(&[15; 70]), signed(&[16; 71]));
        assert_ne!(one.signature(), other.signature());
        assert_eq!(one.digest(), other.digest());
        let order = |signature| crate::SignedOrder {
            body: b"grant".to_vec(),
            chain: vec![vec![1]],
            signature,
        };
        let digest = |signature| order(signature).digest(crate::order::GRANT);
        assert_eq!(digest(vec![1; 70]), digest(vec![2; 71]));
    }

    #[test]
    fn p10_a_body_under_another_label_is_another_order() {
        use crate::order::{APPROVAL, CHARTER, CHECKPOINT, CLOSING, DIRECTIVE, GRANT, RECEIPT};
        let labels = [APPROVAL, CHARTER, CHECKPOINT, CLOSING, DIRECTIVE, GRANT, RECEIPT, LABEL];
        let signed: std::collections::BTreeSet<_> =
            labels.iter().map(|label| crate::order::signed_bytes(label, b"body")).collect();
        assert_eq!(signed.len(), labels.len());
        let prefixed =
            |one: &Vec<u8>| signed.iter().any(|other| one != other && other.starts_with(one));
        assert!(!signed.iter().any(prefixed));
    }

    #[test]
    fn a_newer_version_is_told_apart_from_garbage() {
        let mut bytes = message();
        bytes[5] = 2;
        assert_eq!(MessageHead::parse(&bytes), Err(HeadError::UnknownVersion));
        bytes[0] = b'X';
        assert_eq!(MessageHead::parse(&bytes), Err(HeadError::Malformed));
    }

    /// What the decoder makes of a head that its counterpart would not write.
    fn read_back(header: &Header, tail: &Tail) -> Result<usize, HeadError> {
        let mut bytes = [MAGIC.as_slice(), &VERSION.to_be_bytes()].concat();
        push_counted(&mut bytes, &encode(header));
        push_counted(&mut bytes, &encode(tail));
        bytes.extend_from_slice(&[0, 1, 1]);
        MessageHead::parse(&bytes).map(|(_, length)| length)
    }

    #[test]
    fn parts_beyond_their_bounds_are_refused() {
        let edits: [fn(&mut Header, &mut Tail); 12] = [
            |header, _| header.sender_chain.clear(),
            |header, _| header.sender_chain = vec![vec![1]; 5],
            |header, _| header.sender_chain = vec![vec![1; 4097]],
            |header, _| header.plugin = vec![0; PLUGIN_HEADER_BYTES_MAX + 1],
            |header, _| header.host.stream.as_mut().unwrap().crls = vec![vec![0; 256 << 10]],
            |header, _| header.recipient = [0; 32],
            |header, _| header.suite = Suite::Unsealed,
            |header, _| header.purpose = Purpose::Identity,
            |_, tail| tail.encapsulated_key.push(0),
            |_, tail| tail.chunks.clear(),
            |_, tail| tail.chunks = vec![tail.chunks[0]; CHUNKS_MAX + 1],
            |_, tail| tail.chunks[0].length = CHUNK_BYTES_MAX as u32 + 17,
        ];
        assert!(read_back(&header(), &tail()).is_ok());
        for (number, edit) in edits.into_iter().enumerate() {
            let (mut header, mut tail) = (header(), tail());
            edit(&mut header, &mut tail);
            let refused = read_back(&header, &tail);
            assert_eq!(refused, Err(HeadError::Malformed), "edit {number}");
        }
    }

    #[test]
    fn the_largest_head_is_readable() {
        let mut header = header();
        header.sender_chain = vec![vec![1; 4096]; 4];
        header.plugin = vec![2; PLUGIN_HEADER_BYTES_MAX];
        let bytes = 255 << 10;
        header.host.stream.as_mut().unwrap().crls = vec![vec![3; bytes]];
        let chunk = ChunkRef { digest: [255; 32], length: CHUNK_BYTES_MAX as u32 + 16 };
        let tail = Tail { encapsulated_key: vec![1; 32], chunks: vec![chunk; CHUNKS_MAX] };
        let bytes = assemble(&preamble(&header).unwrap(), &tail, &[1; 128]).unwrap();
        assert!(bytes.len() <= HEAD_BYTES_MAX);
        assert_eq!(MessageHead::parse(&bytes).unwrap().1, bytes.len());
    }

    proptest! {
        #[test]
        fn p3_no_bytes_make_the_decoder_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let _ = MessageHead::parse(&bytes);
            let start = message();
            bytes.splice(0..0, start[..10].iter().copied());
            let _ = MessageHead::parse(&bytes);
        }

        #[test]
        fn heads_round_trip(
            id in any::<[u8; 16]>(),
            made_at in any::<u64>(),
            plugin in proptest::collection::vec(any::<u8>(), 0..200),
            chunks in proptest::collection::vec((any::<[u8; 32]>(), 1..=1_048_592_u32), 1..20),
            signature in proptest::collection::vec(any::<u8>(), 1..=128),
        ) {
            let header = Header { message_id: id, made_at, plugin, ..header() };
            let chunks = chunks.into_iter().map(|(digest, length)| ChunkRef { digest, length });
            let tail = Tail { chunks: chunks.collect(), ..tail() };
            let before = preamble(&header).unwrap();
            let bytes = assemble(&before, &tail, &signature).unwrap();
            let (head, length) = MessageHead::parse(&bytes).unwrap();
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(head.header(), &header);
            prop_assert_eq!(head.tail(), &tail);
            prop_assert_eq!(head.signed_bytes(), signed_bytes(&before, &tail));
        }
    }
}
