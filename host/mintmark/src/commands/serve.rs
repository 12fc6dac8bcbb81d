//! `serve`: runs a node until it is told to stop.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use serde_json::json;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::assemble::Node;
use crate::config::{Config, LogFormat, Logs};
use crate::error::Error;
use crate::output::Page;

/// Which node, and until when.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also stop when standard input ends, so that a node does not outlive who started it.
    #[arg(long)]
    stop_with_stdin: bool,
}

/// Carries the command out. Standard output gets one JSON line, when clients can connect.
pub(crate) async fn run(arguments: Arguments) -> Result<Page, Error> {
    let config = Config::read(&arguments.config)?;
    start_logs(config.logs())?;
    let node = Node::start(&config).await?;
    let status = node.custody.status().await?;
    let line = json!({
        "listening": node.server.local_addr().to_string(),
        "cluster": status.cluster,
        "node": status.node,
        "kind": status.kind,
        "hardware_model": status.hardware_model,
        "read_only": status.read_only,
    });
    if let Some(problem) = &status.problem {
        tracing::error!(reason = problem.reason.code(), "read-only: {}", problem.detail);
    }
    writeln!(io::stdout().lock(), "{line}")
        .map_err(Error::file("write", "standard output".as_ref()))?;
    tracing::info!(address = %node.server.local_addr(), cluster = status.cluster, "listening");
    node.server.serve(stopped(arguments.stop_with_stdin)).await?;
    tracing::info!("stopped");
    Ok(Page::none())
}

/// Ends at the first order to stop.
async fn stopped(with_stdin: bool) {
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
        () = stdin_ended(with_stdin) => {}
    }
    tracing::info!("stopping; running calls are finished");
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// On a thread of its own: reading standard input can't be given up.
async fn stdin_ended(with_stdin: bool) {
    if !with_stdin {
        return std::future::pending().await;
    }
    let (ended, wait) = oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while io::stdin().lock().read(&mut buffer).is_ok_and(|length| length > 0) {}
        // Nobody waits any more where the node stops for another reason.
        let _ = ended.send(());
    });
    // The sender is dropped with its thread at the latest.
    let _ = wait.await;
}

fn start_logs(logs: &Logs) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&logs.filter)
        .map_err(|why| Error::Usage(format!("logs.filter: {why}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match logs.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|why| Error::Usage(format!("logs cannot be written: {why}")))
}
