//! Opened bundles: their bodies in records, and the file that an auditor gets.

use mintmark_exchange::SignedOrder;
use mintmark_exchange::bundle::{BundleHead, FRAME_BYTES_MAX, FrameReader};
use mintmark_exchange::canonical;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::opened::OpenedHead;
use mintmark_exchange::reconcile::LostHead;
use mintmark_sdk::ledger::Witness;
use mintmark_sdk::messages::Opened;
use mintmark_sdk::{Digest, Error, ledger};

use crate::blob::{Blob, PIECE_BYTES};
use crate::{catalog, report};

/// Pieces of the file that one answer holds.
const PIECES_MAX: u64 = 4;

/// Copies the piece of the body at `offset`, a multiple of a piece's length; says how long it is.
pub(crate) fn copy_piece(bundle: &Digest, message: &Opened, offset: u64) -> Result<u64, Error> {
    let piece = message.read(offset, PIECE_BYTES as u32)?;
    if piece.is_empty() {
        return Err(Error::Malformed("the bundle's body"));
    }
    body(bundle).write_piece(offset / PIECE_BYTES as u64, &piece)?;
    Ok(piece.len() as u64)
}

/// What of the piece at `offset` is there; nothing at the end of the body.
pub(crate) fn body_piece(bundle: &Digest, offset: u64) -> Result<Vec<u8>, Error> {
    piece_from(&body(bundle), offset)
}

/// The checkpoints that the bundle begins with, each as the site's host signed it.
pub(crate) fn checkpoints(bundle: &Digest) -> Result<Vec<Vec<u8>>, Error> {
    let unreadable = Error::Malformed("the bundle's head");
    let mut reader = FrameReader::new();
    let mut offset = 0;
    loop {
        let piece = body_piece(bundle, offset)?;
        if piece.is_empty() {
            return Err(unreadable);
        }
        offset += piece.len() as u64;
        let frame = reader.next_frame(&mut piece.as_slice()).map_err(|_| unreadable.clone())?;
        if let Some(frame) = frame {
            let head: BundleHead =
                canonical::decode(&frame, FRAME_BYTES_MAX).map_err(|_| unreadable)?;
            return Ok(head.checkpoints.iter().map(SignedOrder::encode).collect());
        }
    }
}

/// What the host says of this headquarters, in the light of the bundle's checkpoints: which rows of
/// its own ledger they name that are not there, and whether it was ever restored.
pub(crate) fn own_past(bundle: &Digest) -> Result<(Vec<LostHead>, bool), Error> {
    let checkpoints = match checkpoints(bundle) {
        // A bundle without a head is a finding of its own.
        Err(Error::Malformed(_)) => return Ok((Vec::new(), false)),
        checkpoints => checkpoints?,
    };
    let (mut lost, mut restored) = (Vec::new(), false);
    for checkpoint in checkpoints {
        let verified = match ledger::verify_checkpoint(&checkpoint) {
            Ok(verified) => verified,
            // One that the host does not believe is a finding of its own.
            Err(Error::Denied(_) | Error::Invalid(_)) => continue,
            Err(error) => return Err(error),
        };
        let read = canonical::decode::<Checkpoint>(&verified.body, verified.body.len());
        let head = read.ok().and_then(|read| read.hq_head);
        let head = head.filter(|_| verified.witness != Witness::Held);
        let by_restore = verified.witness == Witness::Forgotten;
        lost.extend(head.map(|head| LostHead { head, by_restore }));
        restored |= verified.restored;
    }
    Ok((lost, restored))
}

/// Fixes what the auditor's file says besides the body.
pub(crate) fn store_head(bundle: &Digest, site: &str, made_at: u64) -> Result<(), Error> {
    let mut grants = Vec::new();
    for entitlement in catalog::of_site(site)? {
        let signed = catalog::signed_grant(&entitlement.id)?;
        grants.push(SignedOrder::decode(&signed).map_err(|_| Error::Malformed("a stored grant"))?);
    }
    let directives = catalog::directives(site)?;
    let closings = catalog::closings(site)?;
    let closings = closings.keys().map(|id| catalog::signed_closing(id));
    let closings = closings.collect::<Result<_, Error>>()?;
    let (lost_heads, restored) = own_past(bundle)?;
    let (site, bundle_digest) = (site.to_owned(), *bundle);
    let opened = OpenedHead {
        site,
        bundle: bundle_digest,
        made_at,
        grants,
        directives,
        closings,
        lost_heads,
        restored,
    };
    let encoded = opened.encode().ok_or(Error::Malformed("the auditor's file"))?;
    head(bundle).write(&encoded)
}

/// Bytes of the auditor's file from `offset` (none past its end), and the file's length.
pub(crate) fn read(bundle: &Digest, length: u64, offset: u64) -> Result<(Vec<u8>, u64), Error> {
    let head = head(bundle).read()?.ok_or(Error::Malformed("the auditor's file"))?;
    let head_length = head.len() as u64;
    let total = head_length.saturating_add(length);
    let mut data = Vec::new();
    if offset < head_length {
        data.extend(head.into_iter().skip(offset as usize).take(PIECE_BYTES));
        return Ok((data, total));
    }
    let body = body(bundle);
    let mut at = offset - head_length;
    for _ in 0..PIECES_MAX {
        let piece = piece_from(&body, at)?;
        at += piece.len() as u64;
        data.extend_from_slice(&piece);
    }
    Ok((data, total))
}

fn piece_from(body: &Blob, offset: u64) -> Result<Vec<u8>, Error> {
    let mut piece = body.piece(offset / PIECE_BYTES as u64)?.unwrap_or_default();
    let skipped = (offset % PIECE_BYTES as u64) as usize;
    Ok(piece.split_off(skipped.min(piece.len())))
}

fn body(bundle: &Digest) -> Blob {
    Blob::new("opened-body", &report::id(bundle))
}

fn head(bundle: &Digest) -> Blob {
    Blob::new("opened-head", &report::id(bundle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::installed;
    use mintmark_exchange::bundle::push_frame;
    use mintmark_exchange::canonical::encode;

    const BUNDLE: Digest = [9; 32];
    const SITE: &str = "spiffe://acme/site/shenzhen";

    fn stored(content: &[u8]) {
        for (number, piece) in content.chunks(PIECE_BYTES).enumerate() {
            body(&BUNDLE).write_piece(number as u64, piece).unwrap();
        }
    }

    #[test]
    fn the_auditors_file_comes_whole_whatever_the_offsets() {
        let _records = installed();
        let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        stored(&content);
        store_head(&BUNDLE, SITE, 5).unwrap();
        let mut file = Vec::new();
        loop {
            let (data, total) = read(&BUNDLE, content.len() as u64, file.len() as u64).unwrap();
            assert!(data.len() <= 1 << 20);
            file.extend_from_slice(&data);
            if file.len() as u64 >= total {
                break;
            }
        }
        let (head, rest) = OpenedHead::split(&file).unwrap();
        assert_eq!((head.site.as_str(), head.bundle, head.made_at), (SITE, BUNDLE, 5));
        assert_eq!(rest, content);
        let past = read(&BUNDLE, content.len() as u64, u64::MAX).unwrap();
        assert_eq!(past.0, Vec::<u8>::new());
    }

    #[test]
    fn checkpoints_are_found_also_in_a_head_of_several_pieces() {
        let _records = installed();
        let order = SignedOrder {
            body: vec![1; PIECE_BYTES + 5],
            chain: vec![vec![2]],
            signature: vec![3],
        };
        let head = BundleHead { version: 1, checkpoints: vec![order.clone()] };
        let mut content = Vec::new();
        push_frame(&mut content, &encode(&head)).unwrap();
        push_frame(&mut content, b"row").unwrap();
        stored(&content);
        assert_eq!(checkpoints(&BUNDLE), Ok(vec![order.encode()]));
    }

    #[test]
    fn p1_a_bundle_without_a_head_has_no_checkpoints() {
        let _records = installed();
        assert!(checkpoints(&BUNDLE).is_err());
        stored(&[0, 0, 1]);
        assert!(checkpoints(&BUNDLE).is_err());
    }
}
