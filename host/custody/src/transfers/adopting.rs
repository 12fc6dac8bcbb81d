//! A headquarters that was restored from a backup takes back what it granted and ordered after it.
//!
//! Its own custody key signed every grant and every directive, and sites hold them: so what it has
//! forgotten comes back from anybody's hands. Adopting widens nothing. The site has the right
//! already; headquarters only knows of it again, and can change it, close it and see its exposure.

use mintmark_exchange::directive::{self, Change, Directive};
use mintmark_exchange::grant::Grant;
use mintmark_exchange::order::{DIRECTIVE, GRANT, SignedOrder};
use mintmark_exchange::row::Event;
use mintmark_model::{Reason, Refusal};
use mintmark_pki::Certificate;
use mintmark_store::Key;

use super::granting::{number_place, terms_invalid};
use crate::call::Call;
use crate::disk::granted::GrantedRecord;
use crate::host::untrusted;
use crate::tables;
use crate::types::{AdoptedOrder, Digest};

impl Call {
    /// Takes back an order that this headquarters signed before it was restored. One that it knows
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// `UNTRUSTED_MESSAGE` for what this headquarters did not sign; `WRONG_STATE` where it was
    /// never restored, so that it knows all of its orders; `NOT_FOUND` for a directive about a
    /// grant that was not adopted yet.
    pub async fn adopt_order(&mut self, order: &[u8]) -> Result<AdoptedOrder, Refusal> {
        let adopted = self.adopt(order).await;
        self.whole(adopted)
    }

    async fn adopt(&mut self, order: &[u8]) -> Result<AdoptedOrder, Refusal> {
        self.check_claim("grant")?;
        if !self.host.identity.is_headquarters() || !self.host.is_restored() {
            let detail =
                "Only a headquarters that was restored from a backup has forgotten orders.";
            return Err(Refusal::new(Reason::WrongState, detail));
        }
        let order = SignedOrder::decode(order).map_err(|_| untrusted())?;
        match order.open::<Grant>() {
            Ok(grant) => self.adopt_grant(&order, &grant).await.map(|()| AdoptedOrder::Grant),
            Err(_) => self.adopt_directive(&order).await.map(|()| AdoptedOrder::Directive),
        }
    }

    async fn adopt_grant(&mut self, order: &SignedOrder, grant: &Grant) -> Result<(), Refusal> {
        self.check_own(GRANT, order, grant.issued_at, &grant.exporter)?;
        grant.check().map_err(|error| terms_invalid(&error))?;
        let place = tables::pair(tables::GRANTED, &grant.recipient, &grant.entitlement);
        if self.read::<GrantedRecord>(&place).await?.is_some() {
            return Ok(());
        }
        let batch_ca = grant.batch_ca.as_deref().map(Certificate::parse).transpose();
        let batch_ca = batch_ca.map_err(|_| untrusted())?;
        let batch_key = batch_ca.map(|batch_ca| batch_ca.public_key_info().to_vec());
        let last: u32 = self.read(&number_place()).await?.unwrap_or(0);
        // There may be directives about it that nobody has shown, of any store before this one:
        // their numbers are below those of this store's entitlements.
        let record = GrantedRecord { directives: last, ..GrantedRecord::of(grant, batch_key) };
        self.view.write(place, record);
        let (site, product) = (&grant.recipient, &grant.product.id);
        let (total, at) = (grant.terms.total, grant.issued_at);
        self.credit_at(at, site, product, total, &grant.entitlement).await?;
        self.view.write(number_place(), last.max(grant.number));
        self.adopted(order.digest(GRANT), site, &grant.entitlement);
        Ok(())
    }

    async fn adopt_directive(&mut self, order: &SignedOrder) -> Result<(), Refusal> {
        let directive: Directive = order.open().map_err(|_| untrusted())?;
        self.check_own(DIRECTIVE, order, directive.made_at, &directive.exporter)?;
        if directive.version != directive::VERSION {
            return Err(untrusted());
        }
        directive.check().map_err(|error| terms_invalid(&error))?;
        let digest = order.digest(DIRECTIVE);
        let known = Key::new(tables::DIRECTIVES, digest);
        if self.read::<u64>(&known).await?.is_some() {
            return Ok(());
        }
        let (site, entitlement) = (&directive.recipient, &directive.entitlement);
        let place = tables::pair(tables::GRANTED, site, entitlement);
        let record: Option<GrantedRecord> = self.read(&place).await?;
        let mut record = record.ok_or_else(|| Refusal::not_found("grant; adopt it first"))?;
        record.note(directive.change);
        record.directives = record.directives.max(directive.number);
        if let Change::Extend { units, .. } = directive.change {
            self.credit_at(directive.made_at, site, &record.product, units, entitlement).await?;
        }
        self.view.write(place, record);
        self.view.write(known, directive.made_at);
        self.adopted(digest, site, entitlement);
        Ok(())
    }

    /// Whether this headquarters' own custody key signed the order.
    fn check_own(
        &self,
        label: &str,
        order: &SignedOrder,
        at_ms: u64,
        exporter: &str,
    ) -> Result<(), Refusal> {
        let own = self.host.identity.uri();
        let chain = self.host.identity.verify_order(label, order, at_ms)?;
        let right = chain.id().cluster().to_string() == own && exporter == own;
        if right { Ok(()) } else { Err(untrusted()) }
    }

    fn adopted(&mut self, order: Digest, site: &str, entitlement: &str) {
        let (recipient, entitlement) = (site.to_owned(), entitlement.to_owned());
        self.record(Event::OrderAdopted { order, recipient, entitlement });
    }
}
