//! `pool`: keys that somebody gave, such as a licensing authority.

mod given;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use mintmark_exchange::pool::KeyFile;
use mintmark_rpc::client::Failure;
use mintmark_rpc::proto::admin::{
    BeginKeysRequest, BeginLoadRequest, DestroyPoolRequest, FindKeyFileRequest, ImportKeysRequest,
    ListPoolsRequest, LoadChunkRequest, Pool, PoolProgress,
};
use serde_json::{Value, json};

use crate::cli::Desk;
use crate::client::Client;
use crate::error::Error;
use crate::files;
use crate::output::{Page, table};
use given::Given;

/// What to do with given keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load a file of keys into a pool (headquarters). Where it broke off, the same goes on.
    Load {
        /// Private keys, one after the other: PEM with the label `PRIVATE KEY` (PKCS #8).
        file: PathBuf,
        /// The pool's name.
        #[arg(long)]
        name: String,
        /// What the keys are: ecdsa-p256, ecdsa-p384 or ed25519.
        #[arg(long, default_value = "ecdsa-p256")]
        algorithm: String,
        /// The plugin that may grant from the pool.
        #[arg(long, default_value = "entitlement")]
        plugin: String,
    },
    /// The pools of headquarters, or the key files of a site.
    List,
    /// One of them.
    Show {
        /// The pool's name, or the entitlement's id.
        name: String,
    },
    /// Destroy the keys that are left of a pool, or forget a load that is not whole (headquarters).
    Destroy {
        /// The pool's name.
        name: String,
    },
    /// Write the key file of an entitlement, to be carried to its site (headquarters).
    Export {
        /// The entitlement's id.
        entitlement: String,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take the key file of an entitlement (site). Where it broke off, the same command goes on.
    Import {
        /// The file that headquarters wrote.
        file: PathBuf,
    },
}

/// Carries the command out.
pub(crate) async fn run(desk: &Desk, command: Command) -> Result<Page, Error> {
    let client = desk.connect().await?;
    match command {
        Command::Load { file, name, algorithm, plugin } => {
            load(&client, &file, Announced { name, algorithm, plugin }, desk.json).await
        }
        Command::List => list(&client).await,
        Command::Show { name } => show(&client, &name).await,
        Command::Destroy { name } => {
            let request = DestroyPoolRequest { name: name.clone() };
            let destroyed = client.pools().destroy_pool(request).await.map_err(Failure::from)?;
            let keys = destroyed.into_inner().keys;
            Ok(Page::facts(&[("pool", json!(name)), ("destroyed", json!(keys))]))
        }
        Command::Export { entitlement, out } => {
            let path = export(&client, &entitlement, &out).await?;
            Ok(Page::facts(&[("entitlement", json!(entitlement)), ("keys", json!(path))]))
        }
        Command::Import { file } => import(&client, &file, desk.json).await,
    }
}

/// What a load says of the keys in its file.
struct Announced {
    name: String,
    algorithm: String,
    plugin: String,
}

async fn load(
    client: &Client,
    file: &Path,
    announced: Announced,
    quiet: bool,
) -> Result<Page, Error> {
    let Announced { name, algorithm, plugin } = announced;
    // Read twice: first to say what will come, then to send it.
    let (keys, digest) = given::announce(file)?;
    let digest = digest.to_vec();
    let begin = BeginLoadRequest { name: name.clone(), plugin, algorithm, keys, digest };
    let begun = client.pools().begin_load(begin).await.map_err(Failure::from)?.into_inner();
    let bar = progress("loading", keys, begun.keys, quiet);
    let mut reached = begun;
    let mut chunks = Given::open(file)?;
    for number in 0_u32.. {
        let Some(chunk) = chunks.next_chunk()? else { break };
        if number < begun.chunk {
            continue;
        }
        let keys = chunk.iter().map(|key| key.expose().to_vec()).collect();
        let request = LoadChunkRequest { name: name.clone(), chunk: number, keys };
        reached = client.pools().load_chunk(request).await.map_err(Failure::from)?.into_inner();
        bar.set_position(reached.keys);
    }
    bar.finish_and_clear();
    Ok(arrived(("pool", &name), &begun, &reached))
}

async fn import(client: &Client, file: &Path, quiet: bool) -> Result<Page, Error> {
    let malformed = |_| {
        let what = format!("{} is not a whole key file", file.display());
        Error::misfit(what, "Fetch it again with `pool export` at headquarters.")
    };
    let bytes = files::read(file)?;
    let parsed = KeyFile::parse(&bytes).map_err(malformed)?;
    let chunks = parsed.chunks().map_err(malformed)?;
    let request = BeginKeysRequest { head: parsed.head().to_vec() };
    let begun = client.pools().begin_keys(request).await.map_err(Failure::from)?.into_inner();
    let (entitlement, begun) = (begun.entitlement, begun.progress.unwrap_or_default());
    let bar = progress("importing", chunks.len() as u64, begun.chunk.into(), quiet);
    let mut reached = begun;
    for (number, chunk) in (0_u32..).zip(chunks).skip(begun.chunk as usize) {
        let entitlement = entitlement.clone();
        let request = ImportKeysRequest { entitlement, chunk: number, data: chunk.to_vec() };
        reached = client.pools().import_keys(request).await.map_err(Failure::from)?.into_inner();
        bar.set_position(reached.chunk.into());
    }
    bar.finish_and_clear();
    if !reached.whole {
        return Err(malformed(mintmark_exchange::DecodeError::Malformed));
    }
    Ok(arrived(("entitlement", &entitlement), &begun, &reached))
}

/// Fetches and writes the key file of an entitlement.
pub(super) async fn export(
    client: &Client,
    entitlement: &str,
    out: &Path,
) -> Result<PathBuf, Error> {
    let request = FindKeyFileRequest { entitlement: entitlement.to_owned() };
    let found = client.pools().find_key_file(request).await.map_err(Failure::from)?.into_inner();
    files::write(out, &client.fetch(&found.file_id).await?)
}

fn arrived((what, name): (&str, &str), begun: &PoolProgress, reached: &PoolProgress) -> Page {
    Page::facts(&[
        (what, json!(name)),
        ("keys", json!(reached.keys)),
        ("whole", json!(reached.whole)),
        ("here before", json!(begun.keys)),
    ])
}

async fn list(client: &Client) -> Result<Page, Error> {
    let pools = pools(client).await?;
    let row = |pool: &Pool| {
        vec![
            pool.name.clone(),
            pool.state.clone(),
            pool.algorithm.clone(),
            pool.keys.to_string(),
            pool.arrived.to_string(),
            pool.left.to_string(),
        ]
    };
    let rows: Vec<_> = pools.iter().map(row).collect();
    let heading = ["pool", "state", "algorithm", "keys", "arrived", "left"];
    let json = pools.iter().map(pool_json).collect();
    Ok(Page::new(Value::Array(json), table(&heading, &rows)))
}

async fn show(client: &Client, name: &str) -> Result<Page, Error> {
    let pools = pools(client).await?;
    let pool = pools.into_iter().find(|pool| pool.name == name).ok_or_else(|| {
        Error::misfit(format!("there is no pool `{name}`"), "`pool list` shows what there is.")
    })?;
    Ok(Page::facts(&[
        ("pool", json!(pool.name)),
        ("state", json!(pool.state)),
        ("plugin", json!(pool.plugin)),
        ("algorithm", json!(pool.algorithm)),
        ("keys", json!(pool.keys)),
        ("arrived", json!(pool.arrived)),
        ("left", json!(pool.left)),
    ]))
}

async fn pools(client: &Client) -> Result<Vec<Pool>, Error> {
    let listed = client.pools().list_pools(ListPoolsRequest {}).await;
    Ok(listed.map_err(Failure::from)?.into_inner().pools)
}

fn pool_json(pool: &Pool) -> Value {
    json!({
        "pool": pool.name,
        "state": pool.state,
        "plugin": pool.plugin,
        "algorithm": pool.algorithm,
        "keys": pool.keys,
        "arrived": pool.arrived,
        "left": pool.left,
    })
}

fn progress(what: &str, length: u64, position: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(&format!("{what} {{bar:40}} {{pos}}/{{len}} {{eta}}"));
    let bar = ProgressBar::new(length).with_position(position);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
