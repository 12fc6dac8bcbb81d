//! A machine whose clock is set while the host runs on it: `libfaketime` stands between the host's
//! process and the system's clocks.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::program::find;
use crate::tools;
use crate::world::{Host, Order, World, text};

/// Where Debian and its kin, Fedora and Arch keep it.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// What is left of a second on a machine that is slowed.
const SLOWED: f64 = 0.2;

/// A machine's clock, as a file that says how it is set.
struct Hands {
    library: &'static str,
    file: PathBuf,
}

impl Hands {
    /// None where the library is not there.
    fn of(world: &World) -> Option<Self> {
        let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
        if library.is_none() {
            tools::is_missing(tools::LIBFAKETIME);
        }
        let library = library?;
        let hands = Self { library, file: world.path("hands") };
        hands.set("+0");
        Some(hands)
    }

    fn set(&self, how: &str) {
        // In one step: the host reads it at every look at the clock.
        let new = self.file.with_extension("new");
        std::fs::write(&new, how).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    /// The environment of a host on this machine; `slowed` where the monotonic clock is in on it.
    fn environment(&self, slowed: bool) -> Vec<(&str, &str)> {
        let mut all = vec![
            ("LD_PRELOAD", self.library),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            ("FAKETIME_NO_CACHE", "1"),
        ];
        if !slowed {
            all.push(("DONT_FAKE_MONOTONIC", "1"));
        }
        all
    }
}

struct Line<'a> {
    world: &'a World,
    site: Host,
    entitlement: String,
}

impl Line<'_> {
    fn arguments<'b>(&'b self, subject: &'b str, out: &'b Path) -> [&'b str; 7] {
        let out = text(out);
        ["device", "provision", subject, "--entitlement", &self.entitlement, "--out", out]
    }

    fn makes(&self, subject: &str) {
        self.site.done(&self.arguments(subject, &self.world.path("devices")));
    }

    fn refuses(&self, subject: &str) -> String {
        self.site.refused(&self.arguments(subject, &self.world.path("devices")))
    }

    fn clock(&self, fact: &str) -> String {
        find(&self.site.done(&["clock", "show"]), fact).unwrap()
    }
}

/// A site whose machine's clock is in the test's hands.
fn line<'a>(world: &'a World, hands: &Hands, slowed: bool) -> Line<'a> {
    let (headquarters, mut site) = world.pair();
    let order = Order { audit_units: 3, ..Order::default() };
    let (entitlement, _) = world.entitle((&headquarters, &site), &order);
    site.kill();
    site.start_in(&hands.environment(slowed));
    Line { world, site, entitlement }
}

#[test]
fn r10_r11_a_machine_whose_clock_is_set_is_noticed_and_setting_it_right_is_enough() {
    let world = World::new();
    let Some(hands) = Hands::of(&world) else { return };
    let mut line = line(&world, &hands, false);
    line.makes("device-1");
    for (how, suspicion) in [("-30d", "behind"), ("+3660d", "ahead")] {
        // Live, and then at a start.
        let before = line.clock("site_time_ms");
        // A start knows the time of the last row.
        let bundle = line.world.path(&format!("before{how}.bundle"));
        line.site.done(&["audit", "export", "--out", bundle.to_str().unwrap()]);
        hands.set(how);
        for _ in 0..2 {
            assert_eq!(line.refuses("device-2"), "CLOCK_SUSPECT", "{how}");
            assert_eq!(line.clock("suspicion"), suspicion, "{how}");
            assert!(line.clock("site_time_ms") >= before, "{how}");
            line.site.kill();
            line.site.start_in(&hands.environment(false));
        }
        let status = line.site.done(&["status"]);
        assert_eq!(status["clock_suspect"], true);
        hands.set("+0");
        assert_eq!(line.clock("suspicion"), "", "{how}");
    }
    line.makes("device-2");
}

#[test]
fn r12_a_machine_that_is_slowed_as_a_whole_makes_no_device_more_without_an_audit() {
    let world = World::new();
    let Some(hands) = Hands::of(&world) else { return };
    hands.set(&format!("+0 x{SLOWED}"));
    let line = line(&world, &hands, true);
    let site_time = || line.clock("site_time_ms").parse::<u64>().unwrap();
    let (began, begin_ms) = (Instant::now(), site_time());
    for number in 1..=3 {
        line.makes(&format!("device-{number}"));
    }
    // Nothing that the host can see is wrong with it; what counts does not ask for the time.
    assert_eq!(line.clock("suspicion"), "");
    assert_eq!(line.refuses("device-4"), "RECEIPT_OVERDUE");
    // The control: the site's time went as slowly as its machine's, and most of the real time was
    // between the two looks at it.
    let site_ms = (site_time() - begin_ms) as f64;
    let real_ms = began.elapsed().as_secs_f64() * 1_000.0;
    assert!(site_ms > 0.0 && site_ms < real_ms * SLOWED * 1.5, "{site_ms} ms in {real_ms} ms");
}
