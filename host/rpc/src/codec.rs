//! How messages are read: the host's strictly, a plugin's not at all.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, Bytes};
use mintmark_model::Refusal;
use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_prost::ProstEncoder;

use crate::refusal;

/// Protobuf, as the generated services take it. A malformed message is its sender's fault, and is
/// said so.
pub(crate) struct StrictCodec<Out, In>(PhantomData<(Out, In)>);

impl<Out, In> Default for StrictCodec<Out, In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Out, In> Codec for StrictCodec<Out, In>
where
    Out: Message + Send + 'static,
    In: Message + Default + Send + 'static,
{
    type Encode = Out;
    type Decode = In;
    type Encoder = ProstEncoder<Out>;
    type Decoder = StrictDecoder<In>;

    fn encoder(&mut self) -> ProstEncoder<Out> {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> StrictDecoder<In> {
        StrictDecoder(PhantomData)
    }
}

/// The reading half of [`StrictCodec`].
pub(crate) struct StrictDecoder<In>(PhantomData<In>);

impl<In: Message + Default> Decoder for StrictDecoder<In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        let decoded = In::decode(from).map(Some);
        decoded.map_err(|_| refusal::status(Refusal::invalid("The message is malformed.")))
    }
}

/// Passes the bytes of a message through. Length and compression were handled by tonic, within our
/// limits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
