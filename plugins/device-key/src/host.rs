//! The calls to the host that one method needs more than one of.

use mintmark_exchange::DecodeError;
use mintmark_exchange::canonical;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::Directive;
use mintmark_exchange::grant::{Grant, PACKAGE_BYTES_MAX};
use mintmark_exchange::order::{BODY_BYTES_MAX, ORDER_BYTES_MAX, SignedOrder};
use mintmark_exchange::proposal::{
    ClosingMessageBody, DirectiveMessageBody, EntitlementBody, ReceiptMessageBody, VERSION,
};
use mintmark_exchange::receipt::ReceiptBody;
use mintmark_sdk::allotments::{self, Allotment, Artefact, Fields, Unit};
use mintmark_sdk::certificates::{self, Csr};
use mintmark_sdk::ledger;
use mintmark_sdk::messages::{self, Purpose, Sealed, Writer};
use mintmark_sdk::records::Table;
use mintmark_sdk::transfers::{self, AppliedDirective, Receipt};
use mintmark_sdk::{Absent, Error, Status, peers};
use serde::{Deserialize, Serialize};

use crate::bundle::{Plan, Stretch, push_end};
use crate::request::{Means, OpenField};

/// What provisioning needs to know of an entitlement, so that it need not read the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) means: Means,
    pub(crate) fields: Vec<OpenField>,
    /// The headquarters that granted it, and the plugin that wrote the message.
    pub(crate) exporter: String,
    pub(crate) exporter_plugin: String,
}

/// By entitlement id.
const ENTITLEMENTS: Table<Known> = Table::new("entitlements");
/// Signed directives, by entitlement id, zero byte and number, big-endian.
const DIRECTIVES: Table<Vec<u8>> = Table::new("directives");
/// Headquarters' plugin, where no message of it was seen yet.
const AUDITOR: &str = "entitlement";

/// The bodies of messages are little more than the orders in them.
const OVERHEAD_BYTES_MAX: usize = 16;
const PAGE: u32 = 1_000;
const RANGE_BYTES: u32 = 1 << 20;

/// Opens a message from headquarters and lets the host take the grant in it.
pub(crate) fn import(file: &str) -> Result<Grant, Status> {
    let message = messages::open(Purpose::Entitlement, file)?;
    let sender = message.sender();
    let bytes = message.read_all(PACKAGE_BYTES_MAX + OVERHEAD_BYTES_MAX)?;
    let body = EntitlementBody::decode(&bytes).map_err(unreadable)?;
    let imported = transfers::import_grant(&body.order)?;
    let grant = read_grant(&imported.grant)?;
    // The host checked the grant's own signature; whoever sent the message must be the same.
    if grant.exporter != sender.cluster {
        return Err(Status::denied("UNTRUSTED_MESSAGE", "the message is not from the exporter"));
    }
    let known = Known {
        means: Means::of(&grant).ok_or(Error::Malformed("the grant's key origin"))?,
        fields: open_fields(&grant),
        exporter: grant.exporter.clone(),
        exporter_plugin: sender.plugin,
    };
    ENTITLEMENTS.put(&grant.entitlement, &known)?;
    Ok(grant)
}

/// What was remembered of an entitlement.
pub(crate) fn known(entitlement: &str) -> Result<Known, Status> {
    let known = ENTITLEMENTS.get(entitlement)?;
    known.ok_or_else(|| Status::not_found("no such entitlement was imported"))
}

/// Lets the unit release what the product asks for.
pub(crate) fn issue(
    means: Means,
    unit: &Unit,
    csr: Option<&Csr>,
    fields: &Fields,
) -> Result<Artefact, Error> {
    let csr = || csr.ok_or(Error::Malformed("the CSR"));
    match means {
        Means::CertifyCsr => unit.certify_csr(csr()?, fields),
        Means::SealToDevice => unit.seal_to_device(csr()?, fields),
        Means::SealToStation => unit.seal_to_station(fields),
    }
}

/// `None` for an entitlement whose grant accepts another version of this plugin alone: only that
/// version uses it.
pub(crate) fn if_accepted<T>(opened: Result<T, Error>) -> Result<Option<T>, Error> {
    match opened {
        Err(error) if error.is("WRONG_PLUGIN") => Ok(None),
        opened => opened.map(Some),
    }
}

/// Grant, status and certificate chain of an entitlement.
pub(crate) fn status(
    entitlement: &str,
) -> Result<(Grant, allotments::AllotmentStatus, Vec<Vec<u8>>), Error> {
    let status = Allotment::open(entitlement)?.status()?;
    let grant = read_grant(&status.grant)?;
    let chain = certificates::allotment_chain(entitlement)?;
    Ok((grant, status, chain))
}

/// The unit of a subject in whatever entitlement it is, with the entitlement's id.
pub(crate) fn find_anywhere(subject: &str) -> Result<Option<(String, Unit)>, Error> {
    let mut after: Option<String> = None;
    loop {
        let names = allotments::names(after.as_deref(), PAGE)?;
        let Some(last) = names.last() else {
            return Ok(None);
        };
        after = Some(last.clone());
        for name in names {
            let opened = if_accepted(Allotment::open(&name)).or_absent()?;
            let Some(allotment) = opened.flatten() else { continue };
            if let Some(unit) = allotment.find(subject).or_absent()? {
                return Ok(Some((name, unit)));
            }
        }
    }
}

/// Who granted, each once, with the plugin that wrote the messages.
pub(crate) fn exporters() -> Result<Vec<(String, String)>, Error> {
    let mut exporters = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = ENTITLEMENTS.scan(after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after = Some(last.clone());
        exporters
            .extend(page.into_iter().map(|(_, known)| (known.exporter, known.exporter_plugin)));
        exporters.sort_unstable();
        exporters.dedup_by(|a, b| a.0 == b.0);
    }
    Ok(exporters)
}

/// The headquarters that introduced themselves with an identity bundle: a site that was never
/// granted anything can show them that it holds nothing.
pub(crate) fn introduced() -> Result<Vec<(String, String)>, Error> {
    let mut introduced = Vec::new();
    for cluster in peers::clusters()? {
        if let Some(known) = peers::identity(&cluster, AUDITOR).or_absent()? {
            introduced.push((known.cluster, known.plugin));
        }
    }
    Ok(introduced)
}

/// The grant of an entitlement and the directives about it, each as headquarters' host signed it.
pub(crate) fn orders(entitlement: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut orders = vec![Allotment::open(entitlement)?.status()?.grant];
    let prefix = [entitlement.as_bytes(), &[0]].concat();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = DIRECTIVES.scan_prefix(&prefix, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(orders);
        };
        after = Some(last.clone());
        orders.extend(page.into_iter().map(|(_, order)| order));
    }
}

/// Writes a bundle and seals it.
pub(crate) fn export(plan: &Plan, cluster: &str, plugin: &str) -> Result<Sealed, Error> {
    let mut writer = messages::seal(Purpose::Bundle, cluster, plugin, &[])?;
    let mut frames = Vec::new();
    mintmark_exchange::bundle::push_frame(&mut frames, &plan.head)
        .map_err(|_| Error::Malformed("the bundle's head"))?;
    writer.append(&frames)?;
    for stretch in &plan.stretches {
        write_stretch(&mut writer, stretch)?;
    }
    writer.finish()
}

/// Opens a message from headquarters and lets the host take the receipt in it.
pub(crate) fn import_receipt(file: &str) -> Result<(ReceiptBody, Vec<String>), Status> {
    let message = messages::open(Purpose::Receipt, file)?;
    let sender = message.sender();
    let bytes = message.read_all(ORDER_BYTES_MAX + OVERHEAD_BYTES_MAX)?;
    let body = ReceiptMessageBody::decode(&bytes).map_err(unreadable)?;
    let Receipt { body, entitlements } = transfers::import_receipt(&body.order)?;
    let body: ReceiptBody = canonical::decode(&body, BODY_BYTES_MAX)
        .map_err(|_| Error::Malformed("the host's receipt"))?;
    if body.exporter != sender.cluster {
        return Err(Status::denied("UNTRUSTED_MESSAGE", "the message is not from the exporter"));
    }
    Ok((body, entitlements))
}

/// Opens a message from headquarters and lets the host act on the directive in it; says what came
/// of it.
pub(crate) fn import_directive(file: &str) -> Result<(Directive, u64), Status> {
    let message = messages::open(Purpose::Directive, file)?;
    let sender = message.sender();
    let bytes = message.read_all(ORDER_BYTES_MAX + OVERHEAD_BYTES_MAX)?;
    let body = DirectiveMessageBody::decode(&bytes).map_err(unreadable)?;
    let order = body.order;
    let AppliedDirective { body, applied } = transfers::import_directive(&order)?;
    let directive: Directive = canonical::decode(&body, BODY_BYTES_MAX)
        .map_err(|_| Error::Malformed("the host's directive"))?;
    if directive.exporter != sender.cluster {
        return Err(Status::denied("UNTRUSTED_MESSAGE", "the message is not from the exporter"));
    }
    let (entitlement, number) = (directive.entitlement.as_bytes(), directive.number.to_be_bytes());
    DIRECTIVES.put([entitlement, &[0], &number].concat(), &order)?;
    Ok((directive, applied))
}

/// Lets the host close an entitlement, and seals its statement to headquarters.
pub(crate) fn close(entitlement: &str) -> Result<(ClosingStatement, Sealed), Status> {
    let known = known(entitlement)?;
    let order = transfers::export_closing(entitlement)?;
    let unreadable = |_| Error::Malformed("the host's closing statement");
    let statement = SignedOrder::decode(&order).and_then(|order| order.open());
    let statement: ClosingStatement = statement.map_err(unreadable)?;
    let body = ClosingMessageBody { version: VERSION, order };
    let (cluster, plugin) = (&known.exporter, &known.exporter_plugin);
    let mut writer = messages::seal(Purpose::Closing, cluster, plugin, &[])?;
    writer.append(&body.encode())?;
    Ok((statement, writer.finish()?))
}

fn write_stretch(writer: &mut Writer, stretch: &Stretch) -> Result<(), Error> {
    let mut at = stretch.after;
    while at < stretch.last {
        let page = ledger::read(&stretch.ledger, at, RANGE_BYTES)?;
        let mut frames = Vec::new();
        let reached = stretch
            .frame(at, &page.rows, &mut frames)
            .map_err(|_| Error::Malformed("a row of the ledger"))?;
        if reached == at {
            return Err(Error::Unavailable("the ledger ends before its checkpoint".to_owned()));
        }
        writer.append(&frames)?;
        at = reached;
    }
    let mut end = Vec::new();
    push_end(&mut end).map_err(|_| Error::Malformed("the bundle's end"))?;
    writer.append(&end)
}

fn read_grant(bytes: &[u8]) -> Result<Grant, Error> {
    let order = SignedOrder::decode(bytes).map_err(|_| Error::Malformed("the host's grant"))?;
    order.open().map_err(|_| Error::Malformed("the host's grant"))
}

fn open_fields(grant: &Grant) -> Vec<OpenField> {
    let fields = grant.product.template.iter().flat_map(|template| &template.fields);
    let open = |field: &mintmark_exchange::product::Field| OpenField {
        name: field.name.clone(),
        bytes_max: field.max_bytes,
    };
    fields.map(open).collect()
}

/// An authentic message whose body does not decode: newer than this code, or a faulty sender.
fn unreadable(error: DecodeError) -> Status {
    match error {
        DecodeError::UnknownVersion => Status::denied(
            "UNSUPPORTED_VERSION",
            "headquarters writes a newer format; update the device-key plugin",
        ),
        _ => Status::denied("UNTRUSTED_MESSAGE", "the message does not hold what it should"),
    }
}
