//! The demo is the program's own story, told with real processes; each of its claims is checked.

use std::process::Command;

/// The claims that the story is about, by words that stand in them.
const PROMISED: [&str; 17] = [
    "UNTRUSTED_MESSAGE",
    "WRONG_SITE",
    "REPLAYED",
    "RECEIPT_OVERDUE",
    "was killed and started again",
    "testers crashed, asked again, and got the same bytes",
    "998 devices confirmed",
    "rustls-webpki accepts all 1,000",
    "QUOTA_EXHAUSTED",
    "PERMISSION_DENIED",
    "verdict: clean",
    "every credited unit is in exactly one state",
    "verdict: breach",
    "the check repeated offline finds the same row",
    "CLOCK_SUSPECT",
    "site time does not go back",
    "stop in order",
];

#[test]
fn the_demo_keeps_its_claims() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mintmark"));
    let output = command.args(["demo", "--json"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{shown}");
    let answer: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let claims = answer["claims"].as_array().unwrap();
    for promised in PROMISED {
        let held = claims.iter().any(|claim| claim.as_str().unwrap().contains(promised));
        assert!(held, "{promised}");
    }
}
