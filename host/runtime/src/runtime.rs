//! The runtime: what is installed, what is active, and the way from a route to an answer.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use cap_std::fs::Dir;
use tokio::sync::{Mutex, Semaphore};

use mintmark_custody::{Custody, Digest, InstalledPlugin, Session};
use mintmark_model::{Reason, Refusal};

use crate::code::Compiler;
use crate::component::Inspected;
use crate::config::{COMPONENT_BYTES_MAX, RuntimeConfig};
use crate::engine::Machine;
use crate::error::Error;
use crate::invocation::{Invocation, Seat};
use crate::plugin::Plugin;
use crate::refused::Refused;
use crate::routes::{ActivePlugin, PluginState, Route, Routes};

/// Loads, confines and calls plugins. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    custody: Custody,
    config: RuntimeConfig,
    machine: Machine,
    compiler: Compiler,
    instances: Arc<Semaphore>,
    routes: ArcSwap<Routes>,
    /// Held while the table changes, so that two activations do not lose each other's routes.
    changing: Mutex<()>,
}

/// A stream of requests to one method. Each is a call of its own; the instance is reused where
/// nothing can be left in it that matters.
pub struct PluginStream {
    runtime: Runtime,
    route: Route,
    seat: Option<Seat>,
}

impl Runtime {
    /// A runtime with nothing active. Compiled code is kept in `cache`, a directory that is the
    /// host's alone.
    ///
    /// # Errors
    ///
    /// [`Error::Engine`], where the platform cannot give what the configuration asks for.
    pub fn new(custody: Custody, config: RuntimeConfig, cache: Option<Dir>) -> Result<Self, Error> {
        let machine = Machine::start(&config).map_err(|error| Error::engine(&error))?;
        let authority = custody.clone();
        let authority = Arc::new(move |parts: &[&[u8]]| authority.cache_mac(parts).ok());
        let compiler = Compiler::new(machine.engine.clone(), authority, cache);
        Ok(Self(Arc::new(Inner {
            instances: Arc::new(Semaphore::new(config.instances_max as usize)),
            custody,
            config,
            machine,
            compiler,
            routes: ArcSwap::default(),
            changing: Mutex::new(()),
        })))
    }

    /// Loads what is active. A plugin that does not load stands in nobody's way; [`Self::status`]
    /// says why.
    ///
    /// # Errors
    ///
    /// Only where custody cannot say what is active.
    pub async fn load(&self) -> Result<(), Refusal> {
        let _changing = self.0.changing.lock().await;
        let installed = self.0.custody.plugins().await?;
        for plugin in installed.into_iter().filter(|plugin| plugin.active) {
            if let Err(error) = self.load_one(&plugin).await {
                tracing::error!(target: "plugin", plugin = plugin.name, %error, "does not load");
                let state = PluginState {
                    name: plugin.name,
                    version: plugin.version,
                    measurement: plugin.measurement,
                    fault: Some(error.to_string()),
                };
                self.0.routes.store(Arc::new(self.0.routes.load().with_broken(state)));
            }
        }
        Ok(())
    }

    /// Checks a component, by compiling it and letting it describe itself, and stores it. It
    /// answers nothing before it is activated.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the component; custody's refusal.
    pub async fn install(&self, session: Session, component: &[u8]) -> Result<Inspected, Error> {
        if component.len() > COMPONENT_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let inspected = self.prepare(component.to_vec()).await?.inspected;
        let manifest = &inspected.manifest;
        let stored = self.0.custody.install_plugin(
            session,
            &manifest.name,
            inspected.measurement,
            &manifest.version,
            manifest.security_version,
            component,
        );
        stored.await?;
        Ok(inspected)
    }

    /// Makes an installed version the one that answers. Running calls finish on the version before.
    ///
    /// It runs in a task of its own: who hangs up during the commit does not leave the routes
    /// behind what custody says is active.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`]; [`Error::ServiceTaken`]; custody's refusal.
    pub async fn activate(&self, session: Session, measurement: &Digest) -> Result<(), Error> {
        let (runtime, measurement) = (self.clone(), *measurement);
        let activating = async move { runtime.activate_to_end(session, &measurement).await };
        let panicked = || Error::Refused(Refusal::new(Reason::Unavailable, "Activation failed."));
        tokio::spawn(activating).await.unwrap_or_else(|_| Err(panicked()))
    }

    async fn activate_to_end(&self, session: Session, measurement: &Digest) -> Result<(), Error> {
        let _changing = self.0.changing.lock().await;
        let component = self.0.custody.plugin_component(measurement).await?;
        let plugin = Arc::new(self.prepare(component).await?);
        if plugin.measurement() != measurement {
            return Err(Error::Absent);
        }
        let routes = self.0.routes.load().with(Arc::clone(&plugin))?;
        let version = &plugin.inspected.manifest.version;
        self.0.custody.activate_plugin(session, &plugin.claims, version).await?;
        self.0.routes.store(Arc::new(routes));
        Ok(())
    }

    /// The route of `/<package.Service>/<Method>`.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<Route> {
        self.0.routes.load().route(path)
    }

    /// The plugins that answer.
    #[must_use]
    pub fn active(&self) -> Vec<ActivePlugin> {
        self.0.routes.load().active()
    }

    /// How the active plugins are, those that do not load included.
    #[must_use]
    pub fn status(&self) -> Vec<PluginState> {
        self.0.routes.load().states(Instant::now())
    }

    /// Calls a method with one message, on a fresh instance.
    ///
    /// # Errors
    ///
    /// The host's refusal, or the plugin's own status.
    pub async fn call(
        &self,
        route: &Route,
        session: Session,
        message: Bytes,
    ) -> Result<Bytes, Refused> {
        self.invocation(route, session, message, false).run(None).await.0
    }

    /// Opens a stream of messages to a method.
    #[must_use]
    pub fn open_stream(&self, route: &Route) -> PluginStream {
        PluginStream { runtime: self.clone(), route: route.clone(), seat: None }
    }

    fn invocation(
        &self,
        route: &Route,
        mut session: Session,
        message: Bytes,
        keeps: bool,
    ) -> Invocation {
        // On whose behalf custody acts is what was loaded, whatever the session says.
        session.plugin = Some(Arc::clone(route.claims()));
        Invocation { runtime: self.clone(), route: route.clone(), session, message, keeps }
    }

    async fn load_one(&self, plugin: &InstalledPlugin) -> Result<(), Error> {
        let component = self.0.custody.plugin_component(&plugin.measurement).await?;
        let plugin = Arc::new(self.prepare(component).await?);
        self.0.routes.store(Arc::new(self.0.routes.load().with(plugin)?));
        Ok(())
    }

    async fn prepare(&self, component: Vec<u8>) -> Result<Plugin, Error> {
        let Inner { machine, compiler, config, .. } = &*self.0;
        Plugin::prepare(component, machine, compiler, config).await
    }

    pub(crate) fn custody(&self) -> &Custody {
        &self.0.custody
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.0.machine
    }

    pub(crate) fn instances(&self) -> &Arc<Semaphore> {
        &self.0.instances
    }

    /// Idle instances of streams take at most half of the places.
    pub(crate) fn may_keep(&self) -> bool {
        self.0.instances.available_permits() > self.0.config.instances_max as usize / 2
    }
}

impl PluginStream {
    /// Calls the method with the next message.
    ///
    /// # Errors
    ///
    /// As [`Runtime::call`].
    pub async fn call(&mut self, session: Session, message: Bytes) -> Result<Bytes, Refused> {
        let invocation = self.runtime.invocation(&self.route, session, message, true);
        let (answer, seat) = invocation.run(self.seat.take()).await;
        self.seat = seat;
        answer
    }
}
