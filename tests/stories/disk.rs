//! A site's disk that others fill, files of the host's that somebody removes or opens to others, a
//! process without descriptors: with real file systems and real processes.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::program::{self, find};
use crate::station::{Device, Station};
use crate::tools;
use crate::world::{Host, Order, World, text};

/// How large the site's disk is; the host's mark is a sixth of it.
const DISK: &str = "size=96m";
/// The same, for few files.
const FEW_FILES: &str = "size=96m,nr_inodes=64";
/// How often a state is asked for that comes within a second or two.
const PATIENCE: usize = 300;

/// A file system of its own in memory, mounted over a directory.
struct Mounted {
    place: PathBuf,
}

impl Mounted {
    /// Mounts it, with what was in the directory. None where that is not allowed.
    fn over(place: PathBuf, options: &str) -> Option<Self> {
        let before = place.with_extension("before");
        std::fs::rename(&place, &before).unwrap();
        std::fs::create_dir(&place).unwrap();
        let mount = ["-t", "tmpfs", "-o", options, "mintmark-test", text(&place)];
        let mounted = Command::new("mount").args(mount).status().is_ok_and(|ended| ended.success());
        if !mounted {
            tools::is_missing(tools::MOUNT);
            return None;
        }
        // With the `.`, what is in the directory and not the directory.
        let from = format!("{}/.", text(&before));
        let copied = Command::new("cp").args(["-a", "--", &from, text(&place)]).status();
        assert!(copied.unwrap().success());
        Some(Self { place })
    }

    /// Another program fills it.
    fn fill(&self) {
        let mut others = std::fs::OpenOptions::new();
        let mut others = others.create(true).append(true).open(self.others()).unwrap();
        for piece in [&[1; 1 << 20][..], &[1; 4096], &[1]] {
            while others.write_all(piece).is_ok() {}
        }
    }

    /// Another program makes files, until there can be no more; says how many.
    fn fill_with_files(&self) -> usize {
        let files = (0..).map(|number| self.place.join(format!("other-{number}")));
        let more = files.skip_while(|file| file.exists());
        more.take_while(|file| std::fs::File::create_new(file).is_ok()).count()
    }

    fn free(&self) {
        std::fs::remove_file(self.others()).unwrap();
    }

    fn others(&self) -> PathBuf {
        self.place.join("others")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A host that still runs where a test failed keeps it until it ends.
        let _ = Command::new("umount").args(["-l", text(&self.place)]).status();
    }
}

/// A site with an entitlement, and who works there.
struct Line<'a> {
    world: &'a World,
    site: Host,
    entitlement: String,
}

impl<'a> Line<'a> {
    fn new(world: &'a World) -> Self {
        let (headquarters, site) = world.pair();
        let (entitlement, _) = world.entitle((&headquarters, &site), &Order::default());
        Self { world, site, entitlement }
    }

    fn provision(&self, subject: &str) -> program::Ended {
        let out = self.world.path("devices");
        let arguments = ["device", "provision", subject, "--entitlement", &self.entitlement];
        self.site.run(&[&arguments[..], &["--out", text(&out)]].concat())
    }

    fn makes(&self, subject: &str) {
        let ended = self.provision(subject);
        assert_eq!(ended.code, 0, "{}", ended.text);
    }

    fn confirm(&self, subject: &str) -> program::Ended {
        let from = self.world.path("devices");
        let arguments = ["device", "confirm", subject, "--entitlement", &self.entitlement];
        self.site.run(&[&arguments[..], &["--from", text(&from)]].concat())
    }

    fn storage(&self) -> Value {
        self.site.done(&["status"])["storage"].clone()
    }

    /// Waits until the host has looked.
    fn becomes(&self, state: &str) {
        let seen = (0..PATIENCE).any(|_| self.storage()["state"] == state);
        assert!(seen, "{}", self.storage());
    }
}

/// Refused for this reason.
fn is_refused(ended: &program::Ended, reason: &str) {
    assert_ne!(ended.code, 0, "{}", ended.text);
    assert_eq!(find(&ended.answer, "reason").as_deref(), Some(reason), "{}", ended.text);
}

#[test]
fn s4_a_disk_that_others_fill_ends_nothing_but_what_is_new_and_the_host_goes_on_by_itself() {
    let world = World::new();
    let mut line = Line::new(&world);
    line.site.kill();
    let Some(disk) = Mounted::over(line.site.folder.join("data"), DISK) else { return };
    let config = line.site.at("host.toml");
    line.site.start();
    assert_eq!(line.storage()["state"], "ample");
    for subject in ["SN-1", "SN-2", "SN-3"] {
        line.makes(subject);
    }

    disk.fill();
    line.becomes("low");
    is_refused(&line.provision("SN-4"), "STORAGE_FULL");
    // Nothing is free but what the host had taken for this.
    let ended = line.confirm("SN-1");
    assert_eq!(ended.code, 0, "{}", ended.text);
    let fail = ["device", "fail", "SN-2", "--entitlement", &line.entitlement];
    line.site.done(&[&fail[..], &["--kind", "permanent", "--detail", "no radio"]].concat());
    let bundle = world.path("low.bundle");
    line.site.done(&["audit", "export", "--out", text(&bundle)]);

    // Others take that as well.
    disk.fill();
    line.becomes("full");
    is_refused(&line.confirm("SN-3"), "STORAGE_FULL");
    line.site.kill();
    let ended = program::run(&["serve", "--config", &config, "--stop-with-stdin"]);
    is_refused(&ended, "STORAGE_FULL");

    disk.free();
    line.site.start();
    let ended = line.confirm("SN-3");
    assert_eq!(ended.code, 0, "{}", ended.text);
    disk.fill();
    line.becomes("low");
    disk.free();
    line.becomes("ample");
    line.makes("SN-4");
    line.site.kill();
    program::done(&["verify", "--config", &config]);
}

#[test]
fn s4_a_disk_that_takes_no_more_files_stops_nothing() {
    let world = World::new();
    let mut line = Line::new(&world);
    line.site.kill();
    let data = line.site.folder.join("data");
    let Some(disk) = Mounted::over(data, FEW_FILES) else { return };
    line.site.start();
    line.makes("SN-1");
    assert_ne!(disk.fill_with_files(), 0);
    let ended = line.confirm("SN-1");
    assert_eq!(ended.code, 0, "{}", ended.text);
    line.makes("SN-2");
    // Not the start either, which cannot take its reserve then.
    line.site.kill();
    disk.fill_with_files();
    line.site.start();
    disk.fill_with_files();
    line.makes("SN-3");
    let bundle = world.path("no-files.bundle");
    line.site.done(&["audit", "export", "--out", text(&bundle)]);
    line.site.kill();
    program::done(&["verify", "--config", &line.site.at("host.toml")]);
}

#[test]
fn s10_permissions_that_somebody_changes_are_looked_at_when_the_host_starts() {
    let world = World::new();
    let mut line = Line::new(&world);
    let (store, secret) = (line.site.at("data/store.redb"), line.site.at("platform/secret"));
    let config = line.site.at("host.toml");
    let start = || program::run(&["serve", "--config", &config, "--stop-with-stdin"]);
    line.makes("SN-1");
    allow(&store, 0o000);
    allow(&secret, 0o000);
    line.makes("SN-2");
    line.site.kill();
    if std::fs::File::open(&store).is_err() {
        is_refused(&start(), "READ_ONLY");
    } else {
        eprintln!("this user may read everything: not run without the right to");
    }
    // The store is sealed, whoever reads it; who reads the secret can open it.
    allow(&store, 0o644);
    allow(&secret, 0o644);
    let ended = start();
    assert_ne!(ended.code, 0, "{}", ended.text);
    assert!(ended.text.contains("readable by others"), "{}", ended.text);
    allow(&secret, 0o600);
    line.site.start();
    line.makes("SN-3");
    line.site.kill();
    program::done(&["verify", "--config", &config]);
}

/// Sets who may read and write a file.
fn allow(file: &str, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(file, permissions).unwrap();
}

#[test]
fn s10_a_store_that_somebody_removes_ends_the_releases_and_is_saved_by_a_backup() {
    let world = World::new();
    let mut line = Line::new(&world);
    line.makes("SN-1");
    std::fs::remove_file(line.site.folder.join("data/store.redb")).unwrap();
    line.becomes("gone");
    let ended = line.provision("SN-2");
    is_refused(&ended, "LEDGER_UNAVAILABLE");
    assert!(ended.text.contains("make a backup"), "{}", ended.text);
    let backup = world.path("saved.backup");
    line.site.done(&["backup", "--out", text(&backup)]);
    let config = line.site.at("host.toml");
    let rehearsal = ["restore", text(&backup), "--config", &config, "--verify"];
    program::done(&rehearsal);
    line.site.kill();
    let ended = program::run(&["serve", "--config", &config, "--stop-with-stdin"]);
    assert_ne!(ended.code, 0, "nothing is made in its place: {}", ended.text);
    assert!(!Path::new(&line.site.at("data/store.redb")).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_host_without_descriptors_serves_who_is_connected_and_others_when_it_has_some() {
    let world = World::new();
    let line = Line::new(&world);
    let context = line.site.user("station", "tester-1", &[]);
    let station = Station::open(&context, &line.entitlement).await.unwrap();
    let device = Device::new("SN-1");
    let first = station.provision(&device).await.unwrap();
    // No new file or connection gets a number below the standard ones.
    let Some(before) = limit_descriptors(line.site.process(), None) else { return };
    limit_descriptors(line.site.process(), Some("3"));
    let (place, entitlement) = (context.clone(), line.entitlement.clone());
    let other = tokio::spawn(async move { Station::open(&place, &entitlement).await });
    assert_eq!(station.provision(&device).await.unwrap(), first);
    station.confirm(&device, &first).await.unwrap();
    station.provision(&Device::new("SN-2")).await.unwrap();
    limit_descriptors(line.site.process(), Some(&before));
    // Whoever came meanwhile is let in, or comes again.
    drop(other.await.unwrap());
    let other = Station::open(&context, &line.entitlement).await.unwrap();
    assert_eq!(other.provision(&device).await.unwrap(), first);
}

/// Sets the limit on a process's descriptors, or says what it is. None where there is no
/// `prlimit`.
fn limit_descriptors(process: u32, limit: Option<&str>) -> Option<String> {
    let nofile = limit.map_or("--nofile".to_owned(), |limit| format!("--nofile={limit}:"));
    let process = process.to_string();
    let arguments = ["--pid", &process, &nofile, "--noheadings", "--raw", "--output", "SOFT"];
    let ended = Command::new("prlimit").args(arguments).output().ok();
    let Some(ended) = ended.filter(|ended| ended.status.success()) else {
        tools::is_missing(tools::PRLIMIT);
        return None;
    };
    Some(String::from_utf8(ended.stdout).unwrap().trim().to_owned())
}
