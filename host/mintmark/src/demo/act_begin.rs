//! Act 1: a root, three clusters, three processes; and the end, when they stop.

use serde_json::Value;

use super::host::Host;
use super::narration::Story;
use super::program::fact;
use super::stage::Stage;
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;

/// The running hosts.
pub(super) struct Cast {
    hosts: Vec<Host>,
}

impl Cast {
    /// Takes the host of a cluster off the stage.
    pub(super) fn take(&mut self, cluster: &str) -> Option<Host> {
        let place = self.hosts.iter().position(|host| host.cluster == cluster)?;
        Some(self.hosts.remove(place))
    }

    /// Puts a host on the stage.
    pub(super) fn join(&mut self, host: Host) {
        self.hosts.push(host);
    }

    /// Cuts the power of shenzhen's host, and starts it again.
    pub(super) async fn cut_shenzhen(&mut self, stage: &Stage) -> Result<(), Error> {
        let site = CLUSTERS.into_iter().zip(&mut self.hosts);
        for (cluster, host) in site.filter(|((_, name), _)| *name == "shenzhen") {
            host.cut_power(stage, cluster).await?;
        }
        Ok(())
    }
}

/// The clusters: role and name.
const CLUSTERS: [(&str, &str); 3] =
    [("headquarters", "berlin"), ("site", "shenzhen"), ("site", "hanoi")];

/// The admins of each cluster; any two of the three approve.
const ADMINS: [&str; 3] = ["anna", "bela", "chen"];

/// Plays the act.
pub(super) async fn play(story: &mut Story, stage: &Stage) -> Result<Cast, Error> {
    story.act(1, "A root signs three clusters; each is one process");
    let program = stage.program();
    let root = ["ca", "init", "--organization", "acme", "--kind", "trial", "--out", "root"];
    program.done(story, None, &root).await?;
    let mut hosts = Vec::new();
    for (number, (role, name)) in CLUSTERS.into_iter().enumerate() {
        // The same for each cluster, so it is shown once.
        found(story, stage, (role, name), number == 0).await?;
        hosts.push(Host::start(stage, name).await?);
    }
    story.says("The same for the sites shenzhen and hanoi.");
    install(story, stage).await?;
    for ((_, name), host) in CLUSTERS.into_iter().zip(&hosts) {
        let who = format!("{name}/anna");
        let status = program.quietly(Some(&who), &["status"]).await?;
        let plugins = status.get("plugins").and_then(Value::as_array);
        let healthy = plugins.is_some_and(|plugins| {
            plugins.len() == 1 && plugins.iter().all(|plugin| fact(plugin, "problem").is_empty())
        });
        let model = fact(&status, "hardware_model");
        let kind = fact(&status, "kind");
        let plugin = plugins.and_then(|plugins| plugins.first()).map(|one| fact(one, "name"));
        let text = format!(
            "{name} serves `{}` on {}, and says of itself: {kind}, {model}",
            plugin.unwrap_or_default(),
            host.address
        );
        story.claim(healthy && model == "software-emulated" && kind == "trial", text)?;
    }
    Ok(Cast { hosts })
}

/// Makes a cluster: its store, its people's keys, the root's signature, the first certificate.
async fn found(
    story: &Story,
    stage: &Stage,
    (role, name): (&str, &str),
    shown: bool,
) -> Result<(), Error> {
    stage.write_config((role, name), "127.0.0.1:0")?;
    let config = format!("{name}/config.toml");
    let people = format!("{name}/people");
    let step = async |arguments: &[&str]| {
        if shown {
            story.command(None, arguments);
        }
        stage.program().quietly(None, arguments).await
    };
    step(&["init", "--config", &config, "--out", name]).await?;
    for admin in ADMINS {
        stage.program().quietly(None, &["user", "key", admin, "--out", &people]).await?;
    }
    let csr = format!("{name}/{name}.csr.pem");
    let approvers = ADMINS.map(|admin| format!("{admin}={people}/{admin}.csr.pem"));
    let mut sign = vec!["ca", "sign-cluster", "--ca", "root", "--csr", &csr, "--floor", "2"];
    for approver in &approvers {
        sign.extend(["--approver", approver]);
    }
    sign.extend(["--out", name]);
    step(&sign).await?;
    let (root, certificate) = (format!("{name}/root.pem"), format!("{name}/{name}.ca.pem"));
    let (charter, admin) = (format!("{name}/{name}.charter"), format!("{people}/anna.csr.pem"));
    let answer = ["init", "--config", &config, "--root", &root, "--certificate", &certificate];
    let admin = ["--charter", &charter, "--admin-name", "anna", "--admin-csr", &admin];
    let install: Vec<&str> = answer.into_iter().chain(admin).chain(["--out", &people]).collect();
    step(&install).await.map(drop)
}

/// Installs the plugins. Hanoi's is one that cheats, which no command offers.
async fn install(story: &Story, stage: &Stage) -> Result<(), Error> {
    let program = stage.program();
    let entitlement = ["plugin", "install", "--bundled", "entitlement", "--activate"];
    let device_key = ["plugin", "install", "--bundled", "device-key", "--activate"];
    story.command(Some("berlin/anna"), &entitlement);
    story.command(Some("shenzhen/anna"), &device_key);
    story.says("hanoi gets a device-key plugin that leaves one row out of its audit bundles.");
    let (berlin, shenzhen, hanoi) = tokio::join!(
        program.quietly(Some("berlin/anna"), &entitlement),
        program.quietly(Some("shenzhen/anna"), &device_key),
        install_cheat(stage),
    );
    berlin.and(shenzhen)?;
    hanoi
}

async fn install_cheat(stage: &Stage) -> Result<(), Error> {
    let context = stage.path().join(super::program::context_of("hanoi/anna"));
    let client = Client::open(&Context::read(&context)?).await?;
    let plugin = client.install(mintmark_bundled::danger::DEVICE_KEY_TAMPERING).await?;
    client.activate(plugin.name, plugin.version).await.map(drop)
}

/// Stops the hosts, and walks what they leave.
pub(super) async fn close(story: &mut Story, stage: &Stage, cast: Cast) -> Result<(), Error> {
    story.act(8, "The hosts stop; their stores are what they say");
    let mut stopped = true;
    for host in cast.hosts {
        stopped &= host.stop().await;
    }
    story.claim(stopped, "all three hosts stop in order when they are asked to")?;
    let arguments = ["verify", "--config", "shenzhen/config.toml"];
    let verified = stage.program().done(story, None, &arguments).await?;
    let (rows, anchor) = (fact(&verified, "rows"), fact(&verified, "anchor"));
    let text = format!("{rows} ledger rows in one unbroken chain, as the platform remembers");
    story.claim(anchor == "equal", text)
}
