//! A host as a child process, on a port of its own.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin};

use super::program::{Program, fact};
use super::stage::Stage;
use crate::context::Context;
use crate::error::Error;
use crate::files;

/// A running host. It ends when this is dropped, also when the demo is killed: its standard input
/// ends then.
pub(super) struct Host {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Whose host it is.
    pub(super) cluster: String,
    /// Where it listens.
    pub(super) address: String,
}

/// How long a host may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

const NEXT: &str = "Run the demo again with --dir DIR, and read the host's log there.";

impl Host {
    /// Starts the host of a cluster and waits until it listens. Its people learn the address.
    pub(super) async fn start(stage: &Stage, cluster: &str) -> Result<Self, Error> {
        let mut host = Self::spawn(stage.program(), &stage.path().join(cluster), cluster)?;
        let line = tokio::time::timeout(PATIENCE, host.first_line()).await;
        let line = line
            .ok()
            .flatten()
            .ok_or_else(|| Error::misfit(format!("the host of {cluster} does not start"), NEXT))?;
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        host.address = fact(&said, "listening");
        tell_address(stage, cluster, &host.address)?;
        Ok(host)
    }

    fn spawn(program: &Program, folder: &Path, cluster: &str) -> Result<Self, Error> {
        let log = folder.join("host.log");
        let log = File::create(&log).map_err(Error::file("write", &log))?;
        let config = format!("{cluster}/config.toml");
        let mut command = program.child(&["serve", "--config", &config, "--stop-with-stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(Error::file("run", Path::new("mintmark")))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, cluster: cluster.to_owned(), address: String::new() })
    }

    async fn first_line(&mut self) -> Option<String> {
        let stdout = self.child.stdout.take()?;
        BufReader::new(stdout).lines().next_line().await.ok().flatten()
    }

    /// Cuts the power: the process is killed, whatever it is doing, and started again at the same
    /// address.
    pub(super) async fn cut_power(
        &mut self,
        stage: &Stage,
        (role, name): (&str, &str),
    ) -> Result<(), Error> {
        self.child.kill().await.map_err(Error::file("kill", Path::new(name)))?;
        stage.write_config((role, name), &self.address)?;
        *self = Self::start(stage, name).await?;
        Ok(())
    }

    /// Asks the host to stop; says whether it did so in order.
    pub(super) async fn stop(mut self) -> bool {
        drop(self.stdin.take());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.is_ok_and(|status| status.is_ok_and(|status| status.success()))
    }
}

/// Tells the admin of a cluster where its host listens.
pub(super) fn tell_address(stage: &Stage, cluster: &str, address: &str) -> Result<(), Error> {
    let people = stage.path().join(cluster).join("people");
    let context = people.join("anna.context.toml");
    let mut anna = Context::read(&context)?;
    address.clone_into(&mut anna.address);
    // Reading has made the paths longer; in the file they are beside it.
    anna.root = "root.pem".into();
    anna.certificate = "anna.pem".into();
    anna.key = "anna.key.pem".into();
    files::write(&context, anna.to_toml()?.as_bytes())?;
    Ok(())
}
