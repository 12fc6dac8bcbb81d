//! Several people for one act, with real processes and real keys.

use crate::program::{done, find};
use crate::world::{Host, Order, World, text};

pub(crate) const ADMINS: [&str; 3] = ["anna", "bela", "chen"];

/// The request that a command of anna's waits with.
pub(crate) fn waits(host: &Host, arguments: &[&str]) -> String {
    let ended = host.run(arguments);
    assert_ne!(ended.code, 0, "{}", ended.text);
    assert_eq!(find(&ended.answer, "reason").as_deref(), Some("APPROVAL_REQUIRED"));
    find(&ended.answer, "request").unwrap_or_else(|| panic!("no request: {}", ended.text))
}

pub(crate) fn done_as(host: &Host, name: &str, arguments: &[&str]) -> serde_json::Value {
    let ended = host.run_as(name, arguments);
    assert_eq!(ended.code, 0, "{}", ended.text);
    ended.answer
}

fn reason_as(host: &Host, name: &str, arguments: &[&str]) -> Option<String> {
    let ended = host.run_as(name, arguments);
    assert_ne!(ended.code, 0, "{}", ended.text);
    find(&ended.answer, "reason")
}

/// One of the two signs at another machine; the host is killed in between.
#[test]
fn two_of_three_admins_grant_a_large_order_once() {
    let world = World::new();
    let mut headquarters = world.host_of("headquarters", "berlin", &ADMINS);
    let site = world.host("site", "shenzhen");
    world.introduce(&headquarters, &site);
    let large = Order { total: 2_000_000, ..Order::default() };
    let path = world.path("large.toml");
    std::fs::write(&path, large.to_toml()).unwrap();
    let out = world.path("large.entitlement");
    let create = ["entitlement", "create", text(&path), "--out", text(&out)];
    let request = waits(&headquarters, &create);
    assert_eq!(waits(&headquarters, &create), request, "asking again is no other request");

    let shown = done_as(&headquarters, "bela", &["approvals", "show", &request]);
    let words = find(&shown, "what_is_done").unwrap();
    assert!(words.contains("2000000 units to spiffe://acme/site/shenzhen"), "{words}");
    let approve = ["approvals", "approve", &request];
    assert_eq!(reason_as(&headquarters, "anna", &approve).as_deref(), Some("PERMISSION_DENIED"));
    let given = done_as(&headquarters, "bela", &approve);
    assert_eq!(find(&given, "given").as_deref(), Some("1"));
    assert_eq!(waits(&headquarters, &create), request, "one is not enough");

    headquarters.kill();
    headquarters.start();
    let [file, statement] = ["chen.request", "chen.statement"].map(|name| world.path(name));
    headquarters.done(&["approvals", "show", &request, "--out", text(&file)]);
    let key = headquarters.at("chen.key.pem");
    let sign = ["approvals", "sign", "--request", text(&file), "--key", &key];
    let signed = done(&[&sign[..], &["--out", text(&statement)]].concat());
    assert_eq!(find(&signed, "request"), Some(request.clone()));
    let handed = headquarters.done(&["approvals", "submit", text(&statement)]);
    assert_eq!(find(&handed, "given").as_deref(), Some("2"));

    let created = headquarters.done(&create);
    site.done(&["entitlement", "import", text(&out)]);
    // The same order is the same entitlement, and asks nobody again.
    assert_eq!(find(&headquarters.done(&create), "entitlement"), find(&created, "entitlement"));
    let submit = ["approvals", "submit", text(&statement)];
    assert_eq!(reason_as(&headquarters, "anna", &submit).as_deref(), Some("NOT_FOUND"));
    let left = headquarters.done(&["approvals", "list"]);
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
}

#[test]
fn who_joins_and_who_approves_is_decided_by_several_and_a_no_ends_it() {
    let world = World::new();
    let site = world.host_of("site", "shenzhen", &ADMINS);
    done(&["user", "key", "eve", "--out", text(&site.folder)]);
    let csr = site.at("eve.csr.pem");
    let issue = ["user", "issue", "--role", "auditor", "--name", "eve", "--csr", &csr];
    let issue = [&issue[..], &["--out", text(&site.folder)]].concat();
    let request = waits(&site, &issue);
    done_as(&site, "chen", &["approvals", "deny", &request]);
    let again = waits(&site, &issue);
    assert_ne!(again, request);
    let begin: String = again.chars().take(12).collect();
    for name in ["bela", "chen"] {
        done_as(&site, name, &["approvals", "approve", &begin]);
    }
    site.done(&issue);
    let shown = done_as(&site, "eve", &["approvals", "charter", "show"]);
    assert_eq!(find(&shown, "version").as_deref(), Some("1"));

    let eve = format!("eve={csr}");
    let change = ["approvals", "charter", "change", "--add", &eve, "--remove", "anna"];
    let request = waits(&site, &change);
    for name in ["bela", "chen"] {
        done_as(&site, name, &["approvals", "approve", &request]);
    }
    let changed = site.done(&change);
    assert_eq!(find(&changed, "version").as_deref(), Some("2"));
    let locked = ["approvals", "charter", "change", "--quorum", "4"];
    assert_eq!(reason_as(&site, "bela", &locked).as_deref(), Some("INVALID_ARGUMENT"));
}
