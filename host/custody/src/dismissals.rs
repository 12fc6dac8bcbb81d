//! People and stations whose certificates were revoked: they make no call any more, on no
//! connection.
//!
//! A client's certificate ends by itself after 90 days; this is for who must go earlier. A revoked
//! name is never issued again, so a name stands for one key for ever. Who approves is another
//! matter: that list names keys, and changes by approvals alone.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mintmark_crypto::digest::sha256;
use mintmark_exchange::approval::Act;
use mintmark_exchange::row::Event;
use mintmark_model::{Principal, Reason, Refusal, Role};
use mintmark_store::Range;

use crate::call::Call;
use crate::custody::Custody;
use crate::disk::{self, host::UserRecord};
use crate::tables;
use crate::types::Session;
use crate::view::View;

/// Role and name of everybody who was revoked.
#[derive(Default)]
pub(crate) struct Dismissals(Mutex<BTreeSet<(&'static str, String)>>);

impl Dismissals {
    /// As the store has them.
    ///
    /// # Errors
    ///
    /// Where the store fails.
    pub(crate) async fn load(view: &View) -> Result<Self, Refusal> {
        let dismissals = Self::default();
        for role in Role::ALL {
            let range = Range::all(tables::USERS, tables::prefix(role.name(), b""));
            for (key, value) in view.peek_range(&range).await? {
                let record: UserRecord = disk::read(&value)?;
                let name = String::from_utf8_lossy(&key.key[role.name().len() + 1..]);
                if record.revoked_at.is_some() {
                    dismissals.set().insert((role.name(), name.into_owned()));
                }
            }
        }
        Ok(dismissals)
    }

    fn has(&self, principal: &Principal) -> bool {
        self.set().contains(&(principal.role.name(), principal.name.clone()))
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<(&'static str, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Custody {
    /// Whether the certificates of this principal were revoked.
    #[must_use]
    pub fn is_revoked(&self, principal: &Principal) -> bool {
        self.host.dismissals.has(principal)
    }

    /// Revokes the certificates of a person or a station. Calls that run already end as they would.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for the caller himself, so that an admin always remains;
    /// `APPROVAL_REQUIRED` for an admin, auditor or publisher, where several people decide.
    pub async fn revoke_user(
        &self,
        session: Session,
        role: &str,
        name: &str,
    ) -> Result<(), Refusal> {
        let mut call = self.begin(session, None).await?;
        let revoked = call.revoke_user(role, name).await;
        let role = self.conclude(call, revoked).await?;
        self.host.dismissals.set().insert((role.name(), name.to_owned()));
        Ok(())
    }
}

impl Call {
    async fn revoke_user(&mut self, role: &str, name: &str) -> Result<Role, Refusal> {
        let role = Role::from_name(role).ok_or_else(|| Refusal::not_found("role"))?;
        let caller = self.session.principal.clone();
        if caller.role == role && caller.name == name {
            return Err(Refusal::invalid("Nobody revokes himself; let another admin do it."));
        }
        // Two who revoke each other at once conflict: one of them remains.
        let own = tables::pair(tables::USERS, caller.role.name(), &caller.name);
        let own: Option<UserRecord> = self.read(&own).await?;
        if own.is_some_and(|own| own.revoked_at.is_some()) {
            return Err(dismissed());
        }
        let place = tables::pair(tables::USERS, role.name(), name);
        let user: Option<UserRecord> = self.read(&place).await?;
        let mut user = user.ok_or_else(|| Refusal::not_found("person or station"))?;
        if user.revoked_at.is_some() {
            return Ok(role);
        }
        let act = Act::RevokeUser { role: role.name().to_owned(), name: name.to_owned() };
        self.require_quorum(role, &act).await?;
        user.revoked_at = Some(self.now_ms());
        let uri = format!("{}/{}/{name}", self.host.identity.uri(), role.name());
        let certificate_hash = sha256(&user.certificate);
        self.record(Event::UserRevoked { name: uri, certificate_hash });
        self.view.write(place, user);
        Ok(role)
    }
}

/// What somebody hears whose certificate was revoked.
pub(crate) fn dismissed() -> Refusal {
    Refusal::new(Reason::PermissionDenied, "The certificate was revoked.")
}
