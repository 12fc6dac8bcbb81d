//! A version of a plugin that can be called: read, compiled, linked, and true to its manifest.

use std::sync::Arc;
use std::time::Instant;

use mintmark_custody::{Digest, PluginClaims};

use crate::bindings::AllPre;
use crate::bindings::exports::mintmark::plugin::service::Description;
use crate::breaker::Breaker;
use crate::code::Compiler;
use crate::component::{Inspected, inspect};
use crate::config::{Limits, RuntimeConfig};
use crate::engine::Machine;
use crate::error::Error;
use crate::gate::Gate;
use crate::guest::{Guest, Ran};
use crate::log::LogRate;
use crate::manifest::Manifest;
use crate::state::State;

/// A plugin that can be called.
pub(crate) struct Plugin {
    pub(crate) inspected: Inspected,
    pub(crate) claims: Arc<PluginClaims>,
    pub(crate) limits: Limits,
    pub(crate) exports: AllPre<State>,
    pub(crate) gate: Gate,
    pub(crate) breaker: Breaker,
    pub(crate) log_rate: LogRate,
}

impl Plugin {
    /// Makes a plugin of a component, or says what is wrong with it.
    pub(crate) async fn prepare(
        bytes: Vec<u8>,
        machine: &Machine,
        compiler: &Compiler,
        config: &RuntimeConfig,
    ) -> Result<Self, Error> {
        let (inspected, bytes) = read(bytes).await?;
        let component = compiler.compile(inspected.measurement, bytes).await?;
        let linked = machine.linker.instantiate_pre(&component);
        let exports = linked.and_then(AllPre::new).map_err(|error| Error::link(&error))?;
        let manifest = &inspected.manifest;
        let limits = config.limits(&manifest.name, &manifest.limits);
        let plugin = Self {
            claims: Arc::new(manifest.claims(inspected.measurement)),
            limits,
            exports,
            gate: Gate::new(&limits),
            breaker: Breaker::default(),
            log_rate: LogRate::new(limits.log_bytes_per_second, Instant::now()),
            inspected,
        };
        plugin.check_description(machine).await?;
        Ok(plugin)
    }

    pub(crate) fn name(&self) -> &str {
        &self.claims.name
    }

    pub(crate) const fn measurement(&self) -> &Digest {
        &self.inspected.measurement
    }

    /// The component must say of itself what its manifest says.
    async fn check_description(&self, machine: &Machine) -> Result<(), Error> {
        let mut guest = Guest::new(machine, self.limits);
        let ran = guest.describe(&self.exports).await;
        let (_, log) = guest.end();
        log.publish(self.name(), "describe", &self.log_rate);
        match ran {
            Ran::Returned(description) => agree(&description, &self.inspected.manifest),
            Ran::Trapped(text) => Err(Error::description(&format!("it traps: {text}"))),
            Ran::Exceeded(what) => Err(Error::description(&format!("its {what} ran out"))),
            Ran::Overtaken | Ran::Delayed => Err(Error::description("it asks for a call")),
        }
    }
}

/// Reading is quick, but of bytes that somebody sent: off the threads that serve.
async fn read(bytes: Vec<u8>) -> Result<(Inspected, Arc<Vec<u8>>), Error> {
    let read = move || inspect(&bytes).map(|inspected| (inspected, Arc::new(bytes)));
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(Error::Malformed))
}

fn agree(description: &Description, manifest: &Manifest) -> Result<(), Error> {
    if description.name != manifest.name {
        return Err(Error::description("another name"));
    }
    if description.version != manifest.version {
        return Err(Error::description("another version"));
    }
    let mut services: Vec<_> = description.services.iter().collect();
    services.sort();
    if services.into_iter().eq(manifest.services.keys()) {
        return Ok(());
    }
    Err(Error::description("other services"))
}
