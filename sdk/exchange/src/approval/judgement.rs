//! Whether enough people agreed: pure, so that a host that serves and a restore that does not judge
//! alike.

use std::collections::BTreeSet;

use super::{ApprovalRequest, ApprovalStatement, Approvers, VERSION};
use crate::charter::Approver;
use crate::order::{APPROVAL, SignedOrder};
use crate::row::ROW_DELAY_MS_MAX;
use crate::{Digest, sha256};

/// Where and when an act is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// SPIFFE URI of the cluster.
    pub cluster: &'a str,
    /// The store's epoch.
    pub epoch: u64,
    /// The least quorum that the charter allows.
    pub floor: u32,
    /// Site time, milliseconds since the epoch.
    pub now_ms: u64,
}

/// Why an act is not approved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotApproved {
    /// The list contradicts itself, or has a quorum below the charter's floor.
    #[error("the list of approvers is not sound")]
    Unsound,
    /// The request is for another cluster.
    #[error("the request is for another cluster")]
    AnotherCluster,
    /// The store was restored since.
    #[error("the request was made in another epoch of the store")]
    AnotherEpoch,
    /// The list changed since.
    #[error("the request was made under another list of approvers")]
    AnotherList,
    /// Its time is over, or comes only.
    #[error("the request has expired, or the clock was set back since")]
    Expired,
    /// Somebody said no.
    #[error("`{0}` refused the request")]
    Denied(String),
    /// One of the statements is none.
    #[error("a statement is not valid: {0}")]
    Statement(#[from] StatementError),
    /// Not enough people agreed.
    #[error("{given} of {needed} approvals are there")]
    TooFew {
        /// How many agreed.
        given: u32,
        /// How many must.
        needed: u32,
    },
}

/// Why a statement does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// It is not one.
    #[error("it is malformed")]
    Malformed,
    /// It is about something else: another request, another cluster.
    #[error("it is about another request")]
    AnotherRequest,
    /// The key is nobody's on the list.
    #[error("its signer is not on the list of approvers")]
    NotListed,
    /// The signature is not the key's.
    #[error("its signature does not hold")]
    Signature,
    /// Who asks does not approve.
    #[error("its signer is who asked")]
    Requester,
}

impl ApprovalRequest {
    /// Checks that the request can still be approved there, under this list.
    pub fn check(&self, list: &Approvers, place: Place<'_>) -> Result<(), NotApproved> {
        if !list.is_sound(place.floor) {
            return Err(NotApproved::Unsound);
        }
        if self.cluster != place.cluster {
            return Err(NotApproved::AnotherCluster);
        }
        if self.epoch != place.epoch {
            return Err(NotApproved::AnotherEpoch);
        }
        if self.list_version != list.version {
            return Err(NotApproved::AnotherList);
        }
        // A clock that was lowered brings back nothing that was asked at a later time.
        let asked = place.now_ms.saturating_add(ROW_DELAY_MS_MAX) >= self.made_at;
        if !asked || place.now_ms >= self.expires_at {
            return Err(NotApproved::Expired);
        }
        Ok(())
    }
}

/// Who signed the statement, and if it is a yes. `verify` checks a signature under the key with
/// a SubjectPublicKeyInfo over a message.
pub fn signer<'l>(
    list: &'l Approvers,
    request: &ApprovalRequest,
    statement: &SignedOrder,
    verify: impl Fn(&[u8], &[u8], &[u8]) -> bool,
) -> Result<(&'l Approver, bool), StatementError> {
    let [key] = statement.chain.as_slice() else { return Err(StatementError::Malformed) };
    let key_hash: Digest = sha256(key);
    let member = list.members.iter().find(|member| member.key_hash == key_hash);
    let member = member.ok_or(StatementError::NotListed)?;
    if !verify(key, &statement.signed_bytes(APPROVAL), &statement.signature) {
        return Err(StatementError::Signature);
    }
    let said: ApprovalStatement = statement.open().map_err(|_| StatementError::Malformed)?;
    if said.version != VERSION {
        return Err(StatementError::Malformed);
    }
    if said.request != request.digest() || said.cluster != request.cluster {
        return Err(StatementError::AnotherRequest);
    }
    // A no is everybody's right.
    if said.approve && request.is_requester(member) {
        return Err(StatementError::Requester);
    }
    Ok((member, said.approve))
}

/// The names of those who approved, in order, if they are enough. Every statement must be valid;
/// several by one person count once.
pub fn approved(
    list: &Approvers,
    request: &ApprovalRequest,
    statements: &[SignedOrder],
    place: Place<'_>,
    verify: impl Fn(&[u8], &[u8], &[u8]) -> bool,
) -> Result<Vec<String>, NotApproved> {
    request.check(list, place)?;
    let mut names = BTreeSet::new();
    for statement in statements {
        let (member, approve) = signer(list, request, statement, &verify)?;
        if !approve {
            return Err(NotApproved::Denied(member.name.clone()));
        }
        names.insert(member.name.clone());
    }
    let (given, needed) = (u32::try_from(names.len()).unwrap_or(u32::MAX), list.quorum);
    if given < needed {
        return Err(NotApproved::TooFew { given, needed });
    }
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Act;
    use crate::canonical::encode;

    const CLUSTER: &str = "spiffe://acme/site/shenzhen";

    /// The signature of these tests: the key again, before the message.
    fn holds(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        signature == sha256(&[key, message].concat())
    }

    fn member(name: &str) -> Approver {
        Approver { name: name.to_owned(), key_hash: sha256(name.as_bytes()) }
    }

    fn list(names: &[&str], quorum: u32) -> Approvers {
        Approvers { version: 1, quorum, members: names.iter().map(|name| member(name)).collect() }
    }

    fn request(requester: &str) -> ApprovalRequest {
        ApprovalRequest {
            version: VERSION,
            cluster: CLUSTER.to_owned(),
            epoch: 1,
            list_version: 1,
            act: Act::LowerClock { mark_ms: 2, to_ms: 1 },
            requester: format!("{CLUSTER}/{requester}"),
            requester_key: None,
            id: [7; 16],
            made_at: 1_000_000,
            expires_at: 1_010_000,
        }
    }

    fn place() -> Place<'static> {
        Place { cluster: CLUSTER, epoch: 1, floor: 1, now_ms: 1_009_999 }
    }

    /// What the owner of the key called `name` signs.
    fn says(name: &str, statement: &ApprovalStatement) -> SignedOrder {
        let (key, body) = (name.as_bytes().to_vec(), encode(statement));
        let signed = crate::order::signed_bytes(APPROVAL, &body);
        let signature = sha256(&[&key[..], &signed].concat()).to_vec();
        SignedOrder { body, chain: vec![key], signature }
    }

    fn yes(name: &str, request: &ApprovalRequest) -> SignedOrder {
        says(name, &ApprovalStatement::to(request, true))
    }

    fn judge(
        list: &Approvers,
        request: &ApprovalRequest,
        statements: &[SignedOrder],
    ) -> Result<Vec<String>, NotApproved> {
        approved(list, request, statements, place(), holds)
    }

    #[test]
    fn two_of_three_approve_what_the_fourth_asks_for() {
        let (list, request) = (list(&["ada", "ben", "cleo"], 2), request("operator/mei"));
        let [ada, cleo] = ["ada", "cleo"].map(|name| yes(name, &request));
        let few = NotApproved::TooFew { given: 1, needed: 2 };
        assert_eq!(judge(&list, &request, std::slice::from_ref(&cleo)), Err(few));
        assert_eq!(judge(&list, &request, &[cleo, ada]).unwrap(), ["ada", "cleo"]);
    }

    #[test]
    fn a1_one_person_counts_once_whatever_he_signs_and_with_whatever_certificate() {
        let (list, request) = (list(&["ada", "ben", "cleo"], 2), request("operator/mei"));
        let few = NotApproved::TooFew { given: 1, needed: 2 };
        let twice = [yes("ada", &request), yes("ada", &request)];
        assert_eq!(judge(&list, &request, &twice), Err(few));
        // His second name is no second member: a list with one key twice approves nothing.
        let mut doubled = list.clone();
        doubled.members[1].key_hash = doubled.members[0].key_hash;
        let both = [yes("ada", &request), yes("cleo", &request)];
        assert_eq!(judge(&doubled, &request, &both), Err(NotApproved::Unsound));
    }

    #[test]
    fn who_asks_does_not_count_by_name_or_by_key() {
        let list = list(&["ada", "ben"], 1);
        let by_name = request("operator/ada");
        let refused = NotApproved::Statement(StatementError::Requester);
        assert_eq!(judge(&list, &by_name, &[yes("ada", &by_name)]), Err(refused.clone()));
        let requester_key = Some(sha256(b"ada"));
        let by_key = ApprovalRequest { requester_key, ..request("operator/mei") };
        assert_eq!(judge(&list, &by_key, &[yes("ada", &by_key)]), Err(refused));
        assert_eq!(judge(&list, &by_key, &[yes("ben", &by_key)]).unwrap(), ["ben"]);
        assert!(list.can_approve(&by_key.requester, requester_key));
        let both = Approvers { quorum: 2, ..list };
        assert!(!both.can_approve(&by_key.requester, requester_key));
    }

    #[test]
    fn a5_an_approval_is_for_one_request_at_one_place_and_time() {
        let (list, request) = (list(&["ada", "ben"], 1), request("operator/mei"));
        let given = [yes("ada", &request)];
        let at = |place| approved(&list, &request, &given, place, holds);
        assert!(at(place()).is_ok());
        for now_ms in [1_010_000, 1_000_000 - ROW_DELAY_MS_MAX - 1] {
            assert_eq!(at(Place { now_ms, ..place() }), Err(NotApproved::Expired));
        }
        assert_eq!(at(Place { epoch: 2, ..place() }), Err(NotApproved::AnotherEpoch));
        let hanoi = Place { cluster: "spiffe://acme/site/hanoi", ..place() };
        assert_eq!(at(hanoi), Err(NotApproved::AnotherCluster));
        assert_eq!(at(Place { floor: 2, ..place() }), Err(NotApproved::Unsound));
        let other = Err(NotApproved::Statement(StatementError::AnotherRequest));
        let again = ApprovalRequest { id: [8; 16], ..request.clone() };
        assert_eq!(judge(&list, &again, &given), other);
        let act = Act::LowerClock { mark_ms: 2, to_ms: 0 };
        assert_eq!(judge(&list, &ApprovalRequest { act, ..request.clone() }, &given), other);
        let cluster = "spiffe://acme/site/hanoi".to_owned();
        let elsewhere = ApprovalStatement { cluster, ..ApprovalStatement::to(&request, true) };
        assert_eq!(judge(&list, &request, &[says("ada", &elsewhere)]), other);
    }

    #[test]
    fn a7_a_changed_list_makes_requests_void() {
        let request = request("operator/mei");
        let changed = Approvers { version: 2, ..list(&["ada", "ben"], 1) };
        let given = [yes("ada", &request)];
        assert_eq!(judge(&changed, &request, &given), Err(NotApproved::AnotherList));
        let removed = list(&["ben"], 1);
        let stranger = Err(NotApproved::Statement(StatementError::NotListed));
        assert_eq!(judge(&removed, &request, &given), stranger);
    }

    #[test]
    fn a8_a_list_that_nobody_could_satisfy_approves_nothing() {
        assert!(list(&["ada", "ben"], 2).is_sound(1));
        for (names, quorum, floor) in [
            (&["ada", "ben"][..], 3, 1),
            (&["ada", "ben"], 0, 0),
            (&["ada", "ben"], 1, 2),
            (&["ada", "ada"], 1, 1),
            (&["Ada"], 1, 1),
            (&[], 0, 1),
        ] {
            assert!(!list(names, quorum).is_sound(floor), "{names:?} {quorum} {floor}");
        }
    }

    #[test]
    fn a_no_ends_the_matter_and_a_forged_yes_is_none() {
        let (list, request) = (list(&["ada", "ben"], 1), request("admin/ada"));
        let no = says("ada", &ApprovalStatement::to(&request, false));
        let denied = Err(NotApproved::Denied("ada".to_owned()));
        assert_eq!(judge(&list, &request, &[yes("ben", &request), no]), denied);
        let mut forged = yes("ben", &request);
        forged.signature[0] ^= 1;
        let refused = Err(NotApproved::Statement(StatementError::Signature));
        assert_eq!(judge(&list, &request, &[forged]), refused);
        let mut longer = yes("ben", &request);
        longer.chain.push(b"more".to_vec());
        let refused = Err(NotApproved::Statement(StatementError::Malformed));
        assert_eq!(judge(&list, &request, &[longer]), refused);
    }

    #[test]
    fn a_request_is_read_back_and_a_newer_one_is_refused() {
        let request = request("operator/mei");
        assert_eq!(ApprovalRequest::decode(&request.encode()), Ok(request.clone()));
        let newer = ApprovalRequest { version: 2, ..request };
        let refused = Err(crate::DecodeError::UnknownVersion);
        assert_eq!(ApprovalRequest::decode(&newer.encode()), refused);
    }
}
