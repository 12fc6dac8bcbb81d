//! Installing, activating and showing plugins.

use bytes::BytesMut;
use mintmark_custody::{Slot, plugins::InstalledPlugin};
use mintmark_model::Refusal;
use mintmark_runtime::Inspected;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Answer, digest};
use crate::{
    caller::Caller,
    host::Host,
    limits,
    proto::admin::{
        ActivateRequest, ActivateResponse, InspectPluginRequest, InspectPluginResponse,
        InstallRequest, InstallResponse, KeySlot, ListPluginsRequest, ListPluginsResponse, Plugin,
        PluginMethod, plugins_server::Plugins,
    },
    refusal,
    routing::next,
};

const INSTALL: &str = "/mintmark.admin.v1.Plugins/Install";
const ACTIVATE: &str = "/mintmark.admin.v1.Plugins/Activate";

#[async_trait]
impl Plugins for Host {
    async fn install(
        &self,
        request: Request<Streaming<InstallRequest>>,
    ) -> Answer<InstallResponse> {
        let caller = Caller::of(request.extensions())?.clone();
        let component = collect(&mut request.into_inner()).await?;
        let session = caller.session_of(INSTALL, &component);
        let installed = self.runtime.install(session, &component).await;
        let inspected = installed.map_err(|error| refusal::status(error.into()))?;
        let plugin = self.installed(&inspected.measurement).await.map_err(refusal::status)?;
        Ok(Response::new(InstallResponse { plugin: Some(plugin) }))
    }

    async fn activate(&self, request: Request<ActivateRequest>) -> Answer<ActivateResponse> {
        let session = Caller::session(&request, ACTIVATE)?;
        let ActivateRequest { name, version } = request.into_inner();
        let chosen = self.find(|plugin| plugin.name == name && plugin.version == version).await;
        let chosen = chosen.map_err(refusal::status)?;
        // In a task of its own: reflection and health follow though the client hangs up.
        let (host, measurement) = (self.clone(), chosen.measurement);
        let activating = tokio::spawn(async move {
            let activated = host.runtime.activate(session, &measurement).await;
            host.refresh().await;
            activated
        });
        let activated = activating.await.map_err(|_| Status::internal("Activation failed."))?;
        activated.map_err(|error| refusal::status(error.into()))?;
        let plugin = self.installed(&chosen.measurement).await.map_err(refusal::status)?;
        Ok(Response::new(ActivateResponse { plugin: Some(plugin) }))
    }

    async fn list_plugins(&self, _: Request<ListPluginsRequest>) -> Answer<ListPluginsResponse> {
        let mut plugins = self.custody.plugins().await.map_err(refusal::status)?;
        plugins.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        let plugins = plugins.into_iter().map(plugin).collect();
        Ok(Response::new(ListPluginsResponse { plugins }))
    }

    async fn inspect_plugin(
        &self,
        request: Request<InspectPluginRequest>,
    ) -> Answer<InspectPluginResponse> {
        let measurement = digest(&request.into_inner().measurement, "measurement");
        let measurement = measurement.map_err(refusal::status)?;
        let plugin = self.installed(&measurement).await.map_err(refusal::status)?;
        let component = self.custody.plugin_component(&measurement).await;
        let component = component.map_err(refusal::status)?;
        let inspected = mintmark_runtime::inspect(&component);
        let inspected = inspected.map_err(|error| refusal::status(error.into()))?;
        Ok(Response::new(inspection(plugin, inspected)))
    }
}

impl Host {
    async fn find(
        &self,
        wanted: impl Fn(&InstalledPlugin) -> bool,
    ) -> Result<InstalledPlugin, Refusal> {
        let plugins = self.custody.plugins().await?;
        plugins.into_iter().find(wanted).ok_or_else(|| Refusal::not_found("plugin"))
    }

    async fn installed(&self, measurement: &[u8; 32]) -> Result<Plugin, Refusal> {
        self.find(|plugin| plugin.measurement == *measurement).await.map(plugin)
    }
}

/// The component that a stream carries.
async fn collect(chunks: &mut Streaming<InstallRequest>) -> Result<BytesMut, Status> {
    let mut component = BytesMut::new();
    while let Some(InstallRequest { chunk }) = next(chunks).await? {
        // Checked before the bytes are kept, so that a stream takes no more memory than a
        // component.
        if component.len() + chunk.len() > limits::COMPONENT_BYTES_MAX {
            let refused = Refusal::invalid("The component is larger than 32 MiB.");
            return Err(refusal::status(refused));
        }
        component.extend_from_slice(&chunk);
    }
    Ok(component)
}

fn plugin(plugin: InstalledPlugin) -> Plugin {
    Plugin {
        name: plugin.name,
        version: plugin.version,
        security_version: plugin.security_version,
        measurement: plugin.measurement.to_vec(),
        active: plugin.active,
        size: plugin.size,
        signers: plugin.signers,
    }
}

fn inspection(plugin: Plugin, inspected: Inspected) -> InspectPluginResponse {
    let services = &inspected.services;
    let methods = services.iter().flat_map(|service| {
        service.methods.iter().map(|method| PluginMethod {
            path: format!("/{}/{}", service.name, method.name),
            roles: method.roles.iter().map(|role| role.name().to_owned()).collect(),
        })
    });
    let methods = methods.collect();
    let manifest = inspected.manifest;
    InspectPluginResponse {
        plugin: Some(plugin),
        imports: inspected.imports,
        methods,
        slots: manifest.slots.iter().map(slot).collect(),
        sends: manifest.sends,
        receives: manifest.receives,
        transfers: manifest.transfers,
        reads_ledger: manifest.reads_ledger,
    }
}

fn slot(slot: &Slot) -> KeySlot {
    KeySlot {
        kind: slot.kind.name().to_owned(),
        prefix: slot.prefix.clone(),
        algorithms: slot.algorithms.iter().map(|it| it.name().to_owned()).collect(),
        export: slot.export,
    }
}
