//! Sealed messages: the form of every file that crosses the gap.
//!
//! The bytes of a message are staged by the host; plugins name them by their id and never hold a
//! whole one. [`open`] gives an authentic message whose body is read in ranges, [`seal`] a writer
//! for a new one.

mod body;

pub use body::Body;
pub use mintmark_exchange::message::Purpose;

use std::io;

use crate::{
    Digest, Timestamp,
    backend::{self, Messages as _, OpenedHandle as _, WriterHandle as _, held},
    error::{Error, Reason},
    peers::Identity,
};

/// The most bytes of a body that cross between plugin and host at once.
pub const RANGE_BYTES_MAX: usize = 1 << 20;

/// Verifies a staged message, then decrypts it; the plugin gets nothing before every check holds.
///
/// # Errors
/// [`Error::NotFound`] for the file; `UNTRUSTED_MESSAGE`, without a word more; `WRONG_SITE`,
/// `WRONG_PLUGIN`, `UNSUPPORTED_VERSION`, `KEY_RETIRED`; `REPLAYED` with the row and state of the
/// first time as facts; `OUT_OF_ORDER`.
pub fn open(purpose: Purpose, file: &str) -> Result<Opened, Error> {
    backend::messages().open(purpose, file)
}

/// Begins a message to a peer's plugin. `header` is what it says in clear, at most 64 KiB.
///
/// # Errors
/// `PERMISSION_DENIED`; [`Error::NotFound`] for an unknown peer; `EXPIRED` for its certificate.
pub fn seal(purpose: Purpose, cluster: &str, plugin: &str, header: &[u8]) -> Result<Writer, Error> {
    backend::messages().seal(purpose, cluster, plugin, header)
}

/// An authentic message, opened.
pub struct Opened {
    pub(crate) handle: held::Opened,
}

backend::handle!(Opened, OpenedHandle);

impl Opened {
    /// Who sent it.
    pub fn sender(&self) -> Identity {
        self.handle().sender()
    }

    /// What the sending plugin said in clear. It is authentic.
    pub fn header(&self) -> Vec<u8> {
        self.handle().header()
    }

    /// Site time of the sender.
    pub fn made_at(&self) -> Timestamp {
        self.handle().made_at()
    }

    /// SHA-256 of the whole message, by which the next one can refer to it.
    pub fn digest(&self) -> Digest {
        self.handle().digest()
    }

    /// Length of the decrypted body in bytes.
    pub fn length(&self) -> u64 {
        self.handle().length()
    }

    /// Bytes of the decrypted body from `offset`: at most `limit`, itself at most 1 MiB; none past
    /// the end.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a `limit` outside its bounds.
    pub fn read(&self, offset: u64, limit: u32) -> Result<Vec<u8>, Error> {
        self.handle().read(offset, limit)
    }

    /// The body, from its beginning.
    pub fn body(&self) -> Body<'_> {
        self.body_from(0)
    }

    /// The body from `offset`, for work that goes on in a later call.
    pub fn body_from(&self, offset: u64) -> Body<'_> {
        Body::new(self, offset)
    }

    /// The whole body, where it is no longer than `length_max`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a longer one, before anything is read.
    pub fn read_all(&self, length_max: usize) -> Result<Vec<u8>, Error> {
        if usize::try_from(self.length()).map_or(true, |length| length > length_max) {
            let detail = "the message's body is longer than this purpose allows";
            return Err(Error::Invalid(Reason::new("INVALID_ARGUMENT", detail)));
        }
        let mut bytes = Vec::new();
        let mut body = self.body();
        while let Some(range) = body.next_range()? {
            bytes.extend_from_slice(&range);
        }
        Ok(bytes)
    }

    /// Says that the message is done with: its bytes answer `REPLAYED` from now on. For what
    /// headquarters sends, the host does it by itself when the message is opened.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a store that cannot answer.
    pub fn accept(&self) -> Result<(), Error> {
        self.handle().accept()
    }
}

/// A message that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The id of the staged file: 32 hexadecimal digits.
    pub file: String,
    /// SHA-256 of the whole message.
    pub digest: Digest,
    /// Its place in the stream to that site; none for what a site sends.
    pub sequence: Option<u64>,
}

/// A message that is written. Nothing leaves before [`Writer::finish`].
///
/// Small writes are collected, so that a row each does not cost a call of the host each.
pub struct Writer {
    pub(crate) handle: held::Writer,
    pending: Vec<u8>,
}

backend::handle!(Writer, WriterHandle, pending: Vec::new());

impl Writer {
    /// Appends to the body: 64 MiB together.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a body that is too long.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while self.pending.len() + bytes.len() >= RANGE_BYTES_MAX {
            let (now, later) = bytes.split_at(RANGE_BYTES_MAX - self.pending.len());
            self.pending.extend_from_slice(now);
            self.send()?;
            bytes = later;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Seals the body to the peer's plugin, signs the message as this plugin and stages it.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn finish(mut self) -> Result<Sealed, Error> {
        self.send()?;
        self.handle().finish()
    }

    fn send(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.handle().write(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.send()?)
    }
}
