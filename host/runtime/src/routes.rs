//! Which plugin answers which method: one table, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use mintmark_custody::{Digest, PluginClaims};
use mintmark_model::Role;

use crate::component::Method;
use crate::error::Error;
use crate::plugin::Plugin;

/// A method of an active plugin. Whoever holds a route finishes on the version that it names.
#[derive(Clone)]
pub struct Route(Arc<Target>);

struct Target {
    plugin: Arc<Plugin>,
    path: String,
    service: String,
    method: Method,
}

/// An active plugin, for those who list what is served.
#[derive(Clone)]
pub struct ActivePlugin(Arc<Plugin>);

/// How a plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginState {
    /// Its name.
    pub name: String,
    /// Its active version.
    pub version: String,
    /// Its measurement.
    pub measurement: Digest,
    /// Why it does not answer, if it does not.
    pub fault: Option<String>,
}

/// Everything that is active.
#[derive(Default, Clone)]
pub(crate) struct Routes {
    plugins: BTreeMap<String, Arc<Plugin>>,
    paths: BTreeMap<String, Route>,
    broken: BTreeMap<String, PluginState>,
}

impl Route {
    /// `/<package.Service>/<Method>`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Who may call it.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.0.method.roles
    }

    /// Whether the client sends a stream.
    #[must_use]
    pub fn client_streaming(&self) -> bool {
        self.0.method.client_streaming
    }

    /// Whether the answer is a stream.
    #[must_use]
    pub fn server_streaming(&self) -> bool {
        self.0.method.server_streaming
    }

    /// On whose behalf custody acts.
    #[must_use]
    pub fn claims(&self) -> &Arc<PluginClaims> {
        &self.0.plugin.claims
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.0.plugin
    }

    pub(crate) fn names(&self) -> (&str, &str) {
        (&self.0.service, &self.0.method.name)
    }
}

impl ActivePlugin {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// An encoded `google.protobuf.FileDescriptorSet`.
    #[must_use]
    pub fn descriptors(&self) -> &[u8] {
        &self.0.inspected.descriptors
    }

    /// Full names of its services.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.0.inspected.services.iter().map(|service| service.name.as_str())
    }
}

impl Routes {
    /// The same with `plugin`, in place of the version that was active.
    pub(crate) fn with(&self, plugin: Arc<Plugin>) -> Result<Self, Error> {
        let mut next = self.clone();
        next.broken.remove(plugin.name());
        next.plugins.insert(plugin.name().to_owned(), Arc::clone(&plugin));
        next.paths.retain(|_, route| route.plugin().name() != plugin.name());
        for service in &plugin.inspected.services {
            next.check_free(&service.name)?;
            for method in &service.methods {
                let path = format!("/{}/{}", service.name, method.name);
                let target = Target {
                    plugin: Arc::clone(&plugin),
                    path: path.clone(),
                    service: service.name.clone(),
                    method: method.clone(),
                };
                next.paths.insert(path, Route(Arc::new(target)));
            }
        }
        Ok(next)
    }

    /// The same with a plugin that is active and does not load.
    pub(crate) fn with_broken(&self, state: PluginState) -> Self {
        let mut next = self.clone();
        next.broken.insert(state.name.clone(), state);
        next
    }

    pub(crate) fn route(&self, path: &str) -> Option<Route> {
        self.paths.get(path).cloned()
    }

    pub(crate) fn active(&self) -> Vec<ActivePlugin> {
        self.plugins.values().cloned().map(ActivePlugin).collect()
    }

    pub(crate) fn states(&self, now: Instant) -> Vec<PluginState> {
        let served = self.plugins.values().map(|plugin| PluginState {
            name: plugin.name().to_owned(),
            version: plugin.inspected.manifest.version.clone(),
            measurement: *plugin.measurement(),
            fault: plugin.breaker.is_open(now).then(|| "it failed too often in a row".to_owned()),
        });
        served.chain(self.broken.values().cloned()).collect()
    }

    /// Nobody else answers the service.
    fn check_free(&self, service: &str) -> Result<(), Error> {
        match self.paths.values().find(|route| route.0.service == service) {
            Some(route) => Err(Error::ServiceTaken {
                service: service.to_owned(),
                plugin: route.plugin().name().to_owned(),
            }),
            None => Ok(()),
        }
    }
}
