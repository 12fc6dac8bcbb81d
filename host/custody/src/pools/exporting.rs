//! Headquarters takes keys off a pool, sealed to the site's host, and writes them into a key file.

use mintmark_crypto::SecretBytes;
use mintmark_crypto::hpke::Sender;
use mintmark_crypto::sign::SignatureAlgorithm;
use mintmark_exchange::grant::{Grant, PackageKind, PackageRef};
use mintmark_exchange::pool::{
    CHUNK_INFO, CHUNK_KEYS, KeyFileHead, SealedKeys, VERSION, assemble, chunk_aad, sealed_digest,
};
use mintmark_exchange::row::Event;
use mintmark_model::{Operation, Reason, Refusal};
use mintmark_store::{Key, Range};

use super::{EXPORT, algorithm_of, chunk_binding, chunk_name, chunk_place, chunk_prefix};
use super::{PAGE, damaged, joined, pool_place};
use crate::call::Call;
use crate::custody::Custody;
use crate::disk::{self, pool::PoolRecord};
use crate::tables;
use crate::types::Session;

/// The pool's keys, as they are taken off.
struct Source {
    load: [u8; 16],
    algorithm: SignatureAlgorithm,
}

/// The key file, as it grows.
struct Writer<'a> {
    transfer: &'a [u8],
    core: [u8; 32],
    chunks: Vec<Vec<u8>>,
    digests: Vec<[u8; 32]>,
    /// Scalars that do not fill a chunk yet.
    waiting: Vec<SecretBytes>,
}

impl Custody {
    /// The staged key file of an entitlement whose keys came from a pool.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND`.
    pub async fn key_file(&self, session: Session, entitlement: &str) -> Result<String, Refusal> {
        let call = self.begin(session, None).await?;
        let place = tables::pair(tables::JOBS, EXPORT, entitlement);
        let file: Option<String> = call.view.peek(&place).await?;
        file.ok_or_else(|| Refusal::not_found("key file of that entitlement"))
    }
}

impl Call {
    /// Takes the keys of a grant off a pool. They leave it in this transaction, and never come
    /// back.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for the pool, also where it is another plugin's; `TERMS_INVALID` for another
    /// algorithm; `QUOTA_EXHAUSTED`; `WRONG_STATE` for a pool of a restored store.
    pub(crate) async fn take_from_pool(
        &mut self,
        name: &str,
        grant: &Grant,
        transfer: &[u8],
    ) -> Result<PackageRef, Refusal> {
        let place = pool_place(name);
        self.claim(&place).await?;
        let plugin = self.plugin_name()?;
        let pool: Option<PoolRecord> = self.read(&place).await?;
        let pool = pool.filter(|pool| pool.plugin == plugin);
        let mut pool = pool.ok_or_else(|| Refusal::not_found("pool"))?;
        check_pool(&pool, grant)?;
        let source = Source { load: pool.load, algorithm: algorithm_of(&pool.algorithm)? };
        let mut writer = Writer {
            transfer,
            core: grant.core_digest(),
            chunks: Vec::new(),
            digests: Vec::new(),
            waiting: Vec::with_capacity(CHUNK_KEYS),
        };
        self.move_keys(&source, grant.terms.total, &mut writer).await?;
        pool.left -= grant.terms.total;
        let head = KeyFileHead {
            version: VERSION,
            entitlement: grant.entitlement.clone(),
            algorithm: pool.algorithm.clone(),
            keys: grant.terms.total,
            chunks: writer.digests,
        };
        self.view.write(place, pool);
        let file = self.stage(&assemble(&head, &writer.chunks)).await?;
        self.view.write(tables::pair(tables::JOBS, EXPORT, &grant.entitlement), file);
        let digest = head.digest();
        self.record(Event::KeyUsed {
            key: name.to_owned(),
            operation: Operation::Export.name().to_owned(),
            content: digest,
        });
        Ok(PackageRef { kind: PackageKind::Pool, digest })
    }

    /// Moves so many keys from the pool's chunks into the file's. The pool's own record changes
    /// with every taking, so what is read here is what is there at the commit.
    async fn move_keys(
        &mut self,
        source: &Source,
        total: u64,
        writer: &mut Writer<'_>,
    ) -> Result<(), Refusal> {
        let mut wanted = usize::try_from(total).unwrap_or(usize::MAX);
        let all = Range::all(tables::POOL_KEYS, chunk_prefix(&source.load)).limit(PAGE);
        let mut range = all.clone();
        while wanted > 0 {
            // With this call's own writes: it may have taken keys off the pool before.
            let page = self.view.scan(range.clone()).await?;
            let last = page.last().ok_or_else(damaged)?;
            range = all.clone().after(last.0.key.clone());
            for (key, value) in page {
                let first = first_of(&key)?;
                let scalars = self.open_chunk(source, first, &disk::read::<Vec<u8>>(&value)?)?;
                let taken = wanted.min(scalars.len());
                self.view.delete(key);
                self.keep_rest(source, first + taken as u64, &scalars[taken..]);
                for scalar in scalars.into_iter().take(taken) {
                    writer.push(scalar)?;
                }
                wanted -= taken;
                if wanted == 0 {
                    break;
                }
            }
        }
        writer.finish()
    }

    fn open_chunk(
        &self,
        source: &Source,
        first: u64,
        sealed: &[u8],
    ) -> Result<Vec<SecretBytes>, Refusal> {
        let name = chunk_name(&source.load, first);
        let opened = self.host.vault.open(&chunk_binding(&name, source.algorithm), sealed)?;
        let scalars = opened.expose().chunks_exact(source.algorithm.scalar_bytes());
        Ok(scalars.map(|scalar| SecretBytes::new(scalar.to_vec())).collect())
    }

    /// A chunk of which some keys were taken is written anew without them.
    fn keep_rest(&mut self, source: &Source, first: u64, rest: &[SecretBytes]) {
        if rest.is_empty() {
            return;
        }
        let name = chunk_name(&source.load, first);
        let binding = chunk_binding(&name, source.algorithm);
        let sealed = self.host.vault.seal(&binding, joined(rest).expose());
        self.view.write(chunk_place(&source.load, first), sealed);
    }
}

impl Writer<'_> {
    fn push(&mut self, scalar: SecretBytes) -> Result<(), Refusal> {
        self.waiting.push(scalar);
        if self.waiting.len() == CHUNK_KEYS { self.seal() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), Refusal> {
        if self.waiting.is_empty() { Ok(()) } else { self.seal() }
    }

    fn seal(&mut self) -> Result<(), Refusal> {
        let unusable = |_| Refusal::not_found("transfer key of that peer");
        let chunk = u32::try_from(self.chunks.len()).expect("a key file has at most 1,024 chunks");
        let (encapsulated, mut sender) =
            Sender::new(self.transfer, CHUNK_INFO).map_err(unusable)?;
        let scalars = joined(&std::mem::take(&mut self.waiting));
        let ciphertext = sender.seal(&chunk_aad(&self.core, chunk), scalars.expose());
        let sealed = SealedKeys { encapsulated, ciphertext }.encode();
        self.digests.push(sealed_digest(&sealed));
        self.chunks.push(sealed);
        Ok(())
    }
}

/// The number of the first key in a chunk.
fn first_of(key: &Key) -> Result<u64, Refusal> {
    let first = key.key.last_chunk::<8>().ok_or_else(damaged)?;
    Ok(u64::from_be_bytes(*first))
}

fn check_pool(pool: &PoolRecord, grant: &Grant) -> Result<(), Refusal> {
    if pool.suspect {
        let detail = "The store was restored, and keys of the pool may have left it since the \
                      backup; destroy the pool, and load keys that are new.";
        return Err(Refusal::new(Reason::WrongState, detail));
    }
    if pool.algorithm != grant.product.algorithm {
        let detail = "The pool's keys have another algorithm than the product's.";
        return Err(Refusal::new(Reason::TermsInvalid, detail));
    }
    if pool.left < grant.terms.total {
        let detail = format!("The pool has {} keys left; load more.", pool.left);
        let refusal = Refusal::new(Reason::QuotaExhausted, detail);
        return Err(refusal.with("left", pool.left.to_string()));
    }
    Ok(())
}
