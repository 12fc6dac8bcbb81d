//! Who may call the host's own methods. A test fails on a method of the protos that is not in the
//! golden matrix.
//!
//! Plugins' methods have their roles in the plugins' manifests.

use mintmark_model::Role::{self, Admin, Auditor, Operator, Publisher};

/// The roles of each method. What is not here cannot be called.
const METHODS: &[(&str, &[Role])] = &[
    ("/mintmark.admin.v1.Approvals/ChangeApprovers", &[Admin]),
    ("/mintmark.admin.v1.Approvals/Decide", &[Admin]),
    ("/mintmark.admin.v1.Approvals/ListApprovals", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Approvals/ShowApprovers", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Backups/Backup", &[Admin]),
    ("/mintmark.admin.v1.Backups/ReadLedger", &[Admin, Auditor]),
    ("/mintmark.admin.v1.Clock/AcknowledgeClock", &[Admin]),
    ("/mintmark.admin.v1.Clock/LowerClock", &[Admin]),
    ("/mintmark.admin.v1.Clock/ShowClock", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Files/Fetch", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Files/Stage", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Files/StageBegin", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Ledger/ProveDevice", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Outbox/ListOutbox", &[Admin, Auditor]),
    ("/mintmark.admin.v1.Outbox/OpenStream", &[Admin]),
    ("/mintmark.admin.v1.Peers/ExportIdentity", &[Admin, Auditor]),
    ("/mintmark.admin.v1.Peers/ImportIdentity", &[Admin]),
    ("/mintmark.admin.v1.Peers/ListPeers", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Peers/RotateKeys", &[Admin]),
    ("/mintmark.admin.v1.Plugins/Activate", &[Admin]),
    ("/mintmark.admin.v1.Plugins/InspectPlugin", &[Admin, Operator, Auditor, Publisher]),
    ("/mintmark.admin.v1.Plugins/Install", &[Admin]),
    ("/mintmark.admin.v1.Plugins/ListPlugins", &[Admin, Operator, Auditor, Publisher]),
    ("/mintmark.admin.v1.Pools/BeginKeys", &[Admin, Operator]),
    ("/mintmark.admin.v1.Pools/BeginLoad", &[Admin]),
    ("/mintmark.admin.v1.Pools/DestroyPool", &[Admin]),
    ("/mintmark.admin.v1.Pools/FindKeyFile", &[Admin, Auditor]),
    ("/mintmark.admin.v1.Pools/ImportKeys", &[Admin, Operator]),
    ("/mintmark.admin.v1.Pools/ListPools", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Pools/LoadChunk", &[Admin]),
    ("/mintmark.admin.v1.Status/ShowStatus", &[Admin, Operator, Auditor]),
    ("/mintmark.admin.v1.Users/IssueUser", &[Admin]),
    ("/mintmark.admin.v1.Users/RevokeUser", &[Admin]),
];

/// Says what the host serves, and nothing about its data: open to whoever has a principal.
const OPEN: &[&str] = &[
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];

/// The roles that may call a method of the host; none for a path that is not the host's.
pub(crate) fn of(path: &str) -> Option<&'static [Role]> {
    if OPEN.contains(&path) {
        return Some(Role::ALL);
    }
    METHODS.iter().find(|(method, _)| *method == path).map(|(_, roles)| *roles)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::ADMIN_DESCRIPTORS;

    /// Every method of the protos.
    fn methods() -> Vec<String> {
        let set = FileDescriptorSet::decode(ADMIN_DESCRIPTORS).unwrap();
        let mut paths = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let (package, name) = (file.package(), service.name());
                    paths.push(format!("/{package}.{name}/{}", method.name()));
                }
            }
        }
        paths.sort();
        paths
    }

    /// The matrix: a line for each method, a column for each role.
    fn matrix() -> String {
        let mut out = String::new();
        for path in methods().iter().map(String::as_str).chain(OPEN.iter().copied()) {
            write!(out, "{path:<58}").unwrap();
            let roles = of(path).unwrap_or_else(|| panic!("{path} has no entry in the table"));
            for role in Role::ALL {
                let allowed = if roles.contains(role) { role.name() } else { "-" };
                write!(out, " {allowed:<9}").unwrap();
            }
            out.truncate(out.trim_end().len());
            out.push('\n');
        }
        out
    }

    #[test]
    fn g8_the_matrix_of_roles_is_the_reviewed_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/roles.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, matrix()).unwrap();
        }
        let reviewed = std::fs::read_to_string(path).unwrap();
        assert_eq!(reviewed, matrix(), "write it anew with UPDATE_GOLDEN=1 and review the change");
    }

    #[test]
    fn the_table_names_only_methods_that_exist() {
        let methods = methods();
        for (path, roles) in METHODS {
            assert!(methods.iter().any(|method| method == path), "{path} does not exist");
            assert!(!roles.is_empty(), "nobody may call {path}");
        }
    }

    #[test]
    fn unknown_paths_have_no_roles() {
        for path in ["", "/", "/mintmark.admin.v1.Users", "/mintmark.admin.v1.Users/IssueUser/"] {
            assert!(of(path).is_none(), "{path}");
        }
    }
}
