//! Headquarters, and what is carried between it and the sites.

use mintmark_custody::Session;
use mintmark_plugin_device_key::proto as line;
use mintmark_plugin_entitlement::EntitlementPlugin;
use mintmark_plugin_entitlement::proto as office;
use mintmark_sdk_testing::sdk::Status;
use mintmark_sdk_testing::{Chance, DiskFault, Machine, TestHost};

use crate::beginning::Beginning;
use crate::life::Told;
use crate::model::Allotment;
use crate::site::{Pending, Settled, Site, is_unavailable};
use crate::trial::status;
use crate::wrong;

/// Most steps of a check, and most times that somebody waits for another's.
const STEPS_MAX: usize = 60;
/// After so long another bundle may be checked.
const REST_MS: u64 = 61_000;

/// Headquarters on a machine that fails.
pub(crate) struct Headquarters {
    machine: Machine,
    running: Option<TestHost>,
    /// How long it has waited: time that has to pass for the others as well.
    waited_ms: u64,
    story: Vec<String>,
}

/// A message on its way.
pub(crate) struct Post {
    pub(crate) sequence: u64,
    pub(crate) purpose: String,
    pub(crate) file: String,
}

impl Headquarters {
    pub(crate) fn new(beginning: &Beginning) -> Self {
        let (machine, stopped) = beginning.headquarters.wake();
        let host = stopped.start_on(machine.open().unwrap()).unwrap();
        Self { machine, running: Some(host), waited_ms: 0, story: Vec::new() }
    }

    pub(crate) fn host(&self) -> &TestHost {
        self.running.as_ref().unwrap()
    }

    /// How long it has waited since it was last asked.
    pub(crate) fn waited_ms(&mut self) -> u64 {
        std::mem::take(&mut self.waited_ms)
    }

    /// From now on its disk is about to fail.
    pub(crate) fn arm(&mut self, chance: &mut Chance) {
        self.machine.disk.fail(Some(DiskFault::ForGood(chance.below(40) as u64)));
    }

    /// Cuts the power and starts.
    pub(crate) fn cut(&mut self, chance: &mut Chance, told: &mut Told) {
        told.starts_hq += 1;
        told.faults_disk += self.machine.disk.fired();
        self.machine = self.machine.after_power_cut(chance);
        let stopped = self.running.take().unwrap().stop();
        self.running = Some(stopped.start_on(self.machine.open().unwrap()).unwrap());
    }

    fn is_broken(&self) -> bool {
        self.machine.disk.fired() > 0
    }

    /// Checks a bundle to its end; `None` where headquarters failed on the way.
    pub(crate) fn ingest(
        &mut self,
        bundle: &[u8],
    ) -> Result<Option<office::IngestResponse>, Status> {
        let Ok(file_id) = self.host().try_stage(bundle) else { return Ok(None) };
        let request = office::IngestRequest { file_id };
        for _ in 0..STEPS_MAX {
            match self.host().call::<office::IngestResponse>("auditor", "eva", "Ingest", &request) {
                Ok(step) if step.done => return Ok(Some(step)),
                Ok(_) => {}
                Err(status) if status.reason == "CONFLICT" => {
                    self.host().clock().pass_ms(REST_MS);
                    self.waited_ms += REST_MS;
                }
                Err(status) if is_unavailable(&status) && self.is_broken() => return Ok(None),
                Err(status) => return Err(status),
            }
        }
        wrong(&self.story, "a check does not end")
    }

    /// The messages to a site, oldest first.
    pub(crate) fn outbox(&self, site: &str) -> Vec<Post> {
        let session: Session = self.host().session_of::<EntitlementPlugin>("admin", "ada");
        let entries = self.host().custody().outbox(session, Some(site));
        let mut messages: Vec<_> = futures_executor::block_on(entries)
            .unwrap()
            .into_iter()
            .map(|entry| Post {
                sequence: entry.sequence,
                purpose: entry.purpose,
                file: entry.file,
            })
            .collect();
        messages.sort_by_key(|message| message.sequence);
        messages
    }

    /// What a report found.
    pub(crate) fn findings(&self, report: String) -> Vec<office::Finding> {
        let request = office::ShowReportRequest { report };
        let report: office::Report =
            self.host().call("auditor", "eva", "ShowReport", &request).unwrap();
        report.findings
    }

    /// What it has granted a site, and what is known of it there.
    pub(crate) fn devices_of(&self, site: &str) -> Vec<office::EntitlementSummary> {
        let request = office::ListRequest::default();
        let list: office::ListResponse =
            self.host().call("auditor", "eva", "List", &request).unwrap();
        list.entitlements.into_iter().filter(|summary| summary.site == site).collect()
    }
}

impl Site<'_> {
    /// Exports a bundle.
    pub(crate) fn export(&mut self) {
        let drawn = self.model.drawn();
        let was_broken = self.is_broken();
        let request = line::ExportBundleRequest::default();
        let answer = self.host().call("auditor", "eve", "ExportBundle", &request);
        let legal: &[&str] =
            if self.model.entitlements.is_empty() { &["WRONG_STATE"] } else { &[] };
        let exported: line::ExportBundleResponse =
            match self.settle("export".to_owned(), was_broken, answer, legal) {
                Settled::Done(exported) => exported,
                Settled::Refused | Settled::InDoubt => return,
            };
        self.exported.insert(exported.digest, drawn);
        self.bundle = Some(self.host().fetch(&exported.file_id).unwrap());
    }

    /// Carries the newest bundle to headquarters, which must find nothing wrong.
    pub(crate) fn report(&mut self, hq: &mut Headquarters, told: &mut Told) {
        let Some(bundle) = self.bundle.clone() else { return };
        match hq.ingest(&bundle) {
            Ok(Some(step)) => {
                told.reports += 1;
                let verdict = step.verdict();
                self.tell(format!("headquarters says {verdict:?}"));
                if !matches!(verdict, office::Verdict::Clean | office::Verdict::CleanWithNotes) {
                    wrong(&self.story, hq.findings(step.report));
                }
            }
            Ok(None) => self.tell("headquarters failed"),
            Err(status) if status.reason == "REPLAYED" => told.replayed += 1,
            Err(status) => wrong(&self.story, status),
        }
    }

    /// Carries a message of headquarters over: mostly the next, at times one too early or again.
    pub(crate) fn deliver(&mut self, hq: &Headquarters, chance: &mut Chance, told: &mut Told) {
        // A store that failed does not even read.
        if hq.is_broken() {
            return;
        }
        let messages = hq.outbox(self.uri);
        let next = self.model.applied + 1;
        let in_doubt = self.pending.contains(&Pending::Message);
        let wanted = match chance.below(8) {
            _ if in_doubt => next,
            0 => next + 1,
            1 => next.saturating_sub(1),
            _ => next,
        };
        let message = messages.into_iter().find(|message| message.sequence == wanted);
        if let Some(message) = message {
            self.take(hq, &message, told);
        }
    }

    fn take(&mut self, hq: &Headquarters, message: &Post, told: &mut Told) {
        let content = hq.host().fetch(&message.file).unwrap();
        let was_broken = self.is_broken();
        let what = format!("take {} {}", message.sequence, message.purpose);
        let file_id = match self.host().try_stage(&content) {
            Ok(file_id) => file_id,
            Err(status) if is_unavailable(&status) && self.is_broken() => return,
            Err(status) => wrong(&self.story, status),
        };
        let sequence = message.sequence;
        let in_doubt = self.pending.contains(&Pending::Message);
        let legal: &[&str] = match sequence.cmp(&(self.model.applied + 1)) {
            std::cmp::Ordering::Less => &["REPLAYED"],
            std::cmp::Ordering::Greater => &["OUT_OF_ORDER"],
            std::cmp::Ordering::Equal => &[],
        };
        let host = self.host();
        let taken = if message.purpose == "entitlement" {
            let request = line::ImportRequest { file_id };
            let answer = host.call::<line::ImportResponse>("operator", "mei", "Import", &request);
            answer.map(|taken| Taken::Entitlement(taken.entitlement))
        } else {
            let request = line::ImportReceiptRequest { file_id };
            let method = "ImportReceipt";
            let answer =
                host.call::<line::ImportReceiptResponse>("operator", "mei", method, &request);
            answer.map(|taken| Taken::Receipt(taken.bundle))
        };
        // A call in doubt may have taken the next one.
        if in_doubt
            && sequence == self.model.applied + 1
            && taken.as_ref().is_err_and(|status| status.reason == "REPLAYED")
        {
            self.tell(format!("{what}: was taken"));
            self.applied(sequence);
            self.adopt(sequence);
            return;
        }
        match self.settle(what, was_broken, taken, legal) {
            Settled::Done(Taken::Entitlement(entitlement)) => {
                self.model.entitlements.insert(entitlement, Allotment::default());
                self.applied(sequence);
            }
            Settled::Done(Taken::Receipt(bundle)) => {
                let drawn = self.exported.get(&bundle).cloned();
                let Some(drawn) = drawn else { wrong(&self.story, "a receipt of no bundle") };
                for (entitlement, drawn) in drawn {
                    self.model.entitlements.get_mut(&entitlement).unwrap().receipt(drawn);
                }
                self.applied(sequence);
            }
            Settled::Refused if legal == ["REPLAYED"] => told.replayed += 1,
            Settled::Refused => told.out_of_order += 1,
            Settled::InDoubt => {
                told.in_doubt += 1;
                self.pending.push(Pending::Message);
            }
        }
    }

    fn applied(&mut self, sequence: u64) {
        self.model.applied = sequence;
        self.pending.retain(|pending| *pending != Pending::Message);
    }

    /// What an import that was in doubt has left: its entitlement, or what is receipted.
    fn adopt(&mut self, sequence: u64) {
        if let Some(entitlement) = self.orders.get(&sequence) {
            self.model.entitlements.entry(entitlement.clone()).or_default();
        }
        let now = self.model.drawn();
        for (entitlement, drawn) in now {
            let since = status(self.host(), &entitlement).since_receipt;
            let allotment = self.model.entitlements.get_mut(&entitlement).unwrap();
            allotment.receipt(drawn.saturating_sub(since));
        }
    }
}

/// What a message brought.
enum Taken {
    Entitlement(String),
    Receipt(Vec<u8>),
}
