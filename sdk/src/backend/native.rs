//! Natively: the backend that a test installed for its thread.

use std::{cell::RefCell, ops::Deref, rc::Rc};

use super::{
    Allotments, Caller, Certificates, Clock, KeySets, Keys, Ledger, Log, Messages, Peers, Records,
    Transfers,
};
use crate::log::Level;

/// Everything that the contract offers. A type that has all its traits is one.
pub trait Backend:
    Allotments
    + Caller
    + Certificates
    + Clock
    + KeySets
    + Keys
    + Ledger
    + Log
    + Messages
    + Peers
    + Records
    + Transfers
{
}

impl<T> Backend for T where
    T: Allotments
        + Caller
        + Certificates
        + Clock
        + KeySets
        + Keys
        + Ledger
        + Log
        + Messages
        + Peers
        + Records
        + Transfers
{
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<dyn Backend>>> = const { RefCell::new(None) };
}

/// Makes `backend` what the wrappers ask on this thread, until the answer is dropped; then it is
/// again what it was before. Dropping several answers in another order than the reverse one mixes
/// them up.
pub fn install(backend: Rc<dyn Backend>) -> Installed {
    Installed { before: CURRENT.replace(Some(backend)) }
}

/// Says that a backend is installed.
#[must_use = "the backend is gone when this is dropped"]
pub struct Installed {
    before: Option<Rc<dyn Backend>>,
}

impl Drop for Installed {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

impl std::fmt::Debug for Installed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Installed").finish_non_exhaustive()
    }
}

/// # Panics
/// Without a backend: a native test that calls the host must install one.
fn current() -> Rc<dyn Backend> {
    CURRENT
        .with_borrow(Option::clone)
        .expect("no host here: a native test installs one with mintmark_sdk::backend::install")
}

/// One accessor per interface; the wrappers call the same names in a component. Opaque, so that the
/// same code compiles there, where it is no trait object.
macro_rules! accessors {
    ($($name:ident: $interface:ident),+ $(,)?) => {
        $(pub(crate) fn $name() -> impl Deref<Target = impl $interface + ?Sized> {
            current() as Rc<dyn $interface>
        })+
    };
}

accessors! {
    allotments: Allotments,
    caller: Caller,
    certificates: Certificates,
    clock: Clock,
    key_sets: KeySets,
    keys: Keys,
    ledger: Ledger,
    messages: Messages,
    peers: Peers,
    records: Records,
    transfers: Transfers,
}

/// Logging never fails: without a backend the line goes to standard error.
pub(crate) fn write_log(level: Level, line: &str) {
    match CURRENT.with_borrow(Option::clone) {
        Some(backend) => backend.write(level, line),
        None => eprintln!("{level:?}: {line}"),
    }
}

/// What the wrappers hold.
pub(crate) mod held {
    use crate::backend;

    pub(crate) type Key = Box<dyn backend::KeyHandle>;
    pub(crate) type KeySet = Box<dyn backend::KeySetHandle>;
    pub(crate) type Csr = Box<dyn backend::CsrHandle>;
    pub(crate) type Allotment = Box<dyn backend::AllotmentHandle>;
    pub(crate) type Unit = Box<dyn backend::UnitHandle>;
    pub(crate) type Opened = Box<dyn backend::OpenedHandle>;
    pub(crate) type Writer = Box<dyn backend::WriterHandle>;
}
