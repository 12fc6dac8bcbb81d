//! A file of given keys: PEM documents, one after the other, read a chunk at a time.

use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use mintmark_crypto::SecretBytes;
use mintmark_exchange::Digest;
use mintmark_exchange::pool::{CHUNK_KEYS, given_digest, load_digest};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::{files, pem};

/// The longest line that a PEM document of a key has, and a little.
const LINE_BYTES_MAX: u64 = 256;
/// The longest document: no key here has a quarter of it.
const DOCUMENT_BYTES_MAX: usize = 4 << 10;

/// A file of keys, as far as it was read.
pub(super) struct Given<R = BufReader<std::fs::File>> {
    source: R,
    path: PathBuf,
    line: u64,
}

/// Counts the keys of a file, and says by which digest they are announced.
pub(super) fn announce(path: &Path) -> Result<(u64, Digest), Error> {
    let mut given = Given::open(path)?;
    let (mut keys, mut digests) = (0, Vec::new());
    while let Some(chunk) = given.next_chunk()? {
        keys += chunk.len() as u64;
        digests.push(given_digest(chunk.iter().map(SecretBytes::expose)));
    }
    Ok((keys, load_digest(&digests)))
}

impl Given {
    /// Opens a file that the command line names.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self::of(BufReader::new(files::open(path)?), path))
    }
}

impl<R: BufRead> Given<R> {
    /// What `source` gives, which errors name by `path`.
    pub(super) fn of(source: R, path: &Path) -> Self {
        Self { source, path: path.to_owned(), line: 0 }
    }

    /// The next keys, as many as a chunk has; none at the end of the file.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Vec<SecretBytes>>, Error> {
        let mut chunk = Vec::with_capacity(CHUNK_KEYS);
        while chunk.len() < CHUNK_KEYS {
            match self.next_key()? {
                Some(key) => chunk.push(key),
                None => break,
            }
        }
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// The next document, decoded. Lines between documents are empty.
    fn next_key(&mut self) -> Result<Option<SecretBytes>, Error> {
        let mut document = Zeroizing::new(String::with_capacity(DOCUMENT_BYTES_MAX));
        loop {
            let from = document.len();
            let whole = self.next_line(&mut document)?;
            if document.len() > DOCUMENT_BYTES_MAX {
                return Err(self.malformed());
            }
            let line = document[from..].trim();
            let (ends, empty) = (line.starts_with("-----END "), line.is_empty());
            if ends {
                let key = pem::decode_key(document.as_bytes());
                return key.map(Some).map_err(|_| self.malformed());
            }
            if from == 0 && empty {
                document.clear();
            }
            if !whole {
                return if document.is_empty() { Ok(None) } else { Err(self.malformed()) };
            }
        }
    }

    /// Appends a line; false at the end of the file.
    fn next_line(&mut self, document: &mut String) -> Result<bool, Error> {
        let mut limited = (&mut self.source).take(LINE_BYTES_MAX);
        let read = limited.read_line(document).map_err(Error::file("read", &self.path))?;
        self.line += 1;
        Ok(read > 0)
    }

    fn malformed(&self) -> Error {
        let what = format!("line {} of {} belongs to no key", self.line, self.path.display());
        Error::misfit(what, "Give PEM documents with the label `PRIVATE KEY`, and nothing else.")
    }
}

#[cfg(test)]
mod tests {
    use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};

    use super::*;

    fn keys(count: usize) -> (Vec<SecretBytes>, String) {
        let keys = (0..count).map(|_| SigningKey::generate(SignatureAlgorithm::EcdsaP256));
        let keys: Vec<_> = keys.map(|key| key.to_pkcs8()).collect();
        let text = keys.iter().map(|key| pem::encode_key(key).to_string()).collect();
        (keys, text)
    }

    fn given(text: &str) -> Given<&[u8]> {
        Given::of(text.as_bytes(), Path::new("keys.pem"))
    }

    #[test]
    fn keys_come_in_chunks_and_in_the_order_of_the_file() {
        let (keys, text) = keys(3);
        let spread = text.replace("-----BEGIN", "\n\n-----BEGIN");
        for text in [text.as_str(), spread.as_str(), &text.replace('\n', "\r\n")] {
            let mut given = given(text);
            let chunk = given.next_chunk().unwrap().unwrap();
            let read: Vec<_> = chunk.iter().map(SecretBytes::expose).collect();
            assert_eq!(read, keys.iter().map(SecretBytes::expose).collect::<Vec<_>>());
            assert!(given.next_chunk().unwrap().is_none());
        }
    }

    #[test]
    fn a_file_that_was_cut_off_or_holds_something_else_is_refused_by_line() {
        let (_, text) = keys(2);
        let second = text.len() / 2 + 20;
        let lines = text.lines().count();
        for (text, line) in [
            (text[..second].to_owned(), lines / 2 + 2),
            (format!("{text}license 7\n"), lines + 2),
            (text.replace("PRIVATE", "PUBLIC"), lines / 2),
            (format!("{text}{}", "x".repeat(9_000)), lines + 17),
        ] {
            let error = given(&text).next_chunk().unwrap_err().to_string();
            assert!(error.contains(&format!("line {line} ")), "{error}, not {line}");
        }
    }
}
