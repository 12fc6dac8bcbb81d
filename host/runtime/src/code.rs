//! Compiled code: made off the request path, one component at a time, and kept on disk under a MAC
//! of the host.
//!
//! Loading compiled code is running it, so what is on disk counts only after custody's MAC over
//! engine, component and code was checked, on the very buffer that is then loaded. What does not
//! verify is made again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cap_std::fs::Dir;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component;

use mintmark_custody::Digest;

use crate::error::Error;

/// The file's begin: the MAC.
const MAC_BYTES: usize = 32;

/// The largest file that is read. Compiled code is a few times as large as the component.
const FILE_BYTES_MAX: u64 = 512 << 20;

const LABEL: &[u8] = b"mintmark/compiled-code/1";

/// Custody's MAC over parts, where custody can make one.
pub(crate) type Mac = dyn Fn(&[&[u8]]) -> Option<[u8; MAC_BYTES]> + Send + Sync;

/// Compiles components, or finds them compiled.
pub(crate) struct Compiler {
    engine: Engine,
    authority: Arc<Mac>,
    cache: Option<Arc<Dir>>,
    one_at_a_time: Arc<Semaphore>,
}

impl Compiler {
    /// A compiler whose results are kept in `cache`, where there is one. The directory is the
    /// host's alone.
    pub(crate) fn new(engine: Engine, authority: Arc<Mac>, cache: Option<Dir>) -> Self {
        let one_at_a_time = Arc::new(Semaphore::new(1));
        Self { engine, authority, cache: cache.map(Arc::new), one_at_a_time }
    }

    /// The code of the component with this measurement.
    pub(crate) async fn compile(
        &self,
        measurement: Digest,
        bytes: Arc<Vec<u8>>,
    ) -> Result<Component, Error> {
        let turn = Arc::clone(&self.one_at_a_time).acquire_owned().await;
        let turn = turn.expect("nobody closes the semaphore");
        let job = Job {
            engine: self.engine.clone(),
            authority: Arc::clone(&self.authority),
            cache: self.cache.clone(),
            measurement,
        };
        let work = move || {
            let code = job.run(&bytes);
            drop(turn);
            code
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(code) => code,
            Err(_) => Err(Error::Compile("the compiler failed".into())),
        }
    }
}

struct Job {
    engine: Engine,
    authority: Arc<Mac>,
    cache: Option<Arc<Dir>>,
    measurement: Digest,
}

impl Job {
    fn run(&self, bytes: &[u8]) -> Result<Component, Error> {
        if let Some(component) = self.cache.as_deref().and_then(|cache| self.find(cache)) {
            return Ok(component);
        }
        let component =
            Component::from_binary(&self.engine, bytes).map_err(|error| Error::compile(&error))?;
        if let Some(cache) = &self.cache {
            // A cache that cannot be written costs time at the next start, nothing else.
            if let Err(error) = self.keep(cache, &component) {
                tracing::warn!(kind = %error, "compiled code was not kept");
            }
        }
        Ok(component)
    }

    fn find(&self, cache: &Dir) -> Option<Component> {
        let name = self.file_name();
        if cache.metadata(&name).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        let file = cache.read(&name).ok()?;
        let (mac, code) = file.split_at_checked(MAC_BYTES)?;
        if !self.mac(code).is_some_and(|right| same(mac, &right)) {
            tracing::warn!("compiled code on disk does not verify; it is made again");
            return None;
        }
        load(&self.engine, code)
    }

    fn keep(&self, cache: &Dir, component: &Component) -> std::io::Result<()> {
        let code = component.serialize().map_err(|_| std::io::ErrorKind::OutOfMemory)?;
        let Some(mac) = self.mac(&code) else { return Ok(()) };
        let file = [mac.as_slice(), &code].concat();
        let (name, fresh) = (self.file_name(), format!("{}.new", self.file_name()));
        cache.write(&fresh, file)?;
        cache.rename(&fresh, cache, &name)
    }

    fn mac(&self, code: &[u8]) -> Option<[u8; MAC_BYTES]> {
        let mut engine = Written::default();
        self.engine.precompile_compatibility_hash().hash(&mut engine);
        (self.authority)(&[LABEL, &engine.0, &self.measurement, code])
    }

    fn file_name(&self) -> String {
        let digits = self.measurement.iter().map(|byte| format!("{byte:02x}"));
        digits.chain([".code".to_owned()]).collect()
    }
}

/// Everything that is hashed, so that the MAC itself is over all of it.
#[derive(Default)]
struct Written(Vec<u8>);

impl Hasher for Written {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[expect(unsafe_code, reason = "the MAC was checked: these are bytes that this host's engine made")]
fn load(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: `code` is the buffer whose MAC was checked, under a key that only this host has, and
    // nobody writes to it. The MAC also covers the engine's compatibility hash.
    unsafe { Component::deserialize(engine, code) }.ok()
}

/// Takes the same time wherever the first difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use cap_tempfile::{TempDir, ambient_authority};

    use super::*;
    use crate::guests::PLAIN;

    /// A MAC that tests can change: nobody here needs a strong one.
    static SECRET: AtomicU8 = AtomicU8::new(0);

    fn weak_mac(parts: &[&[u8]]) -> Option<[u8; MAC_BYTES]> {
        let mut input = vec![SECRET.load(Ordering::Relaxed)];
        for part in parts {
            input.extend((part.len() as u64).to_be_bytes());
            input.extend(*part);
        }
        Some(mintmark_custody::sha256(&input))
    }

    fn job(cache: &TempDir) -> Job {
        Job {
            engine: Engine::default(),
            authority: Arc::new(weak_mac),
            cache: Some(Arc::new(cache.try_clone().unwrap())),
            measurement: [7; 32],
        }
    }

    #[test]
    fn w26_code_on_disk_counts_only_under_the_hosts_mac() {
        let cache = cap_tempfile::tempdir(ambient_authority()).unwrap();
        let job = job(&cache);
        assert!(job.find(&cache).is_none());
        job.run(&PLAIN.binary()).unwrap();
        assert!(job.find(&cache).is_some(), "positive control");

        let name = job.file_name();
        let file = cache.read(&name).unwrap();
        for position in [0, MAC_BYTES, file.len() / 2, file.len() - 1] {
            let mut changed = file.clone();
            changed[position] ^= 1;
            cache.write(&name, changed).unwrap();
            assert!(job.find(&cache).is_none(), "bit flip at {position}");
        }
        for length in [0, 1, MAC_BYTES - 1, MAC_BYTES, file.len() - 1] {
            cache.write(&name, &file[..length]).unwrap();
            assert!(job.find(&cache).is_none(), "truncated at {length}");
        }
        // What does not verify is made again.
        assert!(job.run(&PLAIN.binary()).is_ok() && job.find(&cache).is_some());

        let other = Job { measurement: [8; 32], ..job };
        cache.write(other.file_name(), &file).unwrap();
        assert!(other.find(&cache).is_none(), "code of another component");
        SECRET.store(1, Ordering::Relaxed);
        let job = Job { measurement: [7; 32], ..other };
        assert!(job.find(&cache).is_none(), "code of another host");
    }
}
