//! What a component may import: what its manifest claims, and of WASI what a Rust standard library
//! cannot do without.

use mintmark_custody::SlotKind;

use crate::error::{Error, foreign};
use crate::manifest::Manifest;

/// No files, no sockets, no environment that has anything in it. Clocks are site time, randomness
/// is the host's.
const WASI: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Refuses the first import that is not allowed.
pub(super) fn check(imports: &[String], manifest: &Manifest) -> Result<(), Error> {
    imports.iter().try_for_each(|import| check_one(import, manifest))
}

fn check_one(import: &str, manifest: &Manifest) -> Result<(), Error> {
    let forbidden = || Error::ImportForbidden(foreign(import));
    let (name, version) = import.split_once('@').ok_or_else(forbidden)?;
    if let Some(interface) = name.strip_prefix("mintmark:host/") {
        if !version.starts_with("0.1.") {
            return Err(Error::Contract(foreign(import)));
        }
        return match claim(interface, manifest).ok_or_else(forbidden)? {
            None => Ok(()),
            Some(claim) => Err(Error::ImportUnclaimed { import: foreign(import), claim }),
        };
    }
    let allowed = WASI.contains(&name) && version.starts_with("0.2.");
    if allowed { Ok(()) } else { Err(forbidden()) }
}

/// What the manifest would have to claim for the interface and does not; none for an interface that
/// is not there.
fn claim(interface: &str, manifest: &Manifest) -> Option<Option<&'static str>> {
    let makes = |kind| manifest.slots.iter().any(|slot| slot.kind == kind);
    let (claimed, claim) = match interface {
        // What is behind them belongs to the call or to the plugin itself, is public, or asks for
        // claims of its own.
        "types" | "caller" | "clock" | "log" | "records" | "peers" | "certificates" | "ledger" => {
            (true, "")
        }
        "keys" => (!manifest.slots.is_empty(), "key slot"),
        "key-sets" => (makes(SlotKind::KeySet), "slot of the kind `key-set`"),
        "messages" => (!(manifest.sends.is_empty() && manifest.receives.is_empty()), "message"),
        "transfers" => (!manifest.transfers.is_empty(), "transfer"),
        "allotments" => (manifest.transfers.iter().any(|one| one == "import"), "transfer `import`"),
        _ => return None,
    };
    Some((!claimed).then_some(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(rest: &str) -> Manifest {
        let begin = "name = \"p\"\nversion = \"1.0.0\"\nsecurity_version = 0\ncontract = \"0.1.0\"";
        let services = "[services.\"a.B\"]\nC = [\"admin\"]";
        Manifest::parse(&format!("{begin}\n{services}\n{rest}")).unwrap()
    }

    fn refusal(import: &str, rest: &str) -> Option<Error> {
        check(&[import.to_owned()], &manifest(rest)).err()
    }

    #[test]
    fn w20_what_is_not_on_the_list_is_refused_by_name() {
        for import in [
            "wasi:filesystem/types@0.2.6",
            "wasi:filesystem/preopens@0.2.6",
            "wasi:sockets/tcp@0.2.6",
            "wasi:http/outgoing-handler@0.2.6",
            "wasi:cli/stdout@0.3.0",
            "wasi:cli/stdout",
            "mintmark:host/secrets@0.1.0",
            "mintmark:admin/keys@0.1.0",
            "env",
            "",
        ] {
            assert_eq!(refusal(import, ""), Some(Error::ImportForbidden(import.into())));
        }
        assert_eq!(refusal("wasi:cli/stdout@0.2.6", ""), None);
    }

    #[test]
    fn an_import_needs_its_claim() {
        let slot = |kind: &str| {
            format!(
                "[[slots]]\nkind = \"{kind}\"\nname = \"x\"\nalgorithms = [\"ecdsa-p256\"]\n\
                 operations = [\"sign\"]"
            )
        };
        for (interface, claim) in [
            ("keys", slot("key")),
            ("key-sets", slot("key-set")),
            ("messages", "[messages]\nsend = [\"bundle\"]".into()),
            ("transfers", "[transfers]\nclaims = [\"receipt\"]".into()),
            ("allotments", "[transfers]\nclaims = [\"import\"]".into()),
        ] {
            let import = format!("mintmark:host/{interface}@0.1.0");
            let unclaimed = refusal(&import, "");
            assert!(matches!(unclaimed, Some(Error::ImportUnclaimed { .. })), "{interface}");
            assert_eq!(refusal(&import, &claim), None, "{interface}");
        }
        let other = refusal("mintmark:host/keys@0.2.0", &slot("key"));
        assert!(matches!(other, Some(Error::Contract(_))));
    }
}
