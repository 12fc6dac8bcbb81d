//! A host in memory, for the tests of what lies in records and of the steps of an audit.
//!
//! Signatures are not checked here: what they decide is tested in `exchange` and in the host.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use mintmark_exchange::SignedOrder;
use mintmark_exchange::canonical::sha256;
use mintmark_exchange::checkpoint::Checkpoint;
use mintmark_sdk::backend::{
    self, Allotments, Caller, Certificates, Clock, Installed, KeySets, Keys, Ledger, Log, Messages,
    OpenedHandle, Peers, Records, Transfers, WriterHandle,
};
use mintmark_sdk::ledger::{VerifiedCheckpoint, Witness};
use mintmark_sdk::messages::{Opened, Purpose, Sealed, Writer};
use mintmark_sdk::peers::Identity;
use mintmark_sdk::records::Entry;
use mintmark_sdk::{Digest, Error, Reason, Status};

/// The site that all bundles come from.
pub(crate) const SITE: &str = "spiffe://acme/site/shenzhen";
/// When all bundles are made.
pub(crate) const MADE_AT_MS: u64 = 1_100_000;
/// The hash of a row that a site has seen and this headquarters lacks.
pub(crate) const LOST_HEAD: Digest = [0xee; 32];
/// The hash of one that a restore has lost.
pub(crate) const FORGOTTEN_HEAD: Digest = [0xef; 32];

/// What a call may change.
#[derive(Clone, Default)]
struct State {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    accepted: BTreeSet<Digest>,
    receipts: Vec<Vec<u8>>,
    /// As after a restore, with messages on their way to the site.
    refuses_receipts: bool,
    now_ms: u64,
}

/// Bundles by file id.
#[derive(Default)]
struct Host {
    state: Rc<RefCell<State>>,
    files: RefCell<BTreeMap<String, Rc<Vec<u8>>>>,
}

/// The installed host, from outside.
pub(crate) struct Memory {
    host: Rc<Host>,
    _installed: Installed,
}

/// Installs an empty host for this thread.
pub(crate) fn installed() -> Memory {
    let host = Rc::new(Host::default());
    Memory { host: Rc::clone(&host), _installed: backend::install(host) }
}

impl Memory {
    /// Stages a bundle; its id is of the caller's choice.
    pub(crate) fn stage(&self, file: &str, body: Vec<u8>) {
        self.host.files.borrow_mut().insert(file.to_owned(), Rc::new(body));
    }

    /// Sets the clock.
    pub(crate) fn set_now(&self, now_ms: u64) {
        self.host.state.borrow_mut().now_ms = now_ms;
    }

    /// Lets the host refuse receipts from now on, or give them.
    pub(crate) fn refuse_receipts(&self, refuses: bool) {
        self.host.state.borrow_mut().refuses_receipts = refuses;
    }

    /// A call of the plugin: after an error all that it did is dropped.
    pub(crate) fn call<T>(&self, call: impl FnOnce() -> Result<T, Status>) -> Result<T, Status> {
        let before = self.host.state.borrow().clone();
        let answer = call();
        if answer.is_err() {
            *self.host.state.borrow_mut() = before;
        }
        answer
    }

    /// The receipts that were sealed.
    pub(crate) fn receipts(&self) -> Vec<Vec<u8>> {
        self.host.state.borrow().receipts.clone()
    }
}

impl Records for Host {
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        assert!(keys.len() <= 4_096 && keys.iter().all(|key| matches!(key.len(), 1..=512)));
        let records = &self.state.borrow().records;
        Ok(keys.iter().map(|key| records.get(key).cloned()).collect())
    }

    fn put(&self, entries: &[Entry]) -> Result<(), Error> {
        assert!(entries.len() <= 4_096);
        let bytes = |entry: &Entry| entry.key.len() + entry.value.len() + 16;
        assert!(entries.iter().map(bytes).sum::<usize>() <= 4 << 20, "the host would stop this");
        for Entry { key, value } in entries {
            assert!(matches!(key.len(), 1..=512) && value.len() <= 256 << 10);
            self.state.borrow_mut().records.insert(key.clone(), value.clone());
        }
        Ok(())
    }

    fn delete(&self, keys: &[Vec<u8>]) -> Result<(), Error> {
        for key in keys {
            self.state.borrow_mut().records.remove(key);
        }
        Ok(())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, Error> {
        let records = &self.state.borrow().records;
        let found = records.range(prefix.to_vec()..);
        let found = found.take_while(|(key, _)| key.starts_with(prefix));
        let found = found.filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        let found = found.take(limit as usize);
        Ok(found.map(|(key, value)| Entry::new(key.clone(), value.clone())).collect())
    }
}

impl Messages for Host {
    fn open(&self, purpose: Purpose, file: &str) -> Result<Opened, Error> {
        assert!(matches!(purpose, Purpose::Bundle | Purpose::Closing));
        let body = self.files.borrow().get(file).cloned().ok_or(Error::NotFound)?;
        let digest = sha256(&body);
        if self.state.borrow().accepted.contains(&digest) {
            let mut reason = Reason::new("REPLAYED", "accepted before");
            reason.metadata.push(("digest".to_owned(), crate::report::id(&digest)));
            return Err(Error::Conflict(reason));
        }
        let state = Rc::clone(&self.state);
        Ok(Opened::from_handle(Bundle { body, digest, state }))
    }

    fn seal(&self, purpose: Purpose, site: &str, _: &str, _: &[u8]) -> Result<Writer, Error> {
        assert_eq!((purpose, site), (Purpose::Receipt, SITE));
        let state = Rc::clone(&self.state);
        Ok(Writer::from_handle(Receipt { body: RefCell::default(), state }))
    }
}

impl Ledger for Host {
    fn verify_checkpoint(&self, checkpoint: &[u8]) -> Result<VerifiedCheckpoint, Error> {
        let order = SignedOrder::decode(checkpoint).unwrap();
        let read: Checkpoint = order.open().unwrap();
        let seen = read.hq_head.map(|head| head.hash);
        let witness = match seen {
            Some(LOST_HEAD) => Witness::Lost,
            Some(FORGOTTEN_HEAD) => Witness::Forgotten,
            _ => Witness::Held,
        };
        let restored = witness == Witness::Forgotten;
        Ok(VerifiedCheckpoint { cluster: read.cluster, body: order.body, witness, restored })
    }
}

impl Transfers for Host {
    fn export_receipt(&self, _: &Digest, orders: &[Vec<u8>], _: &str) -> Result<Vec<u8>, Error> {
        assert_eq!(orders.len(), 1);
        if self.state.borrow().refuses_receipts {
            return Err(Error::Conflict(Reason::new("WRONG_STATE", "messages are left behind")));
        }
        Ok(b"receipt".to_vec())
    }

    fn import_closing(&self, order: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(SignedOrder::decode(order).unwrap().body)
    }
}

impl Clock for Host {
    fn now(&self) -> u64 {
        self.state.borrow().now_ms
    }
}

impl Allotments for Host {}
impl Caller for Host {}
impl Certificates for Host {}
impl KeySets for Host {}
impl Keys for Host {}
impl Log for Host {}
impl Peers for Host {}

/// A staged bundle, opened.
struct Bundle {
    body: Rc<Vec<u8>>,
    digest: Digest,
    state: Rc<RefCell<State>>,
}

impl OpenedHandle for Bundle {
    fn sender(&self) -> Identity {
        Identity {
            cluster: SITE.to_owned(),
            plugin: "device-key".to_owned(),
            measurement: [7; 32],
            hardware_model: "software-emulated".to_owned(),
        }
    }

    fn header(&self) -> Vec<u8> {
        Vec::new()
    }

    fn made_at(&self) -> u64 {
        MADE_AT_MS
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn length(&self) -> u64 {
        self.body.len() as u64
    }

    fn read(&self, offset: u64, limit: u32) -> Result<Vec<u8>, Error> {
        let rest = self.body.iter().skip(offset as usize);
        Ok(rest.take(limit as usize).copied().collect())
    }

    fn accept(&self) -> Result<(), Error> {
        self.state.borrow_mut().accepted.insert(self.digest);
        Ok(())
    }
}

/// A receipt that is written.
struct Receipt {
    body: RefCell<Vec<u8>>,
    state: Rc<RefCell<State>>,
}

impl WriterHandle for Receipt {
    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.body.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&self) -> Result<Sealed, Error> {
        let body = self.body.take();
        let digest = sha256(&body);
        self.state.borrow_mut().receipts.push(body);
        Ok(Sealed { file: "receipt".to_owned(), digest, sequence: Some(1) })
    }
}
