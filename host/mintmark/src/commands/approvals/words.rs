//! An act in words, for who is to answer for it.

use mintmark_exchange::Digest;
use mintmark_exchange::approval::{Act, ApprovalRequest, Approvers};
use serde_json::{Value, json};

use crate::output::moment;

/// All that a request says, with the digest that is signed.
pub(super) fn facts(request: &ApprovalRequest) -> Vec<(&'static str, Value)> {
    vec![
        ("act", json!(request.act.name())),
        ("what is done", json!(sentence(&request.act))),
        ("where", json!(request.cluster)),
        ("asked by", json!(request.requester)),
        ("asked at", json!(moment(request.made_at))),
        ("expires", json!(moment(request.expires_at))),
        ("epoch of the store", json!(request.epoch)),
        ("list of approvers", json!(format!("version {}", request.list_version))),
        ("request", json!(hex::encode(request.digest()))),
    ]
}

/// What exactly is done.
pub(super) fn sentence(act: &Act) -> String {
    match act {
        Act::Scrap { entitlement, unit, subject } => format!(
            "scrap unit {unit} ({subject}) of {entitlement}, beyond the allowance of its terms"
        ),
        Act::Order { order, recipient, proposal, total } => format!(
            "grant order {order} of {total} units to {recipient}, by the proposal {}",
            hex::encode(proposal)
        ),
        Act::Extend { entitlement, recipient, units, not_after } => {
            let window = not_after.map(|end| format!(", and let it end at {}", moment(end)));
            let window = window.unwrap_or_default();
            format!("extend {entitlement} of {recipient} by {units} units{window}")
        }
        Act::AcknowledgeClock { boot, mark_ms } => format!(
            "acknowledge the suspect clock once more in boot {boot}, at the mark {}",
            moment(*mark_ms)
        ),
        Act::LowerClock { mark_ms, to_ms } => {
            format!("set site time back from {} to {}", moment(*mark_ms), moment(*to_ms))
        }
        Act::Restore { store_id, commit, heads, epoch } => format!(
            "serve store {} as restored at commit {commit} with the ledger heads {}, in epoch \
             {epoch}",
            hex::encode(store_id),
            hex::encode(heads)
        ),
        Act::ChangeCharter { list } => {
            let (words, version) = (self::list(list), list.version);
            format!("let {words} approve from now on, as version {version} of the list")
        }
        Act::OpenStream { site, epoch } => {
            format!(
                "begin the stream of messages to {site} anew, in epoch {epoch}, and await no \
                 report of what was sent before and never arrived"
            )
        }
        Act::ReplaceIdentity { cluster, fingerprint } => {
            format!("take the identity {} for {cluster}, with other keys", digest(fingerprint))
        }
        Act::DowngradePlugin { name, measurement } => format!(
            "activate {} of plugin {name}, whose security version is lower",
            digest(measurement)
        ),
        Act::IssueUser { role, name, key_hash } => {
            format!("make {name} {role}, with the key {}", digest(key_hash))
        }
        Act::RevokeUser { role, name } => format!("revoke the certificates of {role} {name}"),
    }
}

/// M of whom.
fn list(list: &Approvers) -> String {
    let member = |it: &mintmark_exchange::charter::Approver| {
        format!("{} (key {})", it.name, digest(&it.key_hash))
    };
    let members: Vec<_> = list.members.iter().map(member).collect();
    format!("{} of {}", list.quorum, members.join(", "))
}

fn digest(digest: &Digest) -> String {
    hex::encode(digest)
}

#[cfg(test)]
mod tests {
    use mintmark_exchange::charter::Approver;

    use super::*;

    #[test]
    fn every_name_and_number_of_an_act_is_in_its_words() {
        let member = |name: &str, key| Approver { name: name.to_owned(), key_hash: [key; 32] };
        let members = vec![member("ada", 1), member("ben", 2)];
        let list = Approvers { version: 3, quorum: 2, members };
        let words = sentence(&Act::ChangeCharter { list });
        for part in ["2 of ada", "ben", &"01".repeat(32), &"02".repeat(32), "version 3"] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
        let words = sentence(&Act::Order {
            order: "PO-7".to_owned(),
            recipient: "spiffe://acme/site/hanoi".to_owned(),
            proposal: [7; 32],
            total: 2_000_000,
        });
        for part in ["PO-7", "2000000 units", "spiffe://acme/site/hanoi", &"07".repeat(32)] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
    }
}
