//! Acts that need several people: M of N of the list of approvers, enforced here, at the act.
//!
//! An act without approvals leaves a request, which is durable although the act's own call fails.
//! Approvers sign statements over the request's digest with the key of their certificate, so that
//! no host can make one. The act, repeated by who asked, uses them up in its own transaction: two
//! calls cannot use them twice, and a call that fails leaves them.
//!
//! One request waits for each act and requester, and only so many at all: asking again and again
//! fills no store.

use mintmark_crypto::random;
use mintmark_exchange::approval::{
    self, Act, ApprovalRequest, ApprovalStatement, Approvers, NotApproved, Place, StatementError,
};
use mintmark_exchange::canonical;
use mintmark_exchange::charter::{Approver, Charter};
use mintmark_exchange::order::SignedOrder;
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal, Role};
use mintmark_pki::Certificate;
use mintmark_store::{CommitError, Key, NewRow, Range, Transaction};

use crate::call::{Call, conflict};
use crate::custody::Custody;
use crate::disk::approval::{ApprovalRecord, ApproversRecord};
use crate::disk::{self, host::UserRecord};
use crate::host::Host;
use crate::pending::PendingRow;
use crate::tables;
use crate::types::{Digest, Session};
use crate::view::View;

/// How long a request waits.
const LIFETIME_MS: u64 = 7 * 86_400_000;
/// The most requests of one requester that wait.
const PER_REQUESTER_MAX: usize = 16;
/// The most requests that wait, while whoever asks next is no admin.
const PENDING_MAX: usize = 256;
/// So many more may wait, for admins: nobody else can keep them from asking.
const ADMINS_OWN: usize = 64;
/// How often a request is written again because something else changed meanwhile.
const TRIES_MAX: u32 = 8;

/// A request that waits, and who has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingApproval {
    /// The request, encoded: whoever approves it reads it himself.
    pub request: Vec<u8>,
    /// [`ApprovalRequest::digest`].
    pub digest: Digest,
    /// Names of those who agreed, in order.
    pub approvers: Vec<String>,
    /// How many must.
    pub needed: u32,
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Who signed it.
    pub approver: String,
    /// How many have agreed.
    pub given: u32,
    /// How many must.
    pub needed: u32,
}

/// The list of approvers as it holds now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApproversNow {
    /// Names and hashes of keys.
    pub members: Vec<(String, Digest)>,
    /// How many of them must agree.
    pub quorum: u32,
    /// The least that the charter allows.
    pub floor: u32,
    /// 1 for the charter's own list; each change is one more.
    pub version: u64,
}

impl Call {
    /// Goes on only if enough people have approved exactly this act; their approvals are used up
    /// by the call's commit.
    ///
    /// # Errors
    ///
    /// `APPROVAL_REQUIRED`; its metadata names the request that waits now, where one can.
    pub(crate) async fn require_approvals(&mut self, act: &Act) -> Result<(), Refusal> {
        let host = std::sync::Arc::clone(&self.host);
        let list = list_of(&host, &mut self.view).await?;
        let place = slot(act, &self.session.principal.to_string());
        let record: Option<ApprovalRecord> = self.read(&place).await?;
        let found = record.as_ref().and_then(Waiting::read);
        let verdict = found.as_ref().map(|found| found.judge(&list, &host.here(self.now_ms())));
        if let (Some(found), Some(Ok(approvers))) = (&found, verdict) {
            self.view.delete(place);
            self.record(Event::Approved {
                act: act.name().to_owned(),
                request_digest: found.request.digest(),
                approvers,
            });
            return Ok(());
        }
        let (digest, given, needed) = self.ask(act, &place).await?;
        let detail = format!(
            "`{}` needs approvals: {given} of {needed} are there. Repeat it when they all are.",
            act.name()
        );
        Err(Refusal::new(Reason::ApprovalRequired, detail).with("request", hex::encode(digest)))
    }

    /// The request for the act that waits; makes one if there is none. In a transaction of its own:
    /// it is there whatever becomes of this call.
    async fn ask(&self, act: &Act, place: &Key) -> Result<(Digest, u32, u32), Refusal> {
        self.check_written()?;
        let host = &self.host;
        let _alone = host.claims.take(&everyone()).await;
        for _ in 0..TRIES_MAX {
            let mut view = View::new(&*host.store).await?;
            let list = list_of(host, &mut view).await?;
            let here = host.here(self.now_ms());
            let (mut alive, dead) = pending(&mut view, &list, &here).await?;
            if let Some((_, found)) = alive.iter().find(|(key, _)| key == place) {
                return Ok((found.request.digest(), found.given(), list.quorum));
            }
            let request = self.request(act, &view, &list).await?;
            self.check_room(&mut alive, &request)?;
            for key in dead {
                view.delete(key);
            }
            let record = ApprovalRecord { request: request.encode(), statements: Vec::new() };
            view.write(place.clone(), record);
            let digest = request.digest();
            let event = Event::ApprovalRequested {
                act: act.name().to_owned(),
                request_digest: digest,
                expires_at: request.expires_at,
            };
            let mut transaction = Transaction::default();
            view.drain_into(&mut transaction);
            let body = self.row_body(PendingRow::plain(self.began, event));
            transaction.rows.push(NewRow { body, counters: Vec::new() });
            match host.committer.commit(transaction).await {
                Ok(_) => return Ok((digest, 0, list.quorum)),
                Err(CommitError::Conflict) => {}
                Err(error) => {
                    tracing::error!(%error, "a request for approvals was not written");
                    return Err(host.cannot_write());
                }
            }
        }
        Err(conflict())
    }

    /// A request for the act, if anybody but who asks can approve it.
    async fn request(
        &self,
        act: &Act,
        view: &View,
        list: &Approvers,
    ) -> Result<ApprovalRequest, Refusal> {
        let principal = &self.session.principal;
        let requester = principal.to_string();
        let user = tables::pair(tables::USERS, principal.role.name(), &principal.name);
        let user: Option<UserRecord> = view.peek(&user).await?;
        let key = user.and_then(|user| Certificate::parse(&user.certificate).ok());
        let requester_key = key.map(|certificate| key_hash(certificate.public_key_info()));
        if !list.can_approve(&requester, requester_key) {
            let detail = format!(
                "`{}` needs {} approvals, and who asks does not approve: let somebody else ask, \
                 or change the list of approvers.",
                act.name(),
                list.quorum
            );
            return Err(Refusal::new(Reason::ApprovalRequired, detail));
        }
        let made_at = self.now_ms();
        Ok(ApprovalRequest {
            version: approval::VERSION,
            cluster: self.host.identity.uri(),
            epoch: self.host.epoch,
            list_version: list.version,
            act: act.clone(),
            requester,
            requester_key,
            id: random::array(),
            made_at,
            // Where the clock is suspect, site time stands and this moves away. That is as it must
            // be: people approve that the clock is right.
            expires_at: made_at.saturating_add(LIFETIME_MS),
        })
    }

    /// A flood of requests is refused before it is written.
    fn check_room(
        &self,
        alive: &mut Vec<(Key, Waiting)>,
        request: &ApprovalRequest,
    ) -> Result<(), Refusal> {
        let most = match self.session.principal.role {
            Role::Admin => PENDING_MAX + ADMINS_OWN,
            _ => PENDING_MAX,
        };
        let full = alive.len() >= most;
        alive.retain(|(_, waiting)| waiting.request.requester == request.requester);
        if !full && alive.len() < PER_REQUESTER_MAX {
            return Ok(());
        }
        let detail = "It needs approvals, and too many other requests wait for theirs; have those \
                      approved or refused first.";
        Err(Refusal::new(Reason::ApprovalRequired, detail))
    }

    /// Takes the statement of somebody on the list.
    async fn decide(&mut self, statement: &[u8]) -> Result<Decided, Refusal> {
        let malformed = |_| Refusal::invalid("The statement is malformed; sign it again.");
        let statement = SignedOrder::decode(statement).map_err(malformed)?;
        let said: ApprovalStatement = statement.open().map_err(malformed)?;
        let host = std::sync::Arc::clone(&self.host);
        self.claim(&everyone()).await?;
        let list = list_of(&host, &mut self.view).await?;
        let here = host.here(self.now_ms());
        let (alive, _) = pending(&mut self.view, &list, &here).await?;
        let mut alive = alive.into_iter();
        let found = alive.find(|(_, waiting)| waiting.request.digest() == said.request);
        let (place, mut waiting) = found.ok_or_else(|| {
            Refusal::not_found("request that waits: it was used, refused, or is void")
        })?;
        let signed = approval::signer(&list, &waiting.request, &statement, holds);
        let (approver, approve) = signed.map_err(refused_statement)?;
        let (name, key) = (approver.name.clone(), approver.key_hash);
        let needed = list.quorum;
        if approve && waiting.has(&key) {
            return Ok(Decided { approver: name, given: waiting.given(), needed });
        }
        self.record(Event::ApprovalGiven {
            request_digest: said.request,
            approver: name.clone(),
            approve,
        });
        if !approve {
            self.view.delete(place);
            return Ok(Decided { approver: name, given: 0, needed });
        }
        waiting.statements.push(statement);
        let given = waiting.given();
        self.view.write(place, waiting.record());
        Ok(Decided { approver: name, given, needed })
    }

    /// Replaces the list of approvers; M of N of the present one must agree.
    async fn change_approvers(
        &mut self,
        members: Vec<(String, Digest)>,
        quorum: u32,
    ) -> Result<ApproversNow, Refusal> {
        let member = |(name, key_hash)| Approver { name, key_hash };
        let members: Vec<_> = members.into_iter().map(member).collect();
        let host = std::sync::Arc::clone(&self.host);
        let floor = host.identity.charter.floor_m;
        let present = list_of(&host, &mut self.view).await?;
        if present.members == members && present.quorum == quorum {
            return Ok(ApproversNow::new(present, floor));
        }
        let list = Approvers { version: present.version + 1, quorum, members };
        if !list.is_sound(floor) {
            let detail = "Each approver is one name and one key, at most 32 of them; the quorum is \
                          at least the charter's floor and at most their number.";
            return Err(Refusal::invalid(detail));
        }
        self.require_approvals(&Act::ChangeCharter { list: list.clone() }).await?;
        let record = ApproversRecord { list: canonical::encode(&list) };
        self.view.write(approvers_place(), record);
        self.record(Event::CharterChanged { list_version: list.version, list: list.digest() });
        Ok(ApproversNow::new(list, floor))
    }

    /// Where several people decide, they also decide who joins them as admin, auditor or publisher.
    /// A listed approver is expected, and the first admin comes with the root's answer.
    pub(crate) async fn require_appointment(
        &mut self,
        (role, name): (Role, &str),
        key_hash: Digest,
    ) -> Result<(), Refusal> {
        let host = std::sync::Arc::clone(&self.host);
        let list = list_of(&host, &mut self.view).await?;
        let listed = |it: &Approver| it.name == name && it.key_hash == key_hash;
        if role == Role::Admin && list.members.iter().any(listed) {
            return Ok(());
        }
        let anybody = Range::all(tables::USERS, Vec::new()).limit(1);
        if self.view.scan(anybody).await?.is_empty() {
            return Ok(());
        }
        let (title, name) = (role.name().to_owned(), name.to_owned());
        self.require_quorum(role, &Act::IssueUser { role: title, name, key_hash }).await
    }

    /// Goes on with an act about somebody of this role: where M is 1, an admin does it alone, and
    /// with operators and stations always.
    pub(crate) async fn require_quorum(&mut self, role: Role, act: &Act) -> Result<(), Refusal> {
        let host = std::sync::Arc::clone(&self.host);
        let guarded = matches!(role, Role::Admin | Role::Auditor | Role::Publisher);
        if !guarded || list_of(&host, &mut self.view).await?.quorum < 2 {
            return Ok(());
        }
        self.require_approvals(act).await
    }
}

impl Custody {
    /// The acts that wait for approvals, the oldest first.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn approvals(&self) -> Result<Vec<PendingApproval>, Refusal> {
        let mut view = self.view().await?;
        let list = list_of(&self.host, &mut view).await?;
        let here = self.host.here(self.site_time_ms());
        let (mut alive, _) = pending(&mut view, &list, &here).await?;
        alive.sort_by_key(|(_, waiting)| (waiting.request.made_at, waiting.request.id));
        let pending = alive.into_iter().map(|(_, waiting)| PendingApproval {
            request: waiting.request.encode(),
            digest: waiting.request.digest(),
            approvers: waiting.names(&list),
            needed: list.quorum,
        });
        Ok(pending.collect())
    }

    /// Takes an approver's signed yes or no. The signature decides, not who carries it here.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a request that does not wait; `PERMISSION_DENIED` for somebody who is not on
    /// the list, or who asked; `INVALID_ARGUMENT` for what is no statement.
    pub async fn decide_approval(
        &self,
        session: Session,
        statement: &[u8],
    ) -> Result<Decided, Refusal> {
        let mut call = self.begin(session, None).await?;
        let decided = call.decide(statement).await;
        self.conclude(call, decided).await
    }

    /// The list of approvers.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub async fn approvers(&self) -> Result<ApproversNow, Refusal> {
        let list = list_of(&self.host, &mut self.view().await?).await?;
        Ok(ApproversNow::new(list, self.host.identity.charter.floor_m))
    }

    /// Replaces the list of approvers. Whatever waits for approvals then is void.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a list that contradicts itself, has a quorum below the charter's
    /// floor, or can not be reached; `APPROVAL_REQUIRED`.
    pub async fn change_approvers(
        &self,
        session: Session,
        members: Vec<(String, Digest)>,
        quorum: u32,
    ) -> Result<ApproversNow, Refusal> {
        let mut call = self.begin(session, None).await?;
        let changed = call.change_approvers(members, quorum).await;
        self.conclude(call, changed).await
    }

    /// Commits a call of the host's own services whose act succeeded; a row says what came of one
    /// that did not.
    pub(crate) async fn conclude<T>(
        &self,
        call: Call,
        act: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match act {
            Ok(answer) => self.finish(call).await.map(|()| answer),
            Err(refusal) => {
                call.abort(refusal.reason).await;
                Err(refusal)
            }
        }
    }
}

impl ApproversNow {
    fn new(list: Approvers, floor: u32) -> Self {
        let Approvers { version, quorum, members } = list;
        let members = members.into_iter().map(|it| (it.name, it.key_hash)).collect();
        Self { members, quorum, floor, version }
    }
}

impl Host {
    /// Where and when something is approved.
    fn here(&self, now_ms: u64) -> Here {
        let floor = self.identity.charter.floor_m;
        Here { cluster: self.identity.uri(), epoch: self.epoch, floor, now_ms }
    }
}

/// [`Place`], with a cluster of its own.
struct Here {
    cluster: String,
    epoch: u64,
    floor: u32,
    now_ms: u64,
}

impl Here {
    fn place(&self) -> Place<'_> {
        let Self { cluster, epoch, floor, now_ms } = self;
        Place { cluster, epoch: *epoch, floor: *floor, now_ms: *now_ms }
    }
}

/// A request and the statements to it, as they were read.
struct Waiting {
    request: ApprovalRequest,
    statements: Vec<SignedOrder>,
}

impl Waiting {
    /// Nothing for a record that is none: it waits for nothing, and goes with the void ones.
    fn read(record: &ApprovalRecord) -> Option<Self> {
        let request = ApprovalRequest::decode(&record.request).ok()?;
        let statements = record.statements.iter().map(|bytes| SignedOrder::decode(bytes).ok());
        Some(Self { request, statements: statements.collect::<Option<_>>()? })
    }

    fn record(&self) -> ApprovalRecord {
        let statements = self.statements.iter().map(SignedOrder::encode).collect();
        ApprovalRecord { request: self.request.encode(), statements }
    }

    fn judge(&self, list: &Approvers, here: &Here) -> Result<Vec<String>, NotApproved> {
        approval::approved(list, &self.request, &self.statements, here.place(), holds)
    }

    fn given(&self) -> u32 {
        u32::try_from(self.statements.len()).unwrap_or(u32::MAX)
    }

    fn has(&self, key: &Digest) -> bool {
        self.keys().any(|signer| signer == *key)
    }

    fn keys(&self) -> impl Iterator<Item = Digest> {
        self.statements.iter().flat_map(|it| &it.chain).map(|key| key_hash(key))
    }

    fn names(&self, list: &Approvers) -> Vec<String> {
        let name = |key| list.members.iter().find(|member| member.key_hash == key);
        self.keys().filter_map(name).map(|member| member.name.clone()).collect()
    }
}

/// What waits for approvals, and the places of what does not any more.
async fn pending(
    view: &mut View,
    list: &Approvers,
    here: &Here,
) -> Result<(Vec<(Key, Waiting)>, Vec<Key>), Refusal> {
    let (mut alive, mut dead) = (Vec::new(), Vec::new());
    for (key, value) in view.scan(Range::all(tables::APPROVALS, Vec::new())).await? {
        let waiting = Waiting::read(&disk::read(&value)?);
        match waiting.filter(|it| it.request.check(list, here.place()).is_ok()) {
            Some(waiting) => alive.push((key, waiting)),
            None => dead.push(key),
        }
    }
    Ok((alive, dead))
}

/// The list that holds; from now on it must not change before the commit.
async fn list_of(host: &Host, view: &mut View) -> Result<Approvers, Refusal> {
    let record: Option<ApproversRecord> = view.read(&approvers_place()).await?;
    listed(&host.identity.charter, record)
}

/// The list that holds in a store that nobody serves.
pub(crate) async fn current_list(charter: &Charter, view: &View) -> Result<Approvers, Refusal> {
    listed(charter, view.peek(&approvers_place()).await?)
}

fn listed(charter: &Charter, record: Option<ApproversRecord>) -> Result<Approvers, Refusal> {
    let Some(record) = record else { return Ok(Approvers::of_charter(charter)) };
    canonical::decode(&record.list, approval::REQUEST_BYTES_MAX).map_err(|_| {
        let detail = "The list of approvers cannot be read; run `mintmark verify`.";
        Refusal::new(Reason::Unavailable, detail)
    })
}

/// Where a request of this requester's for this act waits.
fn slot(act: &Act, requester: &str) -> Key {
    let fields = [&canonical::encode(act)[..], requester.as_bytes()];
    let label = "mintmark approval slot v1";
    let digest = canonical::sha256(&canonical::framed(label, &fields));
    Key::new(tables::APPROVALS, digest)
}

/// What is claimed by who adds to the requests or to their statements.
fn everyone() -> Key {
    Key::new(tables::APPROVALS, b"")
}

fn approvers_place() -> Key {
    Key::new(tables::APPROVERS, b"list")
}

fn key_hash(public_key_info: &[u8]) -> Digest {
    mintmark_crypto::digest::sha256(public_key_info)
}

fn holds(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    mintmark_crypto::sign::verify(key, message, signature).is_ok()
}

fn refused_statement(error: StatementError) -> Refusal {
    match error {
        StatementError::Malformed | StatementError::AnotherRequest => {
            Refusal::invalid("The statement is not about this request; sign it again.")
        }
        StatementError::NotListed | StatementError::Signature => {
            Refusal::denied("The key is nobody's on the list of approvers.")
        }
        StatementError::Requester => Refusal::denied("Who asks for an act does not approve it."),
    }
}
