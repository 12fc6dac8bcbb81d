//! What headquarters sent and keeps: every message until a site's checkpoint says that it was
//! applied. And the opening of a new epoch of a stream, after headquarters was restored.

use mintmark_exchange::approval::Act;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_exchange::message::Purpose;
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_store::{Key, Range};

use crate::call::Call;
use crate::custody::{Custody, FIRST_EPOCH};
use crate::disk::{self, peer::*};
use crate::tables;
use crate::types::{Digest, Session};

use super::stream::EPOCHS_AHEAD_MAX;

/// A message's place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) sequence: u64,
}

impl Custody {
    /// Lets a new epoch of the stream to `site` be opened by the site's next bundle: headquarters
    /// was restored, and does not know what it had sent, or the site was, and lacks messages that
    /// it had acknowledged, or the site could not use a grant that it took off the stream. Gives
    /// the epoch.
    ///
    /// # Errors
    ///
    /// `WRONG_STATE` at a site; `NOT_FOUND`; `APPROVAL_REQUIRED`.
    pub async fn open_stream(
        &self,
        session: Session,
        site: &str,
        epoch: Option<u64>,
    ) -> Result<u64, Refusal> {
        let mut call = self.begin(session, None).await?;
        let approved = call.approve_stream(site, epoch).await;
        self.conclude(call, approved).await
    }
}

impl Call {
    async fn approve_stream(&mut self, site: &str, epoch: Option<u64>) -> Result<u64, Refusal> {
        if !self.host.identity.is_headquarters() {
            let detail = "This is a site; headquarters opens the streams to its sites.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let site = self.peer_uri(site);
        let known: Option<StreamRecord> = self.read(&super::stream::stream_place(&site)).await?;
        let mut record = known.ok_or_else(|| Refusal::not_found("stream to that site"))?;
        let next = record.epoch.saturating_add(1).max(self.first_epoch());
        let epoch = epoch.unwrap_or_default().max(next);
        if epoch - next > EPOCHS_AHEAD_MAX / 2 {
            let detail = format!("The next epoch is {next}; that one is too far ahead of it.");
            return Err(Refusal::invalid(detail));
        }
        self.require_approvals(&Act::OpenStream { site: site.clone(), epoch }).await?;
        record.approved = Some(epoch);
        self.write_stream(&site, record);
        Ok(epoch)
    }

    /// Whether the store was restored since the stream was opened.
    pub(super) fn is_stale(&self, record: &StreamRecord) -> bool {
        let opened = record.store_epoch.max(FIRST_EPOCH);
        self.host.identity.is_headquarters() && opened != self.host.epoch
    }

    /// The least epoch of a stream that this store begins: nobody has seen it from an older store.
    pub(super) fn first_epoch(&self) -> u64 {
        self.host.epoch.saturating_sub(FIRST_EPOCH)
    }

    /// Refuses to send into a stream of which nobody knows how far it had come.
    pub(super) fn refuse_stale(&self, record: &StreamRecord) -> Result<(), Refusal> {
        if !self.is_stale(record) {
            return Ok(());
        }
        let detail = match record.approved {
            None => {
                "Headquarters was restored from a backup: open the stream to the site with \
                 `mintmark stream open`, then ingest a bundle of the site."
            }
            Some(_) => {
                "Headquarters was restored from a backup: ingest a bundle of the site first, which \
                 shows what the site holds."
            }
        };
        Err(Refusal::new(Reason::WrongState, detail))
    }

    /// The same, before anything is signed that would have to travel in the stream to `site`.
    pub(crate) async fn refuse_stale_stream(&mut self, site: &str) -> Result<(), Refusal> {
        let known: Option<StreamRecord> = self.read(&super::stream::stream_place(site)).await?;
        known.map_or(Ok(()), |record| self.refuse_stale(&record))
    }

    /// Refuses to credit a site that has not entered the epoch which people opened: a message that
    /// headquarters has forgotten may reach it until then, and credit the same.
    pub(crate) async fn refuse_before_entry(&mut self, site: &str) -> Result<(), Refusal> {
        let record = self.stream_record(site).await?;
        if record.opened_at == 0 || record.site_epoch >= record.epoch {
            return Ok(());
        }
        let detail = "The site has not entered the new epoch of its stream, and may still take \
                      what was sent before: have it import the newest receipt, then ingest its \
                      next bundle.";
        Err(Refusal::new(Reason::WrongState, detail).with("epoch", record.epoch.to_string()))
    }

    /// The epoch and the number of the next message to `site`.
    pub(crate) async fn next_place(&mut self, site: &str) -> Result<(u64, u64), Refusal> {
        let known: Option<StreamRecord> = self.read(&super::stream::stream_place(site)).await?;
        Ok(known.map_or((self.first_epoch(), 1), |last| (last.epoch, last.sequence + 1)))
    }

    /// A site's newest checkpoint was receipted, in a bundle whose first ledger is `first`: what
    /// the site has applied is kept no longer, and it may open the stream's new epoch.
    pub(crate) async fn acknowledged(
        &mut self,
        site: &str,
        checkpoint: &Checkpoint,
        first: u64,
    ) -> Result<(), Refusal> {
        let applied =
            Place { epoch: checkpoint.applied_epoch, sequence: checkpoint.applied_sequence };
        let known: Option<StreamRecord> = self.read(&super::stream::stream_place(site)).await?;
        let mut record = known.unwrap_or_else(|| StreamRecord {
            epoch: self.first_epoch(),
            store_epoch: self.host.epoch,
            ..StreamRecord::default()
        });
        // Of a site that reports for the first time the bundle tells whether it was restored.
        let known = if record.site_incarnation == 0 { first } else { record.site_incarnation };
        record.site_restored |= checkpoint.incarnation > known;
        record.site_incarnation = record.site_incarnation.max(checkpoint.incarnation);
        // What a restored site refuses, for it names rows that are lost, never arrives.
        let behind = match record.site_restored {
            true => None,
            false => self.left_behind(site, applied).await?,
        };
        let stale = self.is_stale(&record);
        if let Some(place) = behind.filter(|_| stale) {
            return Err(refuse_left_behind(place));
        }
        // A stream that goes on does so until the site has all that was sent in it.
        if stale || (record.approved.is_some() && behind.is_none()) {
            record = self.opened_epoch(&record, applied.epoch)?;
            self.record(Event::StreamOpened { peer: site.to_owned(), epoch: record.epoch });
        }
        record.site_epoch = applied.epoch;
        self.write_stream(site, record);
        let range = Range::all(tables::OUTBOX, tables::prefix(site, b""));
        for (key, value) in self.view.peek_range(&range).await? {
            let message: OutboxRecord = disk::read(&value)?;
            if place_of(&key).is_some_and(|(_, place)| place <= applied) {
                self.unstage(&message.file).await?;
                self.view.delete(key);
            }
        }
        Ok(())
    }

    /// What is on its way to a site: it cannot be taken any more once a new epoch begins.
    async fn left_behind(&mut self, site: &str, applied: Place) -> Result<Option<Place>, Refusal> {
        let range = Range::all(tables::OUTBOX, tables::prefix(site, b""));
        let found = self.view.peek_range(&range).await?;
        let mut places = found.iter().filter_map(|(key, _)| place_of(key));
        Ok(places.find(|(_, place)| *place > applied).map(|(_, place)| place))
    }

    fn opened_epoch(&self, record: &StreamRecord, applied: u64) -> Result<StreamRecord, Refusal> {
        let Some(epoch) = record.approved else {
            return self.refuse_stale(record).map(|()| record.clone());
        };
        if epoch <= applied {
            let detail = format!(
                "The site has taken messages of epoch {applied} already; run \
                 `mintmark stream open` with a later epoch."
            );
            return Err(Refusal::new(Reason::WrongState, detail)
                .with("epoch", applied.saturating_add(1).to_string()));
        }
        Ok(StreamRecord {
            epoch,
            head: record.head.clone(),
            store_epoch: self.host.epoch,
            opened_at: self.now_ms(),
            site_incarnation: record.site_incarnation,
            ..StreamRecord::default()
        })
    }

    /// Keeps a message until the site's checkpoints acknowledge it.
    pub(crate) async fn sent_in_stream(
        &mut self,
        site: &str,
        stream: Option<(u64, u64)>,
        purpose: Purpose,
        file: &str,
        digest: &Digest,
    ) -> Result<(), Refusal> {
        let Some((epoch, sequence)) = stream else { return Ok(()) };
        let mut record = self.stream_record(site).await?;
        record.epoch = epoch;
        record.store_epoch = self.host.epoch;
        record.sequence = sequence;
        record.digest = *digest;
        self.write_stream(site, record);
        self.view.write(
            outbox_place(site, Place { epoch, sequence }),
            OutboxRecord {
                purpose: purpose.name().to_owned(),
                file: file.to_owned(),
                digest: *digest,
                made_at: self.began.site_ms,
            },
        );
        Ok(())
    }
}

fn refuse_left_behind(place: Place) -> Refusal {
    let detail = "The site has not taken all messages that were sent to it before; import what \
                  `outbox list` shows there, then ingest the site's next bundle.";
    Refusal::new(Reason::WrongState, detail).with("sequence", place.sequence.to_string())
}

fn outbox_place(site: &str, place: Place) -> Key {
    let place = [place.epoch.to_be_bytes(), place.sequence.to_be_bytes()].concat();
    tables::pair(tables::OUTBOX, site, place)
}

/// The site of an outbox entry, and the message's place in its stream.
pub(crate) fn place_of(key: &Key) -> Option<(String, Place)> {
    let (rest, sequence) = key.key.split_last_chunk()?;
    let (site, epoch) = rest.split_last_chunk()?;
    let site = String::from_utf8_lossy(site.strip_suffix(&[0])?).into_owned();
    let place =
        Place { epoch: u64::from_be_bytes(*epoch), sequence: u64::from_be_bytes(*sequence) };
    Some((site, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_site_and_place_and_epochs_come_in_their_order() {
        let site = "spiffe://acme/site/shenzhen";
        let (old, new) = (Place { epoch: 0, sequence: 9 }, Place { epoch: 1, sequence: 0 });
        assert!(old < new && outbox_place(site, old) < outbox_place(site, new));
        assert_eq!(place_of(&outbox_place(site, new)), Some((site.to_owned(), new)));
        assert_eq!(place_of(&Key::new(tables::OUTBOX, b"short".to_vec())), None);
    }
}
