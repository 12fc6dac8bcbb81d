//! A root, headquarters, and sites: made with the program's own commands, in a directory of their
//! own.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{self, Served, done, find};

/// Everything that belongs to one root.
pub(crate) struct World {
    place: TempDir,
}

/// One host.
pub(crate) struct Host {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    served: Option<Served>,
}

/// What an order leaves to the test.
pub(crate) struct Order<'a> {
    pub(crate) number: &'a str,
    pub(crate) site: &'a str,
    pub(crate) product: &'a str,
    pub(crate) origin: &'a str,
    pub(crate) pool: &'a str,
    pub(crate) algorithm: &'a str,
    pub(crate) delivery: &'a str,
    pub(crate) total: u64,
    pub(crate) rates: &'a str,
    pub(crate) audit_units: u64,
    pub(crate) window: [&'a str; 2],
    pub(crate) in_doubt_max: u64,
    pub(crate) attempts_max: u32,
    /// Further lines of the terms.
    pub(crate) more_terms: &'a str,
}

impl Default for Order<'_> {
    fn default() -> Self {
        Self {
            number: "PO-1",
            site: "site/shenzhen",
            product: "thermostat-2",
            origin: "device-born",
            pool: "",
            algorithm: "ecdsa-p256",
            delivery: "none",
            total: 20,
            rates: "unlimited_rate = true",
            audit_units: 1_000,
            window: ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"],
            in_doubt_max: 100_000,
            attempts_max: 8,
            more_terms: "",
        }
    }
}

impl World {
    /// A fresh root.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let world = Self { place };
        let authority = world.path("ca");
        done(&["ca", "init", "--organization", "acme", "--out", text(&authority)]);
        world
    }

    /// A path in the world's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A host that is initialised, serves, and has its plugin.
    pub(crate) fn host(&self, role: &str, name: &str) -> Host {
        self.host_of(role, name, &["anna"])
    }

    /// The same with these admins; anna is the first, and any two of several approve.
    pub(crate) fn host_of(&self, role: &str, name: &str, admins: &[&str]) -> Host {
        let plugin = if role == "site" { "device-key" } else { "entitlement" };
        self.host_with((role, name), admins, &["--bundled", plugin])
    }

    /// A host whose plugin is another one.
    pub(crate) fn host_with(
        &self,
        (role, name): (&str, &str),
        admins: &[&str],
        plugin: &[&str],
    ) -> Host {
        let host = self.prepared(role, name, admins);
        let mut host = Host { served: None, ..host };
        host.start();
        for admin in &admins[1..] {
            host.issue("admin", admin, &[]);
        }
        host.done(&[&["plugin", "install"], plugin, &["--activate"]].concat());
        host
    }

    /// Headquarters `berlin` and site `shenzhen`, which know each other.
    pub(crate) fn pair(&self) -> (Host, Host) {
        let headquarters = self.host("headquarters", "berlin");
        let site = self.host("site", "shenzhen");
        self.introduce(&headquarters, &site);
        (headquarters, site)
    }

    /// Headquarters learns who the site is.
    pub(crate) fn introduce(&self, headquarters: &Host, site: &Host) {
        let file = self.path(&format!("{}.identity", site.name));
        site.done(&["identity", "export", "--out", text(&file)]);
        headquarters.done(&["identity", "import", text(&file)]);
    }

    /// An entitlement that headquarters made and the site took; gives its id and file.
    pub(crate) fn entitle(&self, pair: (&Host, &Host), order: &Order<'_>) -> (String, PathBuf) {
        let (headquarters, site) = pair;
        let (entitlement, file) = self.create(headquarters, order);
        site.done(&["entitlement", "import", text(&file)]);
        (entitlement, file)
    }

    /// An entitlement that headquarters made.
    pub(crate) fn create(&self, headquarters: &Host, order: &Order<'_>) -> (String, PathBuf) {
        let path = self.path(&format!("{}.toml", order.number));
        std::fs::write(&path, order.to_toml()).unwrap();
        let file = self.path(&format!("{}.entitlement", order.number));
        let arguments = ["entitlement", "create", text(&path), "--out", text(&file)];
        let created = headquarters.done(&arguments);
        (find(&created, "entitlement").unwrap(), file)
    }

    /// The bundle of a site, carried to headquarters; gives the answer, and the receipt's file.
    pub(crate) fn report(&self, pair: (&Host, &Host), name: &str) -> (Value, PathBuf) {
        let (headquarters, site) = pair;
        let bundle = self.path(&format!("{name}.bundle"));
        let receipt = self.path(&format!("{name}.receipt"));
        site.done(&["audit", "export", "--out", text(&bundle)]);
        let arguments = ["audit", "ingest", text(&bundle), "--receipt", text(&receipt)];
        let ended = headquarters.run(&arguments);
        (ended.answer, receipt)
    }

    fn prepared(&self, role: &str, name: &str, admins: &[&str]) -> Host {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "node = \"node-1\"\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
             platform_dir = \"platform\"\n[cluster]\norganization = \"acme\"\n\
             role = \"{role}\"\nname = \"{name}\"\n[limits]\nfree_mib_min = 16\n\
             [logs]\nfilter = \"warn\"\nformat = \"text\"\n"
        );
        std::fs::write(folder.join("host.toml"), config).unwrap();
        let host = Host { folder, name: name.to_owned(), served: None };
        let out = text(&host.folder);
        for admin in admins {
            done(&["user", "key", admin, "--out", out]);
        }
        done(&["init", "--config", &host.at("host.toml"), "--out", out]);
        let (csr, anna) = (host.at(&format!("{name}.csr.pem")), host.at("anna.csr.pem"));
        let authority = self.path("ca");
        let floor = if admins.len() > 1 { "2" } else { "1" };
        let mut sign = vec!["ca", "sign-cluster", "--ca", text(&authority), "--floor", floor];
        let key = |admin: &&str| format!("{admin}={}", host.at(&format!("{admin}.csr.pem")));
        let approvers: Vec<_> = admins.iter().map(key).collect();
        sign.extend(approvers.iter().flat_map(|approver| ["--approver", approver]));
        sign.extend(["--csr", &csr, "--out", out]);
        done(&sign);
        let certificate = host.at(&format!("{name}.ca.pem"));
        let charter = host.at(&format!("{name}.charter"));
        let config = host.at("host.toml");
        let root = host.at("root.pem");
        let answer = ["--root", &root, "--certificate", &certificate, "--charter", &charter];
        let admin = ["--admin-csr", &anna, "--admin-name", "anna", "--out", out];
        done(&[&["init", "--config", &config][..], &answer[..], &admin[..]].concat());
        host
    }
}

impl Host {
    /// A path in the host's directory, as an argument.
    pub(crate) fn at(&self, name: &str) -> String {
        text(&self.folder.join(name)).to_owned()
    }

    /// Starts the host, and tells everybody's context where it listens now.
    pub(crate) fn start(&mut self) {
        self.start_in(&[]);
    }

    /// [`start`](Self::start) with these variables in the environment.
    pub(crate) fn start_in(&mut self, environment: &[(&str, &str)]) {
        let served = program::serve(&self.folder.join("host.toml"), environment);
        for entry in std::fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            if text(&path).ends_with(".context.toml") {
                set_address(&path, &served.address);
            }
        }
        self.served = Some(served);
    }

    /// The number of the process that serves.
    pub(crate) fn process(&self) -> u32 {
        self.served.as_ref().unwrap().process()
    }

    /// Ends the host as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.served.take().unwrap().kill();
    }

    /// A copy of a host that does not run, under another path of the world's.
    pub(crate) fn copied(&self, world: &World, name: &str) -> Self {
        let folder = world.path(name);
        copy_folder(&self.folder, &folder);
        Self { folder, name: self.name.clone(), served: None }
    }

    /// A person or station with a certificate; gives the path of the context.
    pub(crate) fn user(&self, role: &str, name: &str, more: &[&str]) -> String {
        let out = text(&self.folder);
        let sealing = more.contains(&"--sealing-csr");
        let mut key = vec!["user", "key", name, "--out", out];
        key.extend(sealing.then_some("--sealing"));
        done(&key);
        self.issue(role, name, more)
    }

    /// A certificate for somebody who has a key; gives the path of the context.
    fn issue(&self, role: &str, name: &str, more: &[&str]) -> String {
        let (out, csr) = (text(&self.folder), self.at(&format!("{name}.csr.pem")));
        let issue = ["user", "issue", "--role", role, "--name", name, "--csr", &csr, "--out", out];
        self.done(&[&issue[..], more].concat());
        self.at(&format!("{name}.context.toml"))
    }

    /// Runs a command as the admin; it must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{}", ended.text);
        ended.answer
    }

    /// Runs a command as the admin; it must be refused. Gives the reason.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let context = self.at("anna.context.toml");
        program::refused(&[&["--context", &context][..], arguments].concat())
    }

    /// Runs a command as the admin.
    pub(crate) fn run(&self, arguments: &[&str]) -> program::Ended {
        self.run_as("anna", arguments)
    }

    /// Runs a command as somebody with a context.
    pub(crate) fn run_as(&self, name: &str, arguments: &[&str]) -> program::Ended {
        let context = self.at(&format!("{name}.context.toml"));
        program::run(&[&["--context", &context][..], arguments].concat())
    }
}

impl Order<'_> {
    pub(crate) fn to_toml(&self) -> String {
        let Self { number, site, product, origin, algorithm, delivery, total, rates, .. } = self;
        let (audit, [from, until]) = (self.audit_units, self.window);
        let (in_doubt, attempts) = (self.in_doubt_max, self.attempts_max);
        let pool = match self.pool {
            "" => String::new(),
            pool => format!("pool = \"{pool}\"\n"),
        };
        let more = self.more_terms;
        format!(
            "order_number = \"{number}\"\nsite = \"{site}\"\n\
             [product]\nid = \"{product}\"\nname = \"Thermostat 2\"\norigin = \"{origin}\"\n{pool}\
             algorithm = \"{algorithm}\"\ndelivery = \"{delivery}\"\n\
             [product.assigned_serial]\nprefix = \"{number}-\"\ndigits = 8\nstart = 1\n\
             check = \"luhn\"\n\
             [product.certificate]\norganization = \"Acme\"\nmodel = \"Thermostat 2\"\n\
             [terms]\ntotal = {total}\nnot_before = \"{from}\"\n\
             not_after = \"{until}\"\n{rates}\n\
             audit_return = {{ units = {audit}, seconds = 604800 }}\nmax_in_doubt = {in_doubt}\n\
             max_attempts_per_subject = {attempts}\n\
             scrap_allowance = 5\nconfirm_proof = \"required\"\ngrace_seconds = 86400\n\
             max_pause_seconds = 1000000000\n\
             {more}\n"
        )
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &to),
            false => drop(std::fs::copy(&path, &to).unwrap()),
        }
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn set_address(context: &Path, address: &str) {
    let old = std::fs::read_to_string(context).unwrap();
    let line = |line: &str| match line.starts_with("address") {
        true => format!("address = \"{address}\"\n"),
        false => format!("{line}\n"),
    };
    std::fs::write(context, old.lines().map(line).collect::<String>()).unwrap();
}
