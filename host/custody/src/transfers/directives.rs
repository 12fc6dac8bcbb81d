//! Directives: headquarters' later orders about an entitlement.
//!
//! A site's host acts on them alone, whatever its plugin made of the message: only under the
//! signature of the host that granted, only for its own allotment, and each once and not after a
//! newer one. What changes is the allotment's record, which every call that uses the allotment has
//! read: a draw under way is not committed after a revocation, and a rerun sees it.

use mintmark_exchange::approval::Act;
use mintmark_exchange::canonical;
use mintmark_exchange::directive::{self, Change, Directive};
use mintmark_exchange::grant::{Grant, TOTAL_MAX};
use mintmark_exchange::order::{DIRECTIVE, SignedOrder};
use mintmark_exchange::product::KeyOrigin;
use mintmark_exchange::row::Event;
use mintmark_model::escrow::{Amendment, End};
use mintmark_model::policy::Content;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::device::batch_ca;
use mintmark_pki::{Certificate, ClusterRole};
use mintmark_store::Key;

use super::granting::terms_invalid;
use crate::call::Call;
use crate::counting::Credit;
use crate::disk::allotment::{AllotmentRecord, OrdersRecord};
use crate::disk::granted::GrantedRecord;
use crate::disk::key::KeyKind;
use crate::host::untrusted;
use crate::keys::OpenKey;
use crate::pending::PendingRow;
use crate::permit::Certify;
use crate::types::AppliedDirective;
use crate::{escrows, tables, units};

impl Call {
    /// Signs a directive about an entitlement that this host granted to `site`.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for a change that is malformed or changes nothing; `NOT_FOUND` for the
    /// entitlement; `WRONG_STATE` once it was revoked or closed, and before a bundle has shown a
    /// restored headquarters what the site holds; `TERMS_INVALID` beyond all bounds;
    /// `APPROVAL_REQUIRED` for an extension.
    pub async fn export_directive(
        &mut self,
        site: &str,
        entitlement: &str,
        change: &[u8],
        product_ca: Option<&OpenKey>,
    ) -> Result<Vec<u8>, Refusal> {
        self.check_claim("directive")?;
        if !self.host.identity.is_headquarters() {
            return Err(Refusal::denied("Only headquarters orders."));
        }
        self.check_storage()?;
        let change = read_change(change)?;
        let place = tables::pair(tables::GRANTED, site, entitlement);
        let record: Option<GrantedRecord> = self.read(&place).await?;
        let record = record.ok_or_else(|| Refusal::not_found("entitlement"))?;
        check_possible(&record, change)?;
        self.refuse_stale_stream(site).await?;
        // From here on the order is given whole, or the call is not committed.
        let given = self.give_order(record, change, site, entitlement, product_ca).await;
        self.whole(given)
    }

    async fn give_order(
        &mut self,
        mut record: GrantedRecord,
        change: Change,
        site: &str,
        entitlement: &str,
        product_ca: Option<&OpenKey>,
    ) -> Result<Vec<u8>, Refusal> {
        let place = tables::pair(tables::GRANTED, site, entitlement);
        if let Change::Extend { units, not_after } = change {
            self.refuse_before_entry(site).await?;
            let (recipient, entitlement) = (site.to_owned(), entitlement.to_owned());
            self.credit(site, &record.product, units, &entitlement).await?;
            self.require_approvals(&Act::Extend { entitlement, recipient, units, not_after })
                .await?;
        }
        record.note(change);
        record.directives = record.directives.checked_add(1).ok_or_else(|| {
            Refusal::new(Reason::QuotaExhausted, "There are no more directive numbers.")
        })?;
        let batch_ca = match change {
            Change::Extend { units: 1.., .. } => self.wider_batch(&record, product_ca).await?,
            _ => None,
        };
        let directive = Directive {
            version: directive::VERSION,
            exporter: self.host.identity.uri(),
            recipient: site.to_owned(),
            entitlement: entitlement.to_owned(),
            number: record.directives,
            change,
            batch_ca,
            id: mintmark_crypto::random::array(),
            made_at: self.now_ms(),
        };
        self.view.write(place, record);
        let signed = self.host.identity.sign_order(DIRECTIVE, canonical::encode(&directive));
        let digest = signed.digest(DIRECTIVE);
        self.view.write(Key::new(tables::DIRECTIVES, digest), directive.made_at);
        self.taint();
        self.record(Event::DirectiveExported {
            directive: digest,
            recipient: site.to_owned(),
            entitlement: entitlement.to_owned(),
            change,
        });
        Ok(signed.encode())
    }

    /// Acts on a directive of the headquarters that granted the entitlement.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE`, `WRONG_SITE`, `UNSUPPORTED_VERSION`; `NOT_FOUND` for an entitlement
    /// that the calling plugin does not have; `REPLAYED` for a directive that was acted on before,
    /// `OUT_OF_ORDER` for one that is older than the last; `REVOKED` or `CLOSED` for an extension
    /// of what has ended.
    pub async fn import_directive(&mut self, order: &[u8]) -> Result<AppliedDirective, Refusal> {
        let imported = self.act_on(order).await;
        self.whole(imported)
    }

    async fn act_on(&mut self, order: &[u8]) -> Result<AppliedDirective, Refusal> {
        self.check_claim("import")?;
        let order = SignedOrder::decode(order).map_err(|_| untrusted())?;
        let directive = self.verify_directive(&order)?;
        let digest = order.digest(DIRECTIVE);
        let known = Key::new(tables::DIRECTIVES, digest);
        if let Some(acted_at) = self.read::<u64>(&known).await? {
            let detail = "The directive was acted on before; nothing changed.";
            return Err(Refusal::new(Reason::Replayed, detail)
                .with("entitlement", directive.entitlement)
                .with("imported-at", acted_at.to_string()));
        }
        let plugin = self.plugin_name()?;
        let place = tables::pair(tables::ALLOTMENTS, &plugin, &directive.entitlement);
        self.close_if_due(&place).await?;
        let record: Option<AllotmentRecord> = self.read(&place).await?;
        let mut record = record.ok_or_else(|| Refusal::not_found("entitlement"))?;
        let grant = units::grant_of(&record)?;
        if grant.exporter != directive.exporter {
            tracing::warn!("a directive is not from the headquarters that granted");
            return Err(untrusted());
        }
        if directive.number <= record.orders.number {
            let detail = "A newer directive about the entitlement was acted on already.";
            return Err(Refusal::new(Reason::OutOfOrder, detail)
                .with("newest", record.orders.number.to_string()));
        }
        let applied = self.apply_directive(&directive, &grant, &mut record).await?;
        record.orders.number = directive.number;
        self.view.write(place, record);
        self.view.write(known, self.now_ms());
        let event = Event::DirectiveImported {
            directive: digest,
            entitlement: grant.entitlement.clone(),
            change: directive.change,
            applied,
        };
        let row = PendingRow::plain(self.began, event);
        self.rows.push(PendingRow { allotment: Some(grant.entitlement), ..row });
        Ok(AppliedDirective { body: order.body, applied })
    }

    fn verify_directive(&self, order: &SignedOrder) -> Result<Directive, Refusal> {
        let directive: Directive = order.open().map_err(|_| untrusted())?;
        let chain = self.host.identity.verify_order(DIRECTIVE, order, directive.made_at)?;
        let cluster = chain.id().cluster();
        if cluster.role() != ClusterRole::Headquarters || cluster.to_string() != directive.exporter
        {
            return Err(untrusted());
        }
        if directive.recipient != self.host.identity.uri() {
            let detail = "The directive is for another site.";
            return Err(Refusal::new(Reason::WrongSite, detail));
        }
        if directive.version != directive::VERSION {
            let detail = "The directive is of a newer version; update the host.";
            return Err(Refusal::new(Reason::UnsupportedVersion, detail));
        }
        directive.check().map_err(|error| terms_invalid(&error))?;
        Ok(directive)
    }

    /// Changes the allotment's record and counters; says how many units that were.
    async fn apply_directive(
        &mut self,
        directive: &Directive,
        grant: &Grant,
        record: &mut AllotmentRecord,
    ) -> Result<u64, Refusal> {
        // It is open from here on, so that it hears of what is committed exactly once.
        let escrow = self.escrow_of(grant).await?;
        let mut withheld = escrow.withhold(0);
        let (mut added, mut taken) = (0, 0);
        match directive.change {
            Change::Revoke => record.end |= AllotmentRecord::REVOKED,
            Change::Reduce { units } => {
                withheld = escrow.withhold(units);
                taken = withheld.units();
                self.credits.push(Credit::taken(grant, taken));
            }
            Change::Shorten { not_after } => {
                record.orders.not_after = Some(grant.terms.not_after.min(not_after));
            }
            Change::Extend { units, not_after } => {
                refuse_ended(record)?;
                record.orders.extend(directive, grant)?;
                added = units;
                let later =
                    not_after.map_or(grant.terms.not_after, |end| end.max(grant.terms.not_after));
                record.orders.not_after = Some(later);
                let grant = units::grant_of(record)?;
                self.credits.push(Credit::added(&grant, added));
            }
        }
        let amendment = Amendment {
            added,
            taken,
            destroyed: 0,
            not_after: record.orders.not_after.unwrap_or(grant.terms.not_after),
            end: escrows::end(record),
        };
        self.amendments.push((withheld, amendment));
        Ok(added + taken)
    }

    /// A certificate for the batch CA's key that covers what is added too.
    async fn wider_batch(
        &mut self,
        record: &GrantedRecord,
        product_ca: Option<&OpenKey>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let (Some(batch_key), Some(product_ca)) = (&record.batch_key, product_ca) else {
            if record.batch_key.is_some() || product_ca.is_some() {
                let detail = "The product CA goes with units of a product with certificates.";
                return Err(Refusal::invalid(detail));
            }
            return Ok(None);
        };
        let key = self.load_key(&product_ca.name).await?;
        let KeyKind::ProductCa(certificate) = key.record.kind.clone() else {
            return Err(Refusal::invalid("The product CA is none."));
        };
        if record.product_ca != Some(mintmark_crypto::digest::sha256(&certificate)) {
            let detail = "The product's CA is not the one of the grant, which was lost when \
                          headquarters was restored; make a new order of what is to be added.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let permit = self.permit::<Certify>(&key, Content::Certificate, None)?;
        let signer = permit.signing_key(&self.host.vault)?;
        let (product, number, total) = (&record.product, record.number, record.limit);
        let now = self.now_ms();
        let issued = batch_ca(&signer, &certificate, batch_key, product, number, total, now);
        let issued = issued.map_err(|error| {
            tracing::warn!(%error, "a batch CA could not be certified");
            Refusal::invalid("The product CA does not fit the product.")
        })?;
        let certificate_hash = mintmark_crypto::digest::sha256(&issued);
        self.record(Event::CaMade { name: product_ca.name.clone(), certificate_hash });
        Ok(Some(issued))
    }
}

impl GrantedRecord {
    /// What headquarters ordered counts from now on. The order of these notes does not matter: one
    /// that was forgotten may come late.
    pub(super) fn note(&mut self, change: Change) {
        match change {
            Change::Revoke => self.revoked = true,
            Change::Reduce { .. } => {}
            Change::Shorten { not_after } => self.not_after = self.not_after.min(not_after),
            Change::Extend { units, not_after } => {
                self.limit = self.limit.saturating_add(units);
                self.not_after = self.not_after.max(not_after.unwrap_or_default());
            }
        }
    }
}

impl OrdersRecord {
    /// Adds units, with the certificate that covers them where the product has certificates.
    fn extend(&mut self, directive: &Directive, grant: &Grant) -> Result<(), Refusal> {
        let Change::Extend { units, .. } = directive.change else { return Ok(()) };
        if units > 0 && grant.product.origin == KeyOrigin::Pool {
            let detail = "There are no given keys for more units; a new order brings its own.";
            return Err(Refusal::new(Reason::TermsInvalid, detail));
        }
        let limit = grant.terms.total.saturating_add(units);
        if limit > TOTAL_MAX {
            let detail = "The entitlement would have more units than any may have.";
            return Err(Refusal::new(Reason::TermsInvalid, detail));
        }
        let key_of = |der: &[u8]| {
            Certificate::parse(der).ok().map(|parsed| parsed.public_key_info().to_vec())
        };
        match (&grant.batch_ca, &directive.batch_ca, units) {
            (_, None, 0) | (None, None, _) => {}
            // The same key: what it certifies is bounded by the host, never by a certificate.
            (Some(first), Some(wider), 1..)
                if key_of(wider).is_some_and(|key| key_of(first) == Some(key)) =>
            {
                self.batch_cas.push((limit, wider.clone()));
            }
            _ => return Err(untrusted()),
        }
        self.extended = self.extended.saturating_add(units);
        Ok(())
    }
}

/// The certificate of the batch CA that covers a unit: the grant's, or that of the directive which
/// added it. A unit keeps the one that it was issued under.
pub(crate) fn batch_ca_of(record: &AllotmentRecord, grant: &Grant, unit: u64) -> Option<Vec<u8>> {
    let granted = grant.terms.total.saturating_sub(record.orders.extended);
    if unit < granted {
        return grant.batch_ca.clone();
    }
    let covering = record.orders.batch_cas.iter().find(|(limit, _)| unit < *limit);
    covering.map(|(_, certificate)| certificate.clone())
}

impl Credit {
    /// Units that come.
    pub(crate) fn added(grant: &Grant, units: u64) -> Self {
        let count = signed(units);
        Self::new(grant, [count, count, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Unused units that headquarters takes back.
    fn taken(grant: &Grant, units: u64) -> Self {
        let count = signed(units);
        Self::new(grant, [-count, -count, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    /// Unused units that are destroyed.
    pub(super) fn destroyed(grant: &Grant, units: u64) -> Self {
        let count = signed(units);
        Self::new(grant, [0, -count, 0, 0, 0, 0, 0, 0, 0, count])
    }

    fn new(grant: &Grant, deltas: [i64; 10]) -> Self {
        Self { entitlement: grant.entitlement.clone(), deltas, most: grant.terms.total }
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).expect("units are at most 2^40")
}

fn read_change(bytes: &[u8]) -> Result<Change, Refusal> {
    let change = Change::decode(bytes).map_err(|_| Refusal::invalid("The change is malformed."))?;
    change.check().map_err(|error| terms_invalid(&error))?;
    Ok(change)
}

/// Whether headquarters can still order this.
fn check_possible(record: &GrantedRecord, change: Change) -> Result<(), Refusal> {
    // A revocation may be ordered again: the first may be lost, or of an older store.
    let again = record.revoked && change == Change::Revoke;
    if (record.revoked && !again) || record.closed.is_some() {
        let detail = "The entitlement was revoked or closed; nothing of it changes any more.";
        return Err(Refusal::new(Reason::WrongState, detail));
    }
    let invalid = |detail: &str| Err(Refusal::new(Reason::TermsInvalid, detail));
    match change {
        Change::Shorten { not_after } if not_after >= record.not_after => {
            invalid("The window ends no later than that already.")
        }
        Change::Extend { not_after: Some(not_after), .. } if not_after < record.not_after => {
            invalid("The window ends later than that already; shorten it instead.")
        }
        Change::Extend { units, .. } if record.limit.saturating_add(units) > TOTAL_MAX => {
            invalid("The entitlement would have more units than any may have.")
        }
        _ => Ok(()),
    }
}

fn refuse_ended(record: &AllotmentRecord) -> Result<(), Refusal> {
    match escrows::end(record) {
        None => Ok(()),
        Some(End::Revoked) => {
            let detail = "The entitlement was revoked; nothing revives it.";
            Err(Refusal::new(Reason::Revoked, detail))
        }
        Some(End::Closed) => {
            let detail = "The entitlement is closed; nothing revives it.";
            Err(Refusal::new(Reason::Closed, detail))
        }
    }
}
