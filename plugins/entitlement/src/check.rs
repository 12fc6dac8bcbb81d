//! One step of reading a bundle's rows: the reconciliation of `exchange`, fed from records.

use mintmark_exchange::order::DIRECTIVE;
use mintmark_exchange::reconcile::{FeedError, Orders, Reconciler, World};
use mintmark_sdk::{Error, Status};

use crate::ingest::{APPLY_COST, Budget, Bundle, FOLLOW_COST};
use crate::register::StagedRegister;
use crate::signatures::HostSignatures;
use crate::{catalog, opened};

/// Feeds the reconciliation until it is done or the call is used up.
pub(crate) fn check(
    bundle: &Bundle,
    mut reconciler: Reconciler,
    budget: &mut Budget,
) -> Result<Reconciler, Status> {
    let mut register = StagedRegister::default();
    let signatures = HostSignatures::default();
    let mut orders = None;
    let (lost_heads, restored) = opened::own_past(&bundle.digest)?;
    // Following the chain needs no grants, unless some may be forgotten.
    let known = match restored {
        true => granted(&bundle.sender.site)?,
        false => Orders::default(),
    };
    let known = Orders { lost_heads, restored, ..known };
    while let Some(offset) = reconciler.wanted() {
        let applying = reconciler.is_whole();
        if !budget.pay(if applying { APPLY_COST } else { FOLLOW_COST }) {
            break;
        }
        // There may be many.
        if applying && orders.is_none() {
            orders = Some(Orders { restored, ..granted(&bundle.sender.site)? });
        }
        let piece = opened::body_piece(&bundle.digest, offset)?;
        let mut world = World {
            orders: orders.as_ref().unwrap_or(&known),
            register: &mut register,
            verify: &signatures,
        };
        match reconciler.feed(&piece, &mut world) {
            Ok(()) => {}
            Err(FeedError::Unavailable(_)) => break,
            Err(FeedError::Changed) => {
                return Err(Status::fault("the bundle changed between its two readings"));
            }
        }
    }
    // After an error nothing of the step is kept: the call fails with what was the matter.
    register.finish()?;
    signatures.finish()?;
    Ok(reconciler)
}

/// What was granted to the site and ordered since, and what it has closed.
fn granted(site: &str) -> Result<Orders, Error> {
    let mut orders = Orders { closings: catalog::closings(site)?, ..Orders::default() };
    for entitlement in catalog::of_site(site)? {
        let grant = catalog::grant(&entitlement.id)?;
        orders.grants.insert(entitlement.id, grant);
    }
    for signed in catalog::directives(site)? {
        let unreadable = |_| Error::Malformed("a stored directive");
        orders.directives.insert(signed.digest(DIRECTIVE), signed.open().map_err(unreadable)?);
    }
    Ok(orders)
}
