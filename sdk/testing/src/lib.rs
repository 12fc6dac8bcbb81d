//! A native in-memory host for plugin tests, with the real custody code.
//!
//! Policy, cryptography, certificates, allotments, messages and ledger are those of the host that
//! plugins run on; only store, platform and clocks are the test's. So `cargo test` shows natively
//! what a plugin may do, what is refused and why, and what is left after a failure. What only the
//! runtime does is not here: budgets of time, memory and host calls.
//!
//! ```
//! use mintmark_sdk::{Error, keys::{Algorithm, Key, KeyPolicy, Operations}, records};
//! # use mintmark_sdk::{Package, Plugin, Status};
//! use mintmark_sdk_testing::World;
//! # struct Labels;
//! # impl Plugin for Labels {
//! #     const NAME: &'static str = "labels";
//! #     const VERSION: &'static str = "0.1.0";
//! #     const SERVICES: &'static [&'static str] = &["acme.labels.v1.Labels"];
//! #     fn dispatch(_: &str, _: &str, _: &[u8]) -> Result<Vec<u8>, Status> {
//! #         records::put("made", "1")?;
//! #         Ok(Vec::new())
//! #     }
//! # }
//! # // What `register!` writes.
//! # impl Package for Labels {
//! #     const MANIFEST: &'static str = r#"
//! #         name = "labels"
//! #         version = "0.1.0"
//! #         security_version = 1
//! #         contract = "0.1.0"
//! #         [services."acme.labels.v1.Labels"]
//! #         Print = ["operator"]
//! #         [[slots]]
//! #         kind = "key"
//! #         name = "labels"
//! #         algorithms = ["ed25519"]
//! #         operations = ["sign"]
//! #     "#;
//! #     const DESCRIPTORS: &'static [u8] = &[];
//! # }
//!
//! let world = World::new();
//! let mut site = world.site("shenzhen");
//! site.install::<Labels>();
//!
//! // A method, as a client calls it: from the caller's role to the commit.
//! let printed: () = site.call("operator", "mei", "Print", &())?;
//! let refused = site.call::<()>("station", "line-4", "Print", &()).unwrap_err();
//! assert_eq!(refused.reason, "PERMISSION_DENIED");
//!
//! // Or any code of the plugin's, in one call of its own.
//! let signature = site.run::<Labels, _>("operator", "mei", || {
//!     let policy = KeyPolicy::new(Operations::SIGN);
//!     Ok(Key::open_or_generate("labels", Algorithm::ED25519, &policy)?.sign(b"lot 7")?)
//! })?;
//! assert_eq!(signature.len(), 64);
//! # Ok::<(), Status>(())
//! ```
//!
//! Two hosts of one [`World`] have one root. [`World::introduce`] carries identities across the
//! gap, [`TestHost::fetch`] and [`TestHost::stage`] carry files. [`Office`] is headquarters' plugin
//! in tests of a site's. What answers `APPROVAL_REQUIRED` succeeds after [`TestHost::approve`].

mod approvers;
mod backend;
mod chance;
mod clock;
mod device;
mod disk;
mod hardware;
mod host;
mod machine;
mod manifest;
mod office;
mod run;
mod space;
mod world;

pub use approvers::{APPROVERS, QUORUM, Voter};
pub use chance::Chance;
pub use clock::TestClock;
pub use device::{Device, Station};
pub use disk::{DiskFault, SimulatedDisk};
pub use hardware::{Hardware, NODE};
pub use host::{Stopped, TestHost};
pub use machine::{Machine, SimulatedPlatform};
pub use office::Office;
pub use space::TestSpace;
pub use world::World;

pub use mintmark_sdk as sdk;
