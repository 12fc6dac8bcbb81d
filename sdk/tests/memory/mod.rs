//! A backend in memory: as little as the tests of the wrappers need, and no limits.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use mintmark_sdk::{
    Digest, Error, Reason, Timestamp,
    allotments::{
        Allotment, AllotmentStatus, Artefact, DeviceProof, Failure, Fields, RevocationFile, Unit,
        UnitState, UnitStatus,
    },
    backend::{
        AllotmentHandle, Allotments, Caller, Certificates, Clock, CsrHandle, KeyHandle, KeySets,
        Keys, Ledger, Log, Messages, OpenedHandle, Peers, Records, Transfers, UnitHandle,
        WriterHandle,
    },
    certificates::Csr,
    keys::{Algorithm, Key, KeyAttributes, KeyPolicy, KeyState},
    messages::{Opened, Purpose, Sealed, Writer},
    peers::Identity,
    records::{BATCH_MAX, Entry},
};

/// The only subject of the only allotment.
pub(crate) const SUBJECT: &str = "device-1";

/// The backend; the tests look at what it holds.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) records: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
    pub(crate) keys: RefCell<BTreeMap<String, (String, KeyPolicy)>>,
    pub(crate) body: Rc<RefCell<Vec<u8>>>,
    pub(crate) reads: Rc<Cell<u64>>,
    pub(crate) writes: Rc<RefCell<Vec<usize>>>,
    pub(crate) now: Cell<Timestamp>,
    unit: Rc<Cell<Option<UnitState>>>,
}

impl Caller for Memory {}
impl KeySets for Memory {}
impl Ledger for Memory {}
impl Log for Memory {}
impl Peers for Memory {}
impl Transfers for Memory {}

impl Clock for Memory {
    fn now(&self) -> Timestamp {
        self.now.get()
    }
}

fn check_batch(length: usize) -> Result<(), Error> {
    let detail = "a batch has at most 4,096";
    if length <= BATCH_MAX {
        Ok(())
    } else {
        Err(Error::Invalid(Reason::new("INVALID_ARGUMENT", detail)))
    }
}

impl Records for Memory {
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        check_batch(keys.len())?;
        let records = self.records.borrow();
        Ok(keys.iter().map(|key| records.get(key).cloned()).collect())
    }

    fn put(&self, entries: &[Entry]) -> Result<(), Error> {
        check_batch(entries.len())?;
        let entries = entries.iter().map(|entry| (entry.key.clone(), entry.value.clone()));
        self.records.borrow_mut().extend(entries);
        Ok(())
    }

    fn delete(&self, keys: &[Vec<u8>]) -> Result<(), Error> {
        check_batch(keys.len())?;
        self.records.borrow_mut().retain(|key, _| !keys.contains(key));
        Ok(())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, Error> {
        let records = self.records.borrow();
        let found = records
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .filter(|(key, _)| after.is_none_or(|after| key.as_slice() > after));
        Ok(found
            .take(limit as usize)
            .map(|(key, value)| Entry::new(key.as_slice(), value.as_slice()))
            .collect())
    }
}

impl Messages for Memory {
    fn open(&self, _: Purpose, _: &str) -> Result<Opened, Error> {
        let message = Message { body: self.body.clone(), reads: self.reads.clone() };
        Ok(Opened::from_handle(message))
    }

    fn seal(&self, _: Purpose, _: &str, _: &str, _: &[u8]) -> Result<Writer, Error> {
        Ok(Writer::from_handle(Lengths(self.writes.clone())))
    }
}

struct Message {
    body: Rc<RefCell<Vec<u8>>>,
    reads: Rc<Cell<u64>>,
}

impl OpenedHandle for Message {
    fn sender(&self) -> Identity {
        Identity {
            cluster: "spiffe://test/headquarters/test".to_owned(),
            plugin: "entitlement".to_owned(),
            measurement: [0; 32],
            hardware_model: "software-emulated".to_owned(),
        }
    }

    fn header(&self) -> Vec<u8> {
        Vec::new()
    }

    fn made_at(&self) -> Timestamp {
        0
    }

    fn digest(&self) -> Digest {
        [0; 32]
    }

    fn length(&self) -> u64 {
        self.body.borrow().len() as u64
    }

    fn read(&self, offset: u64, limit: u32) -> Result<Vec<u8>, Error> {
        self.reads.set(self.reads.get() + 1);
        let body = self.body.borrow();
        let start = body.len().min(offset as usize);
        let end = body.len().min(start + limit as usize);
        Ok(body[start..end].to_vec())
    }

    fn accept(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Remembers how much was written at once.
struct Lengths(Rc<RefCell<Vec<usize>>>);

impl WriterHandle for Lengths {
    fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.0.borrow_mut().push(bytes.len());
        Ok(())
    }

    fn finish(&self) -> Result<Sealed, Error> {
        Ok(Sealed { file: "staged".to_owned(), digest: [0; 32], sequence: None })
    }
}

impl Keys for Memory {
    fn open(&self, name: &str) -> Result<Key, Error> {
        let (algorithm, policy) = self.keys.borrow().get(name).cloned().ok_or(Error::NotFound)?;
        Ok(Key::from_handle(NamedKey { name: name.to_owned(), algorithm, policy }))
    }

    fn generate(&self, name: &str, algorithm: &str, policy: &KeyPolicy) -> Result<Key, Error> {
        let key = (algorithm.to_owned(), policy.clone());
        self.keys.borrow_mut().insert(name.to_owned(), key);
        Keys::open(self, name)
    }
}

struct NamedKey {
    name: String,
    algorithm: String,
    policy: KeyPolicy,
}

/// What the tests do not ask for.
fn not_here<T>() -> Result<T, Error> {
    Err(Error::Unavailable("not in memory".to_owned()))
}

impl KeyHandle for NamedKey {
    fn attributes(&self) -> Result<KeyAttributes, Error> {
        Ok(KeyAttributes {
            name: self.name.clone(),
            algorithm: Algorithm::named(self.algorithm.clone()),
            policy: self.policy.clone(),
            state: KeyState::Active,
            allotment: None,
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok([self.name.as_bytes(), message].concat())
    }

    fn public_key(&self) -> Result<Vec<u8>, Error> {
        not_here()
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> Result<bool, Error> {
        not_here()
    }

    fn encrypt(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, Error> {
        not_here()
    }

    fn decrypt(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, Error> {
        not_here()
    }

    fn mac(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        not_here()
    }

    fn verify_mac(&self, _: &[u8], _: &[u8]) -> Result<bool, Error> {
        not_here()
    }

    fn derive(&self, _: &str, _: &str, _: &[u8], _: &KeyPolicy) -> Result<Key, Error> {
        not_here()
    }

    fn destroy(&self) -> Result<(), Error> {
        not_here()
    }
}

impl Certificates for Memory {
    fn read_csr(&self, request: &[u8]) -> Result<Csr, Error> {
        Ok(Csr::from_handle(Request(request.to_vec())))
    }
}

/// A request that is its own key.
struct Request(Vec<u8>);

impl CsrHandle for Request {
    fn public_key(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn key_hash(&self) -> Digest {
        [0; 32]
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::ECDSA_P256
    }

    fn subject_serial(&self) -> Option<String> {
        None
    }
}

impl Allotments for Memory {
    fn open(&self, _: &str) -> Result<Allotment, Error> {
        Ok(Allotment::from_handle(OneUnit(self.unit.clone())))
    }
}

/// An allotment with one unit, and the unit.
#[derive(Clone)]
struct OneUnit(Rc<Cell<Option<UnitState>>>);

impl AllotmentHandle for OneUnit {
    fn status(&self) -> Result<AllotmentStatus, Error> {
        not_here()
    }

    fn draw(&self, subject: &str, _: Option<&str>) -> Result<Unit, Error> {
        self.0.set(self.0.get().or(Some(UnitState::Reserved)));
        self.find(subject)
    }

    fn find(&self, subject: &str) -> Result<Unit, Error> {
        self.0.get().filter(|_| subject == SUBJECT).ok_or(Error::NotFound)?;
        Ok(Unit::from_handle(self.clone()))
    }

    fn scan(&self, _: u64, _: u32) -> Result<Vec<UnitStatus>, Error> {
        not_here()
    }

    fn revocation_list(&self) -> Result<RevocationFile, Error> {
        not_here()
    }
}

impl UnitHandle for OneUnit {
    fn status(&self) -> Result<UnitStatus, Error> {
        Ok(UnitStatus {
            number: 0,
            subject: SUBJECT.to_owned(),
            serial: String::new(),
            state: self.0.get().ok_or(Error::NotFound)?,
            attempts: 0,
            key_hash: None,
            certificate_hash: None,
            certificates: 0,
            station: String::new(),
            reserved_at: 0,
            changed_at: 0,
        })
    }

    fn chain(&self) -> Result<Vec<Vec<u8>>, Error> {
        not_here()
    }

    fn artefact(&self) -> Result<Option<Artefact>, Error> {
        not_here()
    }

    fn certify_csr(&self, request: &Csr, _: &Fields) -> Result<Artefact, Error> {
        let Request(key) = request.backing().expect("the backend made the request");
        self.0.set(Some(UnitState::Issued));
        Ok(Artefact {
            public_key: key.clone(),
            certificate: None,
            sealed_key: None,
            confirm_nonce: Vec::new(),
        })
    }

    fn seal_to_device(&self, _: &Csr, _: &Fields) -> Result<Artefact, Error> {
        not_here()
    }

    fn seal_to_station(&self, _: &Fields) -> Result<Artefact, Error> {
        not_here()
    }

    fn confirm(&self, _: Option<&DeviceProof>) -> Result<UnitStatus, Error> {
        not_here()
    }

    fn fail(&self, _: Failure, _: &str) -> Result<UnitStatus, Error> {
        Err(Error::Conflict(Reason::new("WRONG_STATE", "the unit cannot fail")))
    }

    fn scrap(&self, _: &str) -> Result<UnitStatus, Error> {
        not_here()
    }

    fn give_back(&self, _: &str) -> Result<UnitStatus, Error> {
        not_here()
    }

    fn hand_over(&self, _: &str) -> Result<UnitStatus, Error> {
        not_here()
    }

    fn recertify(&self, _: u16, _: &Fields) -> Result<Artefact, Error> {
        not_here()
    }
}
