//! Writes the seeds of the fuzz targets: real encodings, of a short day between two hosts.

use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_exchange::SignedOrder;
use mintmark_exchange::approval::{Act, ApprovalRequest, ApprovalStatement};
use mintmark_exchange::bundle::{BundleHead, FrameReader};
use mintmark_exchange::canonical::{decode, encode};
use mintmark_exchange::charter::{Approver, Charter};
use mintmark_exchange::checkpoint::Position;
use mintmark_exchange::closing::ClosingStatement;
use mintmark_exchange::directive::{Change, Directive};
use mintmark_exchange::grant::{Grant, GrantPackage};
use mintmark_exchange::held::HeldOrders;
use mintmark_exchange::identity::IdentityBody;
use mintmark_exchange::message::{HeadRef, MessageHead};
use mintmark_exchange::opened::OpenedHead;
use mintmark_exchange::pool::{self, KeyFileHead, SealedKeys};
use mintmark_exchange::proposal::{
    ClosingMessageBody, DirectiveMessageBody, EntitlementBody, GrantProposal, ReceiptMessageBody,
};
use mintmark_exchange::receipt::{Holding, ReceiptBody, Stretch};
use mintmark_exchange::reconcile::Verdict;
use mintmark_exchange::unit::Counters;
use mintmark_fuzz::calls::{ENTITLEMENT, Factory, METHODS, order};
use mintmark_fuzz::{backup_secret, join, recovery_key};
use mintmark_platform::emulated::EmulatedPlatform;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::Device;
use mintmark_store::BackupWriter;
use prost::Message;

/// What is left of a message after its head.
const CHUNK_BYTES_KEPT: usize = 32;

fn main() -> std::io::Result<()> {
    let factory = Factory::new();
    let day = Day::pass(&factory);
    let seeds = Seeds { folder: Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds") };
    seeds.messages(&factory, &day)?;
    seeds.audit(&day)?;
    seeds.bodies(&factory, &day)?;
    seeds.certificates(&day)?;
    seeds.later(&day)?;
    seeds.calls(&factory, &day)?;
    seeds.acts(&day)?;
    seeds.pem(&day)?;
    seeds.order_text(&factory)?;
    seeds.escrow()?;
    seeds.key_file(&factory)?;
    seeds.proof(&factory, &day)?;
    seeds.backup(&factory)?;
    seeds.components()
}

/// What a day leaves behind.
struct Day {
    request: Vec<u8>,
    identity: line::DeviceIdentity,
    product_ca: Vec<u8>,
    bundle: Vec<u8>,
    opened: Vec<u8>,
    receipt: Vec<u8>,
}

impl Day {
    fn pass(factory: &Factory) -> Self {
        let Factory { site, hq, .. } = factory;
        let (mut request, mut identity) = (Vec::new(), line::DeviceIdentity::default());
        for number in 1..=3 {
            let device = Device::new();
            request = device.csr();
            let subject = format!("SN:{number}");
            identity = site
                .call("station", "line-4", "Provision", &provision(factory, &subject, &request))
                .expect("there is room for it");
            let proof = device.sign(&identity.confirm_message);
            let confirm =
                line::ConfirmRequest { entitlement: factory.entitlement.clone(), subject, proof };
            let _: line::UnitStatus =
                site.call("station", "line-4", "Confirm", &confirm).expect("the proof holds");
        }
        let exported: line::ExportBundleResponse = site
            .call("auditor", "eve", "ExportBundle", &line::ExportBundleRequest::default())
            .expect("there are rows");
        let bundle = site.fetch(&exported.file_id).expect("it was staged");
        let ingested = ingest(factory, &bundle);
        let receipt = hq.fetch(&ingested.receipt_file_id).expect("it was staged");
        let opened = opened(factory, &ingested.report);
        let product_ca = identity.chain.last().expect("a chain has a CA").clone();
        Self { request, identity, product_ca, bundle, opened, receipt }
    }
}

fn provision(factory: &Factory, subject: &str, csr: &[u8]) -> line::ProvisionRequest {
    line::ProvisionRequest {
        entitlement: factory.entitlement.clone(),
        subject: subject.to_owned(),
        serial: None,
        csr: csr.to_vec(),
        fields: Default::default(),
    }
}

fn ingest(factory: &Factory, bundle: &[u8]) -> office::IngestResponse {
    let request = office::IngestRequest { file_id: factory.hq.stage(bundle) };
    loop {
        let step: office::IngestResponse =
            factory.hq.call("auditor", "eva", "Ingest", &request).expect("the bundle is honest");
        if step.done {
            return step;
        }
    }
}

fn opened(factory: &Factory, report: &str) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let offset = data.len() as u64;
        let request = office::ExportOpenedRequest { report: report.to_owned(), offset };
        let part: office::ExportOpenedResponse =
            factory.hq.call("auditor", "eva", "ExportOpened", &request).expect("it is there");
        data.extend_from_slice(&part.data);
        if part.done {
            return data;
        }
    }
}

/// The folder of all seeds.
struct Seeds {
    folder: std::path::PathBuf,
}

impl Seeds {
    fn write(&self, target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let folder = self.folder.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    }

    fn messages(&self, factory: &Factory, day: &Day) -> std::io::Result<()> {
        let identity = factory.site.export_identity();
        let files = [
            ("entitlement", &factory.file),
            ("bundle", &day.bundle),
            ("receipt", &day.receipt),
            ("identity", &identity),
        ];
        for (name, file) in files {
            let (_, length) = MessageHead::parse(file).expect("a host wrote it");
            let kept = file.len().min(length + CHUNK_BYTES_KEPT);
            self.write("message", name, &file[..kept])?;
        }
        let (head, length) = MessageHead::parse(&identity).expect("a host wrote it");
        let body: IdentityBody =
            decode(&identity[length..], 1 << 20).expect("an identity is not sealed");
        self.write("bodies", "identity", &tagged(0, &encode(&body)))?;
        let chain = &head.header().sender_chain;
        let root = factory.site.custody().trust_root();
        let below = chain.iter().map(Vec::as_slice);
        self.write("chain", "host", &join(std::iter::once(&root[..]).chain(below)))?;
        for (number, der) in chain.iter().enumerate() {
            self.write("certificate", &format!("host-{number}"), der)?;
        }
        self.write("certificate", "root", &root)
    }

    fn audit(&self, day: &Day) -> std::io::Result<()> {
        let (head, body) = OpenedHead::split(&day.opened).expect("headquarters wrote it");
        for target in ["opened", "reconcile", "reconcile_rows"] {
            self.write(target, "day", &day.opened)?;
        }
        let mut frames = FrameReader::new();
        let mut rest = body;
        let mut number = 0;
        while let Ok(Some(frame)) = frames.next_frame(&mut rest) {
            if number == 0 {
                let bundle: BundleHead = decode(&frame, 1 << 20).expect("a site wrote it");
                let checkpoint = &bundle.checkpoints[0];
                self.write("order", "checkpoint", &checkpoint.encode())?;
                self.write("bodies", "checkpoint", &tagged(4, &checkpoint.body))?;
            } else if !frame.is_empty() {
                self.write("row", &format!("{number:02}"), &frame)?;
            }
            number += 1;
        }
        let grant = head.grants.first().expect("the day had a grant");
        self.write("order", "grant", &grant.encode())?;
        let package = GrantPackage { grant: grant.clone(), packages: Vec::new() };
        self.write("grant", "package", &package.encode())
    }

    fn bodies(&self, factory: &Factory, day: &Day) -> std::io::Result<()> {
        let (head, _) = OpenedHead::split(&day.opened).expect("headquarters wrote it");
        let grant: Grant = head.grants[0].open().expect("a host signed it");
        let body = |tag, name, bytes: &[u8]| self.write("bodies", name, &tagged(tag, bytes));
        body(1, "charter", &encode(&charter(&head.site)))?;
        body(2, "receipt", &encode(&receipt(&head, &grant)))?;
        body(3, "directive", &encode(&directive(&grant)))?;
        body(5, "approval", &encode(&statement(&grant)))?;
        body(6, "request", &encode(&request(&grant)))?;
        let GrantPackage { grant: order, .. } =
            GrantPackage { grant: head.grants[0].clone(), packages: Vec::new() };
        let proposal = GrantProposal {
            version: 1,
            order: grant.order.clone(),
            product: grant.product.clone(),
            terms: grant.terms.clone(),
            pool: None,
        };
        body(7, "proposal", &proposal.encode())?;
        body(8, "entitlement", &EntitlementBody { version: 1, order: order.encode() }.encode())?;
        let signed = |body| SignedOrder { body, ..order.clone() }.encode();
        let receipt = signed(encode(&receipt(&head, &grant)));
        body(9, "receipt-message", &ReceiptMessageBody { version: 1, order: receipt }.encode())?;
        self.write("order", "receipt", &signed(encode(&self::receipt(&head, &grant))))?;
        self.write("order", "directive", &signed(encode(&directive(&grant))))?;
        self.write("order", "charter", &signed(encode(&charter(&factory.site.uri()))))
    }

    /// What travels after a grant: changes, closings, and orders that come back.
    fn later(&self, day: &Day) -> std::io::Result<()> {
        let (head, _) = OpenedHead::split(&day.opened).expect("headquarters wrote it");
        let grant: Grant = head.grants[0].open().expect("a host signed it");
        let body = |tag, name, bytes: &[u8]| self.write("bodies", name, &tagged(tag, bytes));
        let signed = |body| SignedOrder { body, ..head.grants[0].clone() };
        let directive = signed(encode(&directive(&grant)));
        let closing = signed(encode(&closing(&head, &grant)));
        self.write("order", "closing", &closing.encode())?;
        self.write("order", "approval", &signed(encode(&statement(&grant))).encode())?;
        let held = HeldOrders { orders: vec![head.grants[0].clone(), directive.clone()] };
        body(10, "held", &held.encode())?;
        body(11, "closing", &closing.body)?;
        let message = DirectiveMessageBody { version: 1, order: directive.encode() };
        body(12, "directive-message", &message.encode())?;
        let message = ClosingMessageBody { version: 1, order: closing.encode() };
        body(13, "closing-message", &message.encode())?;
        body(14, "change", &Change::Extend { units: 5, not_after: Some(7) }.encode())
    }

    /// Keys of every algorithm, and what else comes as PEM.
    fn pem(&self, day: &Day) -> std::io::Result<()> {
        let pem = |label, der: &[u8]| {
            pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).expect("a label")
        };
        let write = |tag, name: &str, bytes: &[u8]| self.write("pem", name, &tagged(tag, bytes));
        let mut keys = String::new();
        for algorithm in SignatureAlgorithm::ALL {
            let key = SigningKey::generate(algorithm).to_pkcs8();
            let text = pem("PRIVATE KEY", key.expose());
            write(1, algorithm.name(), key.expose())?;
            write(4, &format!("{}-text", algorithm.name()), text.as_bytes())?;
            keys = keys + &text + "\n";
        }
        write(0, "keys", keys.as_bytes())?;
        let chain = day.identity.chain.iter().map(|der| pem("CERTIFICATE", der));
        write(2, "chain", chain.collect::<String>().as_bytes())?;
        write(3, "request", pem("CERTIFICATE REQUEST", &day.request).as_bytes())?;
        let recipient = recovery_key().to_bytes();
        let text = pem("MINTMARK P256 RECIPIENT KEY", recipient.expose());
        write(5, "recipient", text.as_bytes())?;
        write(6, "documents", &day.identity.chain.concat())
    }

    fn order_text(&self, factory: &Factory) -> std::io::Result<()> {
        let example = include_bytes!("../../../host/mintmark/order.toml");
        self.write("order_text", "example", example)?;
        let site = factory.site.uri();
        self.write("order_text", "site", site.as_bytes())?;
        self.write("order_text", "station", format!("{site}/station/line-4").as_bytes())
    }

    fn escrow(&self) -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let dir = Dir::open_ambient_dir(folder.path(), ambient_authority())?;
        let platform = EmulatedPlatform::create(&dir).expect("the folder is new");
        let escrow = platform.escrow(recovery_key().public_key_info()).expect("the key is one");
        self.write("escrow", "platform", &escrow)
    }

    /// One of each act; the changes change nothing, one byte, or two.
    fn acts(&self, day: &Day) -> std::io::Result<()> {
        let (head, _) = OpenedHead::split(&day.opened).expect("headquarters wrote it");
        let grant: Grant = head.grants[0].open().expect("a host signed it");
        let order = SignedOrder { body: encode(&statement(&grant)), ..head.grants[0].clone() };
        for (tag, algorithm) in (0..).zip(SignatureAlgorithm::ALL) {
            let keys = [(); 2].map(|()| SigningKey::generate(algorithm).to_pkcs8());
            let keys = join(keys.iter().map(|key| key.expose()));
            self.write("acts", algorithm.name(), &tagged(tag, &keys))?;
        }
        self.write("acts", "key-file", &tagged(3, &[]))?;
        self.write("acts", "key-file-changed", &tagged(3, &[1, 0, 1]))?;
        self.write("acts", "statement", &tagged(4, &order.encode()))?;
        self.write("acts", "identity", &tagged(5, &[]))?;
        self.write("acts", "identity-changed", &tagged(5, &[2, 0, 1]))?;
        self.write("acts", "request", &tagged(6, &day.request))?;
        self.write("acts", "message", &tagged(7, &[]))?;
        self.write("acts", "message-changed", &tagged(7, &[0, 9, 1, 3, 0, 1]))
    }

    fn certificates(&self, day: &Day) -> std::io::Result<()> {
        let device = &day.identity.certificate;
        self.write("certificate", "device", device)?;
        for (number, der) in day.identity.chain.iter().enumerate() {
            self.write("certificate", &format!("device-ca-{number}"), der)?;
        }
        let chain = day.identity.chain.iter().map(Vec::as_slice);
        let whole = [&day.product_ca[..], &device[..]].into_iter().chain(chain);
        self.write("chain", "device", &join(whole))?;
        self.write("request", "device", &day.request)
    }

    fn calls(&self, factory: &Factory, day: &Day) -> std::io::Result<()> {
        let (head, _) = OpenedHead::split(&day.opened).expect("headquarters wrote it");
        let entitlement = String::from_utf8_lossy(ENTITLEMENT).into_owned();
        let subject = || "SN:9".to_owned();
        let mut new = provision(factory, "SN:9", &Device::new().csr());
        new.entitlement.clone_from(&entitlement);
        let reserve = line::ReserveRequest {
            entitlement: entitlement.clone(),
            subject: subject(),
            serial: None,
        };
        let scrap = line::ScrapRequest {
            entitlement: entitlement.clone(),
            subject: subject(),
            reason: "broken".to_owned(),
        };
        let fail = line::FailRequest {
            entitlement: entitlement.clone(),
            subject: subject(),
            kind: line::FailureKind::Transient.into(),
            detail: "no answer".to_owned(),
        };
        let adopt = office::AdoptRequest { order: head.grants[0].encode() };
        let change = office::ChangeRequest {
            entitlement: entitlement.clone(),
            change: Some(office::change_request::Change::ReduceUnits(3)),
        };
        let close = line::CloseRequest { entitlement: entitlement.clone() };
        let give_back = line::ReturnRequest {
            entitlement: entitlement.clone(),
            subject: subject(),
            reason: "another line".to_owned(),
        };
        let seeds: [(&str, Vec<u8>); 10] = [
            ("Adopt", adopt.encode_to_vec()),
            ("Change", change.encode_to_vec()),
            ("Close", close.encode_to_vec()),
            ("Return", give_back.encode_to_vec()),
            ("Provision", new.encode_to_vec()),
            ("Reserve", reserve.encode_to_vec()),
            ("Fail", fail.encode_to_vec()),
            ("Scrap", scrap.encode_to_vec()),
            ("Status", line::StatusRequest { entitlement }.encode_to_vec()),
            ("Create", order(&factory.site).encode_to_vec()),
        ];
        for (method, bytes) in seeds {
            let place = METHODS.iter().position(|(_, _, name)| *name == method);
            let tag = place.and_then(|place| u8::try_from(place).ok()).expect("it is listed");
            self.write("calls", method, &tagged(tag, &bytes))?;
        }
        Ok(())
    }

    /// A device of the day before the bundle with its row has its receipt, and one after that.
    fn proof(&self, factory: &Factory, day: &Day) -> std::io::Result<()> {
        let prove = |subject: &str| {
            let proof = factory.site.custody().prove(&factory.entitlement, subject);
            futures_executor::block_on(proof).expect("a bundle has it")
        };
        self.write("proof", "first", &prove("SN:1"))?;
        let site = &factory.site;
        let request = line::ImportReceiptRequest { file_id: site.stage(&day.receipt) };
        let _: line::ImportReceiptResponse = site
            .call("operator", "mei", "ImportReceipt", &request)
            .expect("the receipt is genuine");
        self.write("proof", "last", &prove("SN:3"))
    }

    /// The site's store, as its backup.
    fn backup(&self, factory: &Factory) -> std::io::Result<()> {
        use futures_executor::block_on;
        let store = &factory.site.hardware().store;
        let snapshot = block_on(store.snapshot()).expect("the store is there");
        let mut writer = BackupWriter::new(snapshot, &[1; 16], &backup_secret());
        let mut backup = Vec::new();
        while let Some(piece) = block_on(writer.next_piece()).expect("it can be read") {
            backup.extend_from_slice(&piece);
        }
        self.write("backup", "site", &backup)
    }

    /// A file of two chunks, as headquarters seals it.
    fn key_file(&self, factory: &Factory) -> std::io::Result<()> {
        let chunk = |bytes| SealedKeys { encapsulated: vec![1; 32], ciphertext: vec![2; bytes] };
        let chunks = [chunk(96).encode(), chunk(48).encode()];
        let head = KeyFileHead {
            version: 1,
            entitlement: factory.entitlement.clone(),
            algorithm: "ecdsa-p256".to_owned(),
            keys: 1_026,
            chunks: chunks.iter().map(|chunk| pool::sealed_digest(chunk)).collect(),
        };
        self.write("key_file", "two", &pool::assemble(&head, &chunks))
    }

    /// Both plugins' own manifests and descriptors, in components without code.
    fn components(&self) -> std::io::Result<()> {
        use mintmark_plugin_device_key::DeviceKeyPlugin;
        use mintmark_plugin_entitlement::EntitlementPlugin;
        use mintmark_sdk_testing::sdk::Package;
        let plugins = [
            ("device-key", DeviceKeyPlugin::MANIFEST, DeviceKeyPlugin::DESCRIPTORS),
            ("entitlement", EntitlementPlugin::MANIFEST, EntitlementPlugin::DESCRIPTORS),
        ];
        for (name, manifest, descriptors) in plugins {
            self.write("manifest", name, manifest.as_bytes())?;
            self.write("component", name, &component(manifest.as_bytes(), descriptors))?;
        }
        Ok(())
    }
}

/// A component of two custom sections that exports an empty service.
fn component(manifest: &[u8], descriptors: &[u8]) -> Vec<u8> {
    let escaped =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let text = format!(
        r#"(component (import "mintmark:host/log@0.1.0" (instance $i))
            (core module $m (func (export "f") (param i32) (result i32) (local i64) local.get 0))
            (core instance (instantiate $m))
            (@custom "mintmark:manifest" "{}") (@custom "mintmark:descriptors" "{}")
            (export "mintmark:plugin/service@0.1.0" (instance $i)))"#,
        escaped(manifest),
        escaped(descriptors)
    );
    wat::parse_str(text).expect("the text is a component")
}

fn tagged(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&[tag], bytes].concat()
}

fn charter(cluster: &str) -> Charter {
    let approver = |name: &str, key| Approver { name: name.to_owned(), key_hash: [key; 32] };
    Charter {
        version: 1,
        cluster: cluster.to_owned(),
        approvers: vec![approver("ada", 1), approver("mei", 2)],
        floor_m: 2,
        trusted_plugins: Vec::new(),
        issued_at: 1,
    }
}

fn receipt(head: &OpenedHead, grant: &Grant) -> ReceiptBody {
    ReceiptBody {
        version: 1,
        exporter: grant.exporter.clone(),
        recipient: head.site.clone(),
        bundle: head.bundle,
        stretches: vec![Stretch {
            from: 2,
            to: HeadRef { node: "n1".to_owned(), incarnation: 1, sequence: 9, hash: [3; 32] },
            merkle_root: [7; 32],
        }],
        verdict: Verdict::Clean,
        report: [4; 32],
        made_at: 5,
        exported_at: 6,
        holds: vec![Holding { entitlement: grant.entitlement.clone(), devices: 3 }],
    }
}

fn directive(grant: &Grant) -> Directive {
    Directive {
        version: 1,
        exporter: grant.exporter.clone(),
        recipient: grant.recipient.clone(),
        entitlement: grant.entitlement.clone(),
        number: 1,
        batch_ca: None,
        change: Change::Extend { units: 5, not_after: Some(7) },
        id: [8; 16],
        made_at: 9,
    }
}

fn closing(head: &OpenedHead, grant: &Grant) -> ClosingStatement {
    let counters =
        Counters { credited: 5, issued: 1, confirmed: 2, destroyed: 2, ..Counters::default() };
    ClosingStatement {
        version: 1,
        site: head.site.clone(),
        exporter: grant.exporter.clone(),
        entitlement: grant.entitlement.clone(),
        number: 1,
        counters,
        limit: 5,
        in_doubt: vec![3],
        after: Position { sequence: 9, hash: [3; 32] },
        made_at: 10,
    }
}

fn request(grant: &Grant) -> ApprovalRequest {
    ApprovalRequest {
        version: 1,
        cluster: grant.recipient.clone(),
        epoch: 1,
        list_version: 1,
        act: Act::Scrap {
            entitlement: grant.entitlement.clone(),
            unit: 3,
            subject: "SN:1".to_owned(),
        },
        requester: grant.exporter.clone(),
        requester_key: Some([5; 32]),
        id: [1; 16],
        made_at: 2,
        expires_at: 3,
    }
}

fn statement(grant: &Grant) -> ApprovalStatement {
    let cluster = grant.recipient.clone();
    ApprovalStatement { version: 1, request: request(grant).digest(), cluster, approve: true }
}
