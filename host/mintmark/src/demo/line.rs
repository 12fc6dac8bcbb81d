//! The production line: testers in parallel, each with a connection of its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mintmark_crypto::sign::{SignatureAlgorithm, SigningKey};
use mintmark_model::Reason;
use mintmark_pki::{request, verify_device};
use mintmark_rpc::client::Failure;
use mintmark_rpc::client::plugins::device_key as site;
use tokio::sync::Mutex;
use tonic::{Response, Status};

use super::act_audit::{Crossing, cross};
use super::program::Program;
use crate::authority::now_ms;
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;

/// What the testers share.
pub(super) struct Line {
    /// Which entitlement they use.
    pub(super) entitlement: String,
    /// Whom devices' certificates must lead to, DER.
    pub(super) product_ca: Vec<u8>,
    /// How many devices are made.
    pub(super) total: u64,
    /// With what files are carried.
    pub(super) program: Program,
    /// The next device.
    pub(super) next: AtomicU64,
    /// Devices that are done.
    pub(super) finished: AtomicU64,
    /// How often files crossed.
    pub(super) crossings: Mutex<Vec<Crossing>>,
}

/// What one tester saw.
#[derive(Default)]
pub(super) struct Tally {
    /// Certificates, with the devices' names.
    pub(super) certificates: Vec<(String, Vec<u8>)>,
    /// The batch CA's certificate.
    pub(super) batch_ca: Vec<u8>,
    /// Devices that confirmed with a proof.
    pub(super) confirmed: u64,
    /// Testers that lost the answer and asked again.
    pub(super) retries: u64,
    /// Calls that nobody answered: the host was gone.
    pub(super) unanswered: u64,
    /// When a reservation was told to wait for the rate, and how long.
    pub(super) waits: Vec<(Instant, Duration)>,
}

/// The device that fails for good.
pub(super) const FAILS: u64 = 333;
/// The device that is destroyed.
pub(super) const SCRAPPED: u64 = 666;
/// Every so many devices the tester crashes before it has stored the answer.
const CRASHES_EVERY: u64 = 40;
/// Tries for one device before the line stops.
const TRIES_MAX: u32 = 1_000;
/// How long to wait where nobody answers.
const NOBODY_WAIT: Duration = Duration::from_millis(20);

/// The name of a device.
pub(super) fn subject(number: u64) -> String {
    format!("chip-{number:05}")
}

/// Whether waiting helps, or nobody answered: a host that answers gives a reason.
fn may_be_repeated(failure: &Failure) -> bool {
    failure.is_transient() || failure.reason.is_none()
}

/// A device on the tester: it makes its own key.
struct Device {
    subject: String,
    key: SigningKey,
    csr: Vec<u8>,
}

impl Device {
    fn new(number: u64) -> Result<Self, Error> {
        let subject = subject(number);
        let key = SigningKey::generate(SignatureAlgorithm::EcdsaP256);
        let csr = request::csr(&key, &subject).map_err(|_| crate::keys::unfit(&subject))?;
        Ok(Self { subject, key, csr })
    }
}

/// A tester: a station's program with one connection.
pub(super) struct Tester<'a> {
    line: &'a Line,
    context: Context,
    client: Client,
    tally: Tally,
}

impl<'a> Tester<'a> {
    /// Connects.
    pub(super) async fn start(line: &'a Line, context: Context) -> Result<Self, Error> {
        let client = Client::open(&context).await?;
        Ok(Self { line, context, client, tally: Tally::default() })
    }

    /// Makes devices until there are no more.
    pub(super) async fn run(mut self) -> Result<Tally, Error> {
        loop {
            let number = self.line.next.fetch_add(1, Ordering::Relaxed);
            if number > self.line.total {
                return Ok(self.tally);
            }
            self.make(number).await?;
            self.line.finished.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn make(&mut self, number: u64) -> Result<(), Error> {
        let device = Device::new(number)?;
        let mut identity = self.provision(&device).await?;
        if number.is_multiple_of(CRASHES_EVERY) {
            identity = self.crash(&device, identity).await?;
        }
        self.check(&device, &identity)?;
        let entitlement = self.line.entitlement.clone();
        let subject = device.subject.clone();
        match number {
            FAILS => {
                let (kind, detail) = (site::FailureKind::Permanent.into(), "flash is dead".into());
                let request = site::FailRequest { entitlement, subject, kind, detail };
                let ask = |client: Client| {
                    let request = request.clone();
                    async move { client.devices().fail(request).await }
                };
                self.persist(ask).await?;
            }
            // An operator scraps it later: that is a person's act.
            SCRAPPED => {}
            _ => {
                let proof = device.key.sign(&identity.confirm_message);
                let request = site::ConfirmRequest { entitlement, subject, proof };
                let ask = |client: Client| {
                    let request = request.clone();
                    async move { client.devices().confirm(request).await }
                };
                self.persist(ask).await?;
                self.tally.confirmed += 1;
            }
        }
        self.tally.certificates.push((device.subject, identity.certificate));
        Ok(())
    }

    /// Asks until there is an answer; waits where waiting helps.
    async fn provision(&mut self, device: &Device) -> Result<site::DeviceIdentity, Error> {
        let mut tries_left = TRIES_MAX;
        loop {
            let crossed = self.line.crossings.lock().await.len();
            let request = site::ProvisionRequest {
                entitlement: self.line.entitlement.clone(),
                subject: device.subject.clone(),
                csr: device.csr.clone(),
                ..site::ProvisionRequest::default()
            };
            let answer = self.client.devices().provision(request).await;
            let failure = match answer.map_err(Failure::from) {
                Ok(identity) => return Ok(identity.into_inner()),
                Err(failure) => failure,
            };
            tries_left -= 1;
            if failure.is(Reason::ReceiptOverdue) && tries_left > 0 {
                self.line.carry(crossed).await?;
            } else if may_be_repeated(&failure) && tries_left > 0 {
                let wait = failure.retry_after.unwrap_or(NOBODY_WAIT);
                if failure.is(Reason::RateLimited) {
                    self.tally.waits.push((Instant::now(), wait));
                }
                self.tally.unanswered += u64::from(failure.reason.is_none());
                tokio::time::sleep(wait).await;
            } else {
                return Err(failure.into());
            }
        }
    }

    /// Says it again for as long as nobody answers; every call may be repeated.
    async fn persist<T, A>(&mut self, ask: impl Fn(Client) -> A) -> Result<T, Error>
    where
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tries_left = TRIES_MAX;
        loop {
            match ask(self.client.clone()).await.map_err(Failure::from) {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(failure) if may_be_repeated(&failure) && tries_left > 0 => {
                    self.tally.unanswered += u64::from(failure.reason.is_none());
                    tries_left -= 1;
                }
                Err(failure) => return Err(failure.into()),
            }
            tokio::time::sleep(NOBODY_WAIT).await;
        }
    }

    /// The tester crashes with the answer, comes back on another connection, and asks again.
    async fn crash(
        &mut self,
        device: &Device,
        lost: site::DeviceIdentity,
    ) -> Result<site::DeviceIdentity, Error> {
        let mut tries_left = TRIES_MAX;
        self.client = loop {
            match Client::open(&self.context).await {
                Ok(client) => break client,
                Err(Error::Connect(_)) if tries_left > 0 => tries_left -= 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(NOBODY_WAIT).await;
        };
        let again = self.provision(device).await?;
        if again != lost {
            let what = format!("{} got another identity at the retry", device.subject);
            return Err(Error::misfit(what, "This must never happen; please report it."));
        }
        self.tally.retries += 1;
        Ok(again)
    }

    /// Checks the certificate as a verifier does who trusts headquarters' product CA alone.
    fn check(&mut self, device: &Device, identity: &site::DeviceIdentity) -> Result<(), Error> {
        let certificate = identity.certificate.clone();
        let batch = identity.chain.first().cloned().unwrap_or_default();
        let chain = [certificate, batch.clone()];
        let verified = verify_device(&chain, &self.line.product_ca, now_ms());
        let own = verified.is_ok_and(|verified| {
            let key = verified.certificate().public_key_info();
            key == device.key.public_key_info() && verified.serial().unit == identity.unit
        });
        if !own {
            let what = format!("the certificate of {} does not verify", device.subject);
            return Err(Error::misfit(what, "This must never happen; please report it."));
        }
        self.tally.batch_ca = batch;
        Ok(())
    }
}

impl Line {
    /// Carries a bundle and its receipt, unless another tester's wait had it done.
    async fn carry(&self, crossed: usize) -> Result<(), Error> {
        let mut crossings = self.crossings.lock().await;
        if crossings.len() == crossed {
            let crossing = cross(&self.program, "shenzhen", crossed + 1).await?;
            crossings.push(crossing);
        }
        Ok(())
    }
}
