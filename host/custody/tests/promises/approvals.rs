//! Approvals: several people for one exact act, once.

use futures_executor::block_on;
use mintmark_custody::{Call, ExportedGrant, Session};
use mintmark_exchange::approval::{Act, ApprovalRequest, ApprovalStatement};
use mintmark_exchange::product::{Delivery, KeyOrigin};
use mintmark_exchange::proposal::GrantProposal;
use mintmark_exchange::row::{Event, Row};
use mintmark_model::{Principal, Reason, Refusal, Role};
use mintmark_pki::request;
use mintmark_sdk_testing::sdk::{Plugin as _, Status};
use mintmark_sdk_testing::{Office, TestHost, Voter};

use crate::bench::{Bench, Line, finish, rows};

const WEEK_MS: u64 = 7 * 86_400_000;

/// More units than one admin may grant alone.
const MANY: u64 = 2_000_000;

impl Bench {
    /// Headquarters, which can also show its ledger.
    fn with_rows() -> Self {
        let mut bench = Self::new();
        bench.hq.install::<Line>();
        bench
    }

    /// An order that no keys go with.
    fn large(&self, number: &str) -> GrantProposal {
        let mut order = self.order(number, MANY);
        order.product.origin = KeyOrigin::SiteBorn;
        order.product.delivery = Delivery::SealedToDevice;
        order.product.template = None;
        order
    }

    /// Headquarters grants the order in a call that is not ended.
    async fn granting(&self, order: &GrantProposal) -> (Call, Result<ExportedGrant, Refusal>) {
        let session = self.hq.session_of::<Office>("admin", "admin");
        let mut call = self.hq.custody().begin(session, None).await.unwrap();
        let (site, proposal) = (self.site.uri(), order.encode());
        let exported = call.export_grant(&site, Line::NAME, &proposal, None, None, None).await;
        (call, exported)
    }

    fn grant(&self, order: &GrantProposal) -> Result<ExportedGrant, Refusal> {
        block_on(async {
            let (call, exported) = self.granting(order).await;
            match exported {
                Ok(exported) => finish(call).await.map(|()| exported),
                Err(refusal) => {
                    call.abort(refusal.reason).await;
                    Err(refusal)
                }
            }
        })
    }

    /// The request that the order waits with.
    fn waits(&self, order: &GrantProposal) -> ApprovalRequest {
        waiting(&self.hq, &self.grant(order).unwrap_err())
    }

    fn hq_events(&self) -> Vec<(Event, [u8; 16])> {
        rows(&self.hq).into_iter().map(|Row { body, .. }| (body.event, body.request)).collect()
    }

    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.hq_events().iter().filter(|(event, _)| wanted(event)).count()
    }
}

/// The request that a refusal names.
fn waiting(host: &TestHost, refusal: &Refusal) -> ApprovalRequest {
    assert_eq!(refusal.reason, Reason::ApprovalRequired, "{refusal}");
    let mut status = Status::wrong_state("");
    status.metadata.clone_from(&refusal.metadata);
    host.waiting(&status)
}

pub(crate) fn agree(host: &TestHost, refusal: &Refusal) {
    let request = waiting(host, refusal);
    for voter in &host.approvers()[..2] {
        host.vote(voter, &request, true).unwrap();
    }
}

/// A session of an admin's, without a plugin.
fn asks(host: &TestHost, role: Role, name: &str) -> Session {
    let uri = host.uri();
    let path: Vec<_> = uri.trim_start_matches("spiffe://").splitn(2, '/').collect();
    let [organization, cluster] = [path[0].to_owned(), path[1].to_owned()];
    let principal = Principal { organization, cluster, role, name: name.to_owned() };
    Session::new(principal, None, "/test/Ask", &[])
}

/// A request for a certificate with the key of `voter`.
fn issue(host: &TestHost, by: &str, role: &str, voter: &Voter) -> Result<(), Refusal> {
    let session = asks(host, Role::Admin, by);
    let csr = request::csr(voter.key(), voter.name()).unwrap();
    let issued = host.custody().issue_user(session, role, voter.name(), &csr, None, &[]);
    block_on(issued).map(drop)
}

fn change(host: &TestHost, by: &str, voters: &[&Voter], quorum: u32) -> Result<u64, Refusal> {
    let session = asks(host, Role::Admin, by);
    let member = |voter: &&Voter| (voter.name().to_owned(), voter.listed().key_hash);
    let members = voters.iter().map(member).collect();
    let changed = host.custody().change_approvers(session, members, quorum);
    block_on(changed).map(|now| now.version)
}

fn pending(host: &TestHost) -> usize {
    block_on(host.custody().approvals()).unwrap().len()
}

fn reason(answer: Result<impl Sized, Status>) -> String {
    answer.err().unwrap().reason
}

#[test]
fn an_order_above_the_threshold_waits_for_two_people_whose_approvals_are_used_once() {
    let bench = Bench::with_rows();
    let order = bench.large("po-1");
    let first = bench.waits(&order);
    assert_eq!(bench.waits(&order), first, "the same act waits once");
    let Act::Order { total, recipient, .. } = &first.act else { panic!("{first:?}") };
    assert_eq!((*total, recipient), (MANY, &bench.site.uri()));
    let [ada, ben, _] = bench.hq.approvers() else { panic!("three people approve") };
    let decided = bench.hq.vote(ada, &first, true).unwrap();
    assert_eq!((decided.given, decided.needed), (1, 2));
    assert_eq!(bench.hq.vote(ada, &first, true).unwrap().given, 1, "one person counts once");
    assert_eq!(bench.waits(&order), first, "one is not enough");
    assert_eq!(bench.hq.vote(ben, &first, true).unwrap().given, 2);
    let granted = bench.grant(&order).unwrap();

    let events = bench.hq_events();
    let used = events.iter().find_map(|(event, request)| match event {
        Event::Approved { act, request_digest, approvers } => {
            Some((act, request_digest, approvers, request))
        }
        _ => None,
    });
    let (act, digest, approvers, request) = used.unwrap();
    assert_eq!((act.as_str(), *digest), ("order", first.digest()));
    assert_eq!(approvers, &["ada", "ben"]);
    let exported = events.iter().find(|(event, _)| {
        matches!(event, Event::GrantExported { number, .. } if *number == granted.number)
    });
    assert_eq!(exported.unwrap().1, *request, "used up in the act's own transaction");
    assert_eq!(bench.count(|event| matches!(event, Event::ApprovalRequested { .. })), 1);
    assert_eq!(bench.count(|event| matches!(event, Event::ApprovalGiven { .. })), 2);

    assert_eq!(pending(&bench.hq), 0);
    assert_ne!(bench.waits(&order).digest(), first.digest(), "the next one waits anew");
    assert_eq!(reason(bench.hq.vote(ada, &first, true)), "NOT_FOUND");
}

#[test]
fn a5_an_approval_is_good_for_no_other_act_requester_cluster_or_time() {
    let bench = Bench::new();
    let order = bench.large("po-1");
    let request = bench.waits(&order);
    for voter in &bench.hq.approvers()[..2] {
        bench.hq.vote(voter, &request, true).unwrap();
    }
    let mut larger = bench.large("po-1");
    larger.terms.total += 1;
    larger.terms.max_in_doubt = 1;
    larger.terms.scrap_allowance = 1;
    assert_ne!(bench.waits(&larger).digest(), request.digest(), "another proposal");
    let other = block_on(async {
        let session = bench.hq.session_of::<Office>("admin", "bela");
        let mut call = bench.hq.custody().begin(session, None).await.unwrap();
        let (site, proposal) = (bench.site.uri(), order.encode());
        let exported = call.export_grant(&site, Line::NAME, &proposal, None, None, None).await;
        exported.err().unwrap()
    });
    assert_ne!(waiting(&bench.hq, &other).digest(), request.digest(), "another requester");

    let ada = &bench.hq.approvers()[0];
    assert_eq!(reason(bench.site.vote(ada, &request, true)), "NOT_FOUND", "another cluster");
    let cluster = bench.site.uri();
    let elsewhere = ApprovalStatement { cluster, ..ApprovalStatement::to(&request, true) };
    let session = asks(&bench.hq, Role::Admin, "ada");
    let statement = ada.signs(&elsewhere).encode();
    let decided = bench.hq.custody().decide_approval(session, &statement);
    assert_eq!(block_on(decided).unwrap_err().reason, Reason::InvalidArgument);

    bench.world.pass_ms(WEEK_MS);
    assert_eq!(pending(&bench.hq), 0, "its time is over");
    assert_eq!(reason(bench.hq.vote(ada, &request, true)), "NOT_FOUND");
    assert_ne!(bench.waits(&order).digest(), request.digest());
}

#[test]
fn a_failed_call_leaves_the_approvals_and_of_two_calls_one_uses_them() {
    let bench = Bench::with_rows();
    let order = bench.large("po-1");
    agree(&bench.hq, &bench.grant(&order).unwrap_err());
    block_on(async {
        let (call, exported) = bench.granting(&order).await;
        exported.unwrap();
        call.abort(Reason::PluginFault).await;
        let (one, exported) = bench.granting(&order).await;
        exported.unwrap();
        let (other, exported) = bench.granting(&order).await;
        exported.unwrap();
        finish(one).await.unwrap();
        assert_eq!(finish(other).await.unwrap_err().reason, Reason::Conflict);
    });
    assert_eq!(bench.grant(&order).unwrap_err().reason, Reason::ApprovalRequired);
    assert_eq!(bench.count(|event| matches!(event, Event::GrantExported { .. })), 1);
    assert_eq!(bench.count(|event| matches!(event, Event::Approved { .. })), 1);
}

#[test]
fn requests_and_approvals_are_there_after_a_restart() {
    let bench = Bench::new();
    let order = bench.large("po-1");
    let request = bench.waits(&order);
    let ada = &bench.hq.approvers()[0];
    bench.hq.vote(ada, &request, true).unwrap();
    let Bench { world, hq, site } = bench;
    let bench = Bench { world, hq: hq.restart().unwrap(), site };
    assert_eq!(bench.waits(&order), request);
    let ben = &bench.hq.approvers()[1];
    assert_eq!(bench.hq.vote(ben, &request, true).unwrap().given, 2);
    let Bench { world, hq, site } = bench;
    let bench = Bench { world, hq: hq.restart().unwrap(), site };
    bench.grant(&order).unwrap();
}

#[test]
fn who_asks_does_not_approve_under_any_of_his_names() {
    let bench = Bench::new();
    let [ada, ben, cleo] = bench.hq.approvers() else { panic!("three people approve") };
    let eve = Voter::new("eve");
    let refused = issue(&bench.hq, "ada", "auditor", &eve).unwrap_err();
    let request = waiting(&bench.hq, &refused);
    assert_eq!(reason(bench.hq.vote(ada, &request, true)), "PERMISSION_DENIED");
    // The same key under another name asks.
    let csr = request::csr(cleo.key(), "mei").unwrap();
    let session = asks(&bench.hq, Role::Admin, "admin");
    let custody = bench.hq.custody();
    block_on(custody.issue_user(session, "operator", "mei", &csr, None, &[])).unwrap();
    let session = asks(&bench.hq, Role::Operator, "mei");
    let csr = request::csr(eve.key(), "eve").unwrap();
    let refused = block_on(custody.issue_user(session, "auditor", "eve", &csr, None, &[]));
    let request = waiting(&bench.hq, &refused.unwrap_err());
    assert_eq!(reason(bench.hq.vote(cleo, &request, true)), "PERMISSION_DENIED");
    for voter in [ada, ben] {
        bench.hq.vote(voter, &request, true).unwrap();
    }
}

#[test]
fn a_no_ends_a_request_and_strangers_decide_nothing() {
    let bench = Bench::new();
    let order = bench.large("po-1");
    let request = bench.waits(&order);
    let [ada, ben, cleo] = bench.hq.approvers() else { panic!("three people approve") };
    let stranger = Voter::new("ada");
    assert_eq!(reason(bench.hq.vote(&stranger, &request, true)), "PERMISSION_DENIED");
    assert_eq!(reason(bench.hq.vote(&stranger, &request, false)), "PERMISSION_DENIED");
    let mut forged = ben.signs(&ApprovalStatement::to(&request, true));
    forged.chain = vec![ada.key().public_key_info().to_vec()];
    let session = || asks(&bench.hq, Role::Admin, "ada");
    let decide = |statement: &[u8]| {
        block_on(bench.hq.custody().decide_approval(session(), statement)).unwrap_err().reason
    };
    assert_eq!(decide(&forged.encode()), Reason::PermissionDenied);
    assert_eq!(decide(b"no statement"), Reason::InvalidArgument);

    bench.hq.vote(ada, &request, true).unwrap();
    assert_eq!(bench.hq.vote(cleo, &request, false).unwrap().given, 0);
    assert_eq!(pending(&bench.hq), 0);
    assert_eq!(reason(bench.hq.vote(ben, &request, true)), "NOT_FOUND");
    assert_ne!(bench.waits(&order).digest(), request.digest());
}

#[test]
fn a7_a_changed_list_makes_void_what_waited_and_holds_after_a_restart() {
    let bench = Bench::new();
    let order = bench.large("po-1");
    let request = bench.waits(&order);
    agree(&bench.hq, &bench.grant(&order).unwrap_err());
    let dora = Voter::new("dora");
    let [ada, ben, cleo] = bench.hq.approvers() else { panic!("three people approve") };
    let voters = [ada, ben, &dora];
    let refused = change(&bench.hq, "admin", &voters, 2).unwrap_err();
    let Act::ChangeCharter { list } = waiting(&bench.hq, &refused).act else { panic!("a list") };
    assert!(list.members.iter().map(|it| it.name.as_str()).eq(["ada", "ben", "dora"]));
    // Two admins ask for different lists: what the first one changes makes the other's void.
    let rival = change(&bench.hq, "admin", &[ada, ben, cleo, &dora], 3).unwrap_err();
    agree(&bench.hq, &rival);
    agree(&bench.hq, &refused);
    assert_eq!(change(&bench.hq, "admin", &voters, 2).unwrap(), 2);
    let rival = change(&bench.hq, "admin", &[ada, ben, cleo, &dora], 3).unwrap_err();
    assert_eq!(rival.reason, Reason::ApprovalRequired);

    let fresh = bench.waits(&order);
    assert_ne!(fresh.digest(), request.digest(), "two had approved it under the old list");
    assert_eq!(fresh.list_version, 2);
    assert_eq!(reason(bench.hq.vote(cleo, &fresh, true)), "PERMISSION_DENIED");
    let Bench { world, hq, site } = bench;
    let bench = Bench { world, hq: hq.restart().unwrap(), site };
    let [ada, ..] = bench.hq.approvers() else { panic!("three people approve") };
    for voter in [ada, &dora] {
        bench.hq.vote(voter, &fresh, true).unwrap();
    }
    bench.grant(&order).unwrap();
}

#[test]
fn a8_no_list_locks_everybody_out_or_needs_fewer_than_the_charter_allows() {
    let bench = Bench::new();
    let [ada, ben, cleo] = bench.hq.approvers() else { panic!("three people approve") };
    for (voters, quorum) in [
        (&[ada, ben, cleo][..], 1),
        (&[ada, ben, cleo], 4),
        (&[ada], 2),
        (&[ada, ada], 2),
        (&[], 0),
    ] {
        let refused = change(&bench.hq, "admin", voters, quorum).unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidArgument, "{quorum} of {}", voters.len());
    }
    assert_eq!(change(&bench.hq, "admin", &[ada, ben, cleo], 2).unwrap(), 1, "nothing changes");
    // Who asks is not counted: with all of them needed, none of them can ask.
    let all = change(&bench.hq, "admin", &[ada, ben, cleo], 3).unwrap_err();
    agree(&bench.hq, &all);
    change(&bench.hq, "admin", &[ada, ben, cleo], 3).unwrap();
    let refused = issue(&bench.hq, "ada", "auditor", &Voter::new("eve")).unwrap_err();
    assert_eq!((refused.reason, refused.metadata), (Reason::ApprovalRequired, Vec::new()));
    assert_eq!(pending(&bench.hq), 0);
}

#[test]
fn where_several_people_decide_they_decide_who_joins_them() {
    let bench = Bench::new();
    let (mei, eve) = (Voter::new("mei"), Voter::new("eve"));
    let ada = &bench.hq.approvers()[0];
    issue(&bench.hq, "admin", "admin", ada).unwrap();
    issue(&bench.hq, "admin", "operator", &mei).unwrap();
    for role in ["admin", "auditor", "publisher"] {
        let refused = issue(&bench.hq, "admin", role, &eve).unwrap_err();
        agree(&bench.hq, &refused);
        issue(&bench.hq, "admin", role, &eve).unwrap();
        issue(&bench.hq, "admin", role, &eve).expect("a renewal is nobody new");
    }
    let impostor = Voter::new("ben");
    let refused = issue(&bench.hq, "admin", "admin", &impostor).unwrap_err();
    assert_eq!(refused.reason, Reason::ApprovalRequired, "the list names another key");
}

#[test]
fn who_is_revoked_makes_no_call_any_more_and_his_name_is_nobodys_again() {
    let bench = Bench::with_rows();
    let (mei, zoe) = (Voter::new("mei"), Voter::new("zoe"));
    issue(&bench.hq, "admin", "operator", &mei).unwrap();
    agree(&bench.hq, &issue(&bench.hq, "admin", "auditor", &zoe).unwrap_err());
    issue(&bench.hq, "admin", "auditor", &zoe).unwrap();
    let revoke = |host: &TestHost, role: &str, name: &str| {
        let session = asks(host, Role::Admin, "admin");
        block_on(host.custody().revoke_user(session, role, name))
    };
    let calls = |host: &TestHost, role: Role, name: &str| {
        let begun = block_on(host.custody().begin(asks(host, role, name), None));
        begun.map(drop).map_err(|refusal| refusal.reason)
    };
    revoke(&bench.hq, "operator", "mei").unwrap();
    agree(&bench.hq, &revoke(&bench.hq, "auditor", "zoe").unwrap_err());
    assert_eq!(calls(&bench.hq, Role::Auditor, "zoe"), Ok(()), "it is not done yet");
    for _ in 0..2 {
        revoke(&bench.hq, "auditor", "zoe").unwrap();
    }
    assert_eq!(bench.count(|zoent| matches!(zoent, Event::UserRevoked { .. })), 2);
    let refused = revoke(&bench.hq, "admin", "admin").unwrap_err();
    assert_eq!(refused.reason, Reason::InvalidArgument, "an admin always remains");
    assert_eq!(revoke(&bench.hq, "auditor", "nobody").unwrap_err().reason, Reason::NotFound);

    let hq = bench.hq.restart().unwrap();
    for (role, name) in [(Role::Operator, "mei"), (Role::Auditor, "zoe")] {
        assert_eq!(calls(&hq, role, name), Err(Reason::PermissionDenied));
    }
    assert_eq!(calls(&hq, Role::Operator, "zoe"), Ok(()), "another role is another certificate");
    assert_eq!(issue(&hq, "admin", "operator", &mei).unwrap_err().reason, Reason::WrongState);
}

#[test]
fn a3_an_older_security_version_and_another_identity_need_approvals() {
    let bench = Bench::new();
    let claims = |version: &str| {
        let mut claims = (*bench.site.session_of::<Line>("admin", "admin").plugin.unwrap()).clone();
        claims.measurement = mintmark_custody::sha256(version.as_bytes());
        claims
    };
    let custody = bench.site.custody();
    let activate = |version: &str| {
        let session = asks(&bench.site, Role::Admin, "admin");
        block_on(custody.activate_plugin(session, &claims(version), version))
    };
    for (version, security) in [("2.0.0", 3), ("1.0.0", 0)] {
        let (session, bytes) = (asks(&bench.site, Role::Admin, "admin"), version.as_bytes());
        let measurement = claims(version).measurement;
        let name = Line::NAME;
        block_on(custody.install_plugin(session, name, measurement, version, security, bytes))
            .unwrap();
    }
    activate("2.0.0").unwrap();
    agree(&bench.site, &activate("1.0.0").unwrap_err());
    activate("1.0.0").unwrap();

    let twin = bench.world.site("shenzhen").export_identity();
    let refused = bench.hq.import_identity(&twin).unwrap_err();
    assert_eq!(refused.reason, "APPROVAL_REQUIRED");
    bench.hq.approve(&refused);
    assert!(bench.hq.import_identity(&twin).unwrap().changed);
}

#[test]
fn a_flood_of_requests_is_bounded_and_keeps_nobody_else_from_asking() {
    let bench = Bench::with_rows();
    let ask = |by: &str, number: usize| {
        issue(&bench.hq, by, "auditor", &Voter::new(&format!("eve-{number}"))).unwrap_err()
    };
    for number in 0..40 {
        assert_eq!(ask("admin", number).reason, Reason::ApprovalRequired);
    }
    assert_eq!(pending(&bench.hq), 16);
    assert_eq!(bench.count(|event| matches!(event, Event::ApprovalRequested { .. })), 16);
    assert!(ask("admin", 40).metadata.is_empty(), "no request is named that does not wait");
    let other = ask("bela", 41);
    waiting(&bench.hq, &other);
    bench.world.pass_ms(WEEK_MS);
    waiting(&bench.hq, &ask("admin", 42));
    assert_eq!(pending(&bench.hq), 1, "what nobody approved in time is gone");
}
