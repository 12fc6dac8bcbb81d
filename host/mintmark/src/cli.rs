//! The command line: its shape, and who carries each command out.

use std::future::Future;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::commands::{
    approvals, audit, backup, ca, clock, completions, device, directive, entitlement, identity,
    init, ledger, outbox, platform, plugin, pool, receipt, report, restore, serve, status, stream,
    user, verify,
};
use crate::context::Context;
use crate::demo;
use crate::error::Error;
use crate::output::Page;

/// Provisions device identities in factories that need not be trusted, and proves afterwards that
/// nobody made one device too many.
#[derive(Debug, Parser)]
#[command(name = "mintmark", version, max_term_width = 100)]
#[command(after_help = "`mintmark demo` shows all of it in a minute.")]
pub(crate) struct Cli {
    /// Answer in JSON, errors included.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The context file: which host to ask, and as whom.
    #[arg(long, global = true, env = "MINTMARK_CONTEXT", value_name = "FILE")]
    context: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The organisation's root, offline.
    #[command(subcommand)]
    Ca(ca::Command),
    /// Make a node, offline: its store and request first, then with the root's answer.
    Init(init::Arguments),
    /// Run a node.
    Serve(serve::Arguments),
    /// What a host says of itself.
    Status,
    /// People and stations.
    #[command(subcommand)]
    User(user::Command),
    /// The plugins of a host.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// What clusters know of each other.
    #[command(subcommand)]
    Identity(identity::Command),
    /// Permissions to provision: headquarters creates them, a site imports them.
    #[command(subcommand)]
    Entitlement(entitlement::Command),
    /// Keys that somebody gave: loaded at headquarters, handed out once, imported by a site.
    #[command(subcommand)]
    Pool(pool::Command),
    /// Devices, at a site.
    #[command(subcommand)]
    Device(device::Command),
    /// What the site did: exported there, reconciled at headquarters, verified anywhere.
    #[command(subcommand)]
    Audit(audit::Command),
    /// The reports of audits, at headquarters.
    #[command(subcommand)]
    Report(report::Command),
    /// Headquarters' answers to bundles, at a site.
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Headquarters' later orders about entitlements, at a site.
    #[command(subcommand)]
    Directive(directive::Command),
    /// What headquarters sent to its sites.
    #[command(subcommand)]
    Outbox(outbox::Command),
    /// Acts that need several people: what waits, and your yes or no.
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// Site time: what is wrong with a suspect clock, and what may be said about it.
    #[command(subcommand)]
    Clock(clock::Command),
    /// Headquarters' streams of messages to its sites.
    #[command(subcommand)]
    Stream(stream::Command),
    /// The whole store of a running host as one sealed file.
    Backup(backup::Arguments),
    /// Bring a backup back, offline: rehearse it, ask for approvals, carry it out.
    Restore(restore::Arguments),
    /// The secret of a node's platform, offline.
    #[command(subcommand)]
    Platform(platform::Command),
    /// A host's ledger.
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Walk a node's store, offline: every record and every row, and whether it is the store that
    /// the platform remembers. Exits with 1 unless it is.
    Verify(verify::Arguments),
    /// Show all of it: real processes, sockets and files, in a minute.
    Demo(demo::Arguments),
    /// Write a completion script.
    Completions(completions::Arguments),
}

/// What every command can use.
pub(crate) struct Desk {
    context: Option<PathBuf>,
    pub(crate) json: bool,
}

impl Desk {
    /// The context that the command line names.
    pub(crate) fn context(&self) -> Result<Context, Error> {
        Context::read(self.context.as_deref().ok_or(Error::NoContext)?)
    }

    /// Connects to the host of the context.
    pub(crate) async fn connect(&self) -> Result<Client, Error> {
        Client::open(&self.context()?).await
    }
}

impl Cli {
    /// Carries the command out.
    pub(crate) fn run(self) -> Result<Page, Error> {
        let desk = Desk { context: self.context, json: self.json };
        match self.command {
            Command::Ca(command) => ca::run(command),
            Command::Init(arguments) => block_on(init::run(arguments)),
            Command::Serve(arguments) => block_on(serve::run(arguments)),
            Command::Status => block_on(status::run(&desk)),
            Command::User(command) => block_on(user::run(&desk, command)),
            Command::Plugin(command) => block_on(plugin::run(&desk, command)),
            Command::Identity(command) => block_on(identity::run(&desk, command)),
            Command::Entitlement(command) => block_on(entitlement::run(&desk, command)),
            Command::Pool(command) => block_on(pool::run(&desk, command)),
            Command::Device(command) => block_on(device::run(&desk, command)),
            Command::Audit(command) => block_on(audit::run(&desk, command)),
            Command::Report(command) => block_on(report::run(&desk, command)),
            Command::Receipt(command) => block_on(receipt::run(&desk, command)),
            Command::Directive(command) => block_on(directive::run(&desk, command)),
            Command::Outbox(command) => block_on(outbox::run(&desk, command)),
            Command::Approvals(command) => block_on(approvals::run(&desk, command)),
            Command::Clock(command) => block_on(clock::run(&desk, command)),
            Command::Stream(command) => block_on(stream::run(&desk, command)),
            Command::Backup(arguments) => block_on(backup::run(&desk, arguments)),
            Command::Restore(arguments) => block_on(restore::run(arguments)),
            Command::Platform(command) => platform::run(&command),
            Command::Ledger(command) => block_on(ledger::run(&desk, command)),
            Command::Verify(arguments) => block_on(verify::run(arguments)),
            Command::Demo(arguments) => block_on(demo::run(&desk, arguments)),
            Command::Completions(arguments) => Ok(completions::run(&arguments)),
        }
    }
}

/// Runs a command to its end on the threads of an executor.
fn block_on(command: impl Future<Output = Result<Page, Error>>) -> Result<Page, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|why| {
        Error::misfit(format!("no threads can be started: {why}"), "Check the system's limits.")
    })?;
    let page = runtime.block_on(command);
    // What still runs (a compilation of a plugin) is of no use any more.
    runtime.shutdown_background();
    page
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
