//! The host's signature checks, for the reconciliation.

use std::cell::RefCell;

use mintmark_exchange::order::CHECKPOINT;
use mintmark_exchange::{SignedOrder, Signer, Verify};
use mintmark_sdk::{Error, certificates, ledger};

/// Asks the host. An answer that is neither yes nor no must not become a finding: it is kept, and
/// fails the step.
#[derive(Debug, Default)]
pub(crate) struct HostSignatures {
    failed: RefCell<Option<Error>>,
}

/// The host accepts a checkpoint from a custody certificate alone.
const CUSTODY_LEAF: &str = "custody/host";

impl HostSignatures {
    /// What could not be asked.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }

    /// The host's yes, as a value; its no, as nothing.
    fn decided<T>(&self, answer: Result<T, Error>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            // The argument or the signature is at fault, and would be again.
            Err(Error::Denied(_) | Error::Invalid(_)) => None,
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

impl Verify for HostSignatures {
    fn verify_signature(&self, public_key_info: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let answer = certificates::verify_signature(public_key_info, message, signature);
        self.decided(answer).unwrap_or(false)
    }

    fn verify_order(&self, label: &str, order: &SignedOrder, _at_ms: u64) -> Option<Signer> {
        // The host checks the one kind of order that a site's bundle can have.
        if label != CHECKPOINT {
            return None;
        }
        let verified = self.decided(ledger::verify_checkpoint(&order.encode()))?;
        let same = verified.body == order.body;
        same.then(|| Signer { cluster: verified.cluster, leaf: CUSTODY_LEAF.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mintmark_sdk::Reason;

    #[test]
    fn a_no_is_an_answer_and_a_failure_is_none() {
        let signatures = HostSignatures::default();
        let no = Error::Denied(Reason::new("UNTRUSTED_MESSAGE", "wrong"));
        assert_eq!(signatures.decided(Err::<u8, _>(no)), None);
        assert_eq!(signatures.finish(), Ok(()));

        let signatures = HostSignatures::default();
        let failure = Error::Unavailable("later".to_owned());
        assert_eq!(signatures.decided(Err::<u8, _>(failure.clone())), None);
        assert_eq!(signatures.decided(Ok(1)), Some(1));
        assert_eq!(signatures.finish(), Err(failure));
    }
}
