//! `plugin`: the components that carry a host's business logic.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{ListPluginsRequest, Plugin};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::error::Error;
use crate::files;
use crate::output::{Page, table};

/// What to do with plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a component and check it. It answers nothing before it is activated.
    Install {
        /// The component.
        #[arg(required_unless_present = "bundled", conflicts_with = "bundled")]
        file: Option<PathBuf>,
        /// One that this program carries.
        #[arg(long, value_enum, value_name = "NAME")]
        bundled: Option<Bundled>,
        /// Also activate it.
        #[arg(long)]
        activate: bool,
    },
    /// Make an installed version the one that answers.
    Activate {
        /// The plugin's name.
        name: String,
        /// The version.
        version: String,
    },
    /// Every installed version.
    List,
    /// What a component says and asks for; no host is asked.
    Inspect {
        /// The component.
        #[arg(required_unless_present = "bundled", conflicts_with = "bundled")]
        file: Option<PathBuf>,
        /// One that this program carries.
        #[arg(long, value_enum, value_name = "NAME")]
        bundled: Option<Bundled>,
    },
}

/// The components that this program carries.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Bundled {
    /// Headquarters' plugin.
    Entitlement,
    /// The factory's plugin.
    DeviceKey,
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    match command {
        Command::Install { file, bundled, activate } => {
            let component = component(file, bundled)?;
            let client = desk.connect().await?;
            let mut plugin = client.install(&component).await?;
            if activate {
                let Plugin { name, version, .. } = plugin;
                plugin = client.activate(name, version).await?;
            }
            Ok(page(&plugin))
        }
        Command::Activate { name, version } => {
            let client = desk.connect().await?;
            Ok(page(&client.activate(name, version).await?))
        }
        Command::List => {
            let client = desk.connect().await?;
            let listed = client.plugins().list_plugins(ListPluginsRequest {}).await;
            let plugins = listed.map_err(Failure::from)?.into_inner().plugins;
            let rows: Vec<_> = plugins.iter().map(row).collect();
            let heading =
                ["name", "version", "security", "state", "signed by", "bytes", "measurement"];
            let json = plugins.iter().map(as_json).collect();
            Ok(Page::new(Value::Array(json), table(&heading, &rows)))
        }
        Command::Inspect { file, bundled } => inspect(&component(file, bundled)?),
    }
}

fn component(file: Option<PathBuf>, bundled: Option<Bundled>) -> Result<Vec<u8>, Error> {
    match (file, bundled) {
        (Some(file), _) => files::read(&file),
        (None, Some(Bundled::Entitlement)) => Ok(mintmark_bundled::ENTITLEMENT.to_vec()),
        (None, Some(Bundled::DeviceKey)) => Ok(mintmark_bundled::DEVICE_KEY.to_vec()),
        (None, None) => Err(Error::Usage("give a file or --bundled NAME".to_owned())),
    }
}

fn inspect(component: &[u8]) -> Result<Page, Error> {
    let inspected = mintmark_runtime::inspect(component).map_err(|why| {
        Error::misfit(format!("the component is refused: {why}"), "Correct what the text names.")
    })?;
    let methods = inspected.services.iter().flat_map(|service| {
        service.methods.iter().map(|method| {
            let roles: Vec<_> = method.roles.iter().map(|role| role.name()).collect();
            format!("/{}/{}: {}", service.name, method.name, roles.join(" "))
        })
    });
    let manifest = &inspected.manifest;
    Ok(Page::facts(&[
        ("name", json!(manifest.name)),
        ("version", json!(manifest.version)),
        ("security version", json!(manifest.security_version)),
        ("measurement", json!(hex::encode(inspected.measurement))),
        ("bytes", json!(component.len())),
        ("methods", json!(methods.collect::<Vec<_>>())),
        ("imports", json!(inspected.imports)),
        ("sends", json!(manifest.sends)),
        ("receives", json!(manifest.receives)),
        ("transfers", json!(manifest.transfers)),
        ("reads ledger", json!(manifest.reads_ledger)),
    ]))
}

fn page(plugin: &Plugin) -> Page {
    Page::facts(&[
        ("name", json!(plugin.name)),
        ("version", json!(plugin.version)),
        ("security version", json!(plugin.security_version)),
        ("measurement", json!(hex::encode(&plugin.measurement))),
        ("active", json!(plugin.active)),
        ("signed by", json!(signed(&plugin.signers))),
        ("bytes", json!(plugin.size)),
    ])
}

/// Who signed a release; a component that nobody signed is called that.
pub(super) fn signed(signers: &[String]) -> String {
    if signers.is_empty() { "unsigned".to_owned() } else { signers.join(", ") }
}

fn as_json(plugin: &Plugin) -> Value {
    json!({
        "name": plugin.name,
        "version": plugin.version,
        "security_version": plugin.security_version,
        "measurement": hex::encode(&plugin.measurement),
        "active": plugin.active,
        "bytes": plugin.size,
        "signers": plugin.signers,
    })
}

fn row(plugin: &Plugin) -> Vec<String> {
    vec![
        plugin.name.clone(),
        plugin.version.clone(),
        plugin.security_version.to_string(),
        if plugin.active { "active" } else { "installed" }.to_owned(),
        signed(&plugin.signers),
        plugin.size.to_string(),
        hex::encode(&plugin.measurement),
    ]
}
