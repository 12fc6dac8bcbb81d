//! Power cuts at the operations of a disk and of an anchor, while given keys are loaded, granted
//! and imported: whatever was cut goes on where it stood, and every key is there once.

use futures_executor::block_on;
use mintmark_crypto::sign::SignatureAlgorithm;
use mintmark_custody::pools::PoolState;
use mintmark_custody::verify;
use mintmark_exchange::pool::{CHUNK_KEYS, KeyFile, KeyFileHead};
use mintmark_exchange::proposal::GrantProposal;
use mintmark_exchange::row::Event;
use mintmark_model::Reason;
use mintmark_sdk_testing::sdk::Plugin;
use mintmark_sdk_testing::{
    Chance, DiskFault, Hardware, Machine, Office, Stopped, TestHost, World,
};

use crate::bench::{Bench, Line, import};
use crate::pools::{self, Authority, import_keys, kept, key_file, load, provision, rows_of};

/// A whole chunk, and another that is not.
const KEYS: usize = CHUNK_KEYS + 7;

/// A host that is off, to be started as often as a test likes.
struct Asleep {
    machine: Machine,
    host: Stopped,
}

/// What a host did, or the reason why not.
type Done = Result<(), String>;

impl Asleep {
    fn new(machine: &Machine, host: TestHost) -> Self {
        let host = host.stop();
        Self { machine: machine.copy(), host }
    }

    fn wake(&self) -> (Machine, TestHost) {
        let machine = self.machine.copy();
        let host = self.host.fork().start_on(machine.open().unwrap()).unwrap();
        (machine, host)
    }

    /// The host after a power cut that came while it did something; none where it was done before.
    fn cut(
        &self,
        run: &str,
        (seed, arm): (u64, impl Fn(&Machine)),
        act: impl Fn(&TestHost) -> Done,
    ) -> Option<TestHost> {
        let (machine, host) = self.wake();
        arm(&machine);
        let done = act(&host);
        if machine.disk.fired() + machine.platform.fired() == 0 {
            done.unwrap_or_else(|reason| panic!("{run}: {reason}"));
            return None;
        }
        assert_eq!(done, Err("LEDGER_UNAVAILABLE".to_owned()), "{run}");
        let host = host.stop();
        let machine = machine.after_power_cut(&mut Chance::new(seed));
        let hardware = machine.open().unwrap_or_else(|error| panic!("{run}: {error}"));
        Some(host.start_on(hardware).unwrap_or_else(|error| panic!("{run}: {error}")))
    }

    /// Cuts the power at every `step`-th operation of the disk and at every write of the anchor,
    /// until what is done has no more; says how often.
    fn cut_everywhere(
        &self,
        step: usize,
        act: impl Fn(&TestHost) -> Done,
        mut check: impl FnMut(&str, TestHost),
    ) -> usize {
        let mut cuts = 0;
        for after in (0..).step_by(step) {
            let run = format!("cut after {after} operations of the disk, which is the seed");
            let arm = |machine: &Machine| machine.disk.fail(Some(DiskFault::ForGood(after)));
            let Some(host) = self.cut(&run, (after, arm), &act) else { break };
            check(&run, host);
            cuts += 1;
        }
        for after in 0.. {
            let run = format!("cut after {after} writes of the anchor, which is the seed");
            let arm = |machine: &Machine| machine.platform.fail_after(after);
            let Some(host) = self.cut(&run, (after, arm), &act) else { break };
            check(&run, host);
            cuts += 1;
        }
        cuts
    }
}

/// Headquarters and site, each on its hardware.
fn pair(hq: Hardware, site: Hardware) -> Bench {
    let world = World::new();
    let mut hq = world.headquarters_on("berlin", hq);
    hq.install::<Office>();
    let mut site = world.site_on("shenzhen", site);
    site.install::<Line>();
    world.introduce(&hq, &site);
    site.enrol_station("line-4", &[]);
    Bench { world, hq, site }
}

/// Checks every record, counter and row of a host's store.
fn verified(run: &str, host: &TestHost) {
    let Hardware { store, platform, .. } = host.hardware();
    let sealing = platform.sealing_secret().unwrap();
    let verified = block_on(verify(&**store, &sealing, Some(&**platform)));
    verified.unwrap_or_else(|error| panic!("{run}: {error}"));
}

fn authority() -> Authority {
    Authority::of(SignatureAlgorithm::Ed25519, KEYS)
}

/// An order of all keys that there are.
fn order(bench: &Bench) -> GrantProposal {
    let mut order = pools::order(bench, "po-1", KEYS);
    order.product.algorithm = SignatureAlgorithm::Ed25519.name().to_owned();
    order.terms.rates[0].units = KEYS as u64;
    order
}

/// The chunks that a host has taken, as its rows say.
fn chunks_taken(host: &TestHost) -> Vec<(u32, u64)> {
    let taken = rows_of(host).into_iter().filter_map(|row| match row.body.event {
        Event::PoolLoaded { chunk, keys, .. } => Some((chunk, keys)),
        _ => None,
    });
    taken.collect()
}

/// The entitlement that headquarters granted first.
fn exported(hq: &TestHost) -> Option<String> {
    rows_of(hq).into_iter().find_map(|row| match row.body.event {
        Event::GrantExported { entitlement, .. } => Some(entitlement),
        _ => None,
    })
}

fn count(host: &TestHost, wanted: impl Fn(&Event) -> bool) -> usize {
    rows_of(host).iter().filter(|row| wanted(&row.body.event)).count()
}

/// Every unit from `first` on gets the key that stands in its place, and there are no more.
fn hands_out_all(bench: &Bench, entitlement: &str, authority: &Authority, first: usize) {
    for (unit, hash) in authority.hashes.iter().enumerate().skip(first) {
        let key = provision(bench, entitlement, &format!("SN:{unit}")).unwrap();
        assert_eq!(key, *hash, "unit {unit}");
    }
    assert_eq!(kept(bench, entitlement), 0);
}

#[test]
fn s1_a_load_that_a_power_cut_ends_at_any_operation_goes_on_and_every_key_is_there_once() {
    let machine = Machine::new();
    let Bench { world, hq, site } = pair(machine.create().unwrap(), Hardware::memory());
    let asleep = Asleep::new(&machine, hq);
    let mut bench = Bench { world, hq: asleep.wake().1, site };
    let authority = authority();
    let act = |hq: &TestHost| match load(hq, "licences", &authority) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.reason.code().to_owned()),
    };
    // How often no chunk, one and both were there after the cut.
    let mut found = [0; 3];
    let cuts = asleep.cut_everywhere(5, act, |run, hq| {
        found[chunks_taken(&hq).len()] += 1;
        assert!(load(&hq, "licences", &authority).unwrap().whole, "{run}");
        assert_eq!(chunks_taken(&hq), [(0, CHUNK_KEYS as u64), (1, 7)], "{run}");
        let pool = pools::pools(&hq).remove(0);
        assert_eq!((pool.state, pool.left), (PoolState::Ready, KEYS as u64), "{run}");
        let again = load(&hq, "again", &authority).unwrap_err();
        assert_eq!(again.reason, Reason::DuplicateKey, "{run}");
        verified(run, &hq);
        bench.hq = hq;
    });
    assert!(cuts > 20 && found.iter().all(|times| *times > 0), "{cuts} cuts: {found:?}");
    let entitlement = import(&bench.site, &bench.granted(&order(&bench))).unwrap();
    import_keys(&bench.site, &key_file(&bench.hq, &entitlement)).unwrap();
    hands_out_all(&bench, &entitlement, &authority, 0);
}

#[test]
fn s1_keys_leave_their_pool_whole_or_not_at_all_whenever_the_power_goes() {
    let machine = Machine::new();
    let Bench { world, hq, site } = pair(machine.create().unwrap(), Hardware::memory());
    load(&hq, "licences", &authority()).unwrap();
    let asleep = Asleep::new(&machine, hq);
    let bench = Bench { world, hq: asleep.wake().1, site };
    let (order, site) = (order(&bench), bench.site.uri());
    let more = GrantProposal { order: "po-2".to_owned(), ..order.clone() };
    let granted = |hq: &TestHost, order: &GrantProposal| {
        Office::grant(hq, &site, Line::NAME, order).map(drop).map_err(|status| status.reason)
    };
    let grant = |hq: &TestHost| granted(hq, &order);
    let mut found = [0; 2];
    let cuts = asleep.cut_everywhere(1, grant, |run, hq| {
        let exported = exported(&hq);
        found[usize::from(exported.is_some())] += 1;
        let left = pools::pools(&hq)[0].left;
        match exported {
            None => assert_eq!((left, grant(&hq)), (KEYS as u64, Ok(())), "{run}"),
            Some(entitlement) => {
                let file = key_file(&hq, &entitlement);
                let head = KeyFileHead::decode(KeyFile::parse(&file).unwrap().head()).unwrap();
                assert_eq!((left, head.keys), (0, KEYS as u64), "{run}");
            }
        }
        assert_eq!(granted(&hq, &more), Err("QUOTA_EXHAUSTED".to_owned()), "{run}");
        verified(run, &hq);
    });
    assert!(cuts > 10 && found.iter().all(|times| *times > 0), "{cuts} cuts: {found:?}");
}

#[test]
fn s1_an_import_that_a_power_cut_ends_at_any_operation_goes_on_and_every_key_is_there_once() {
    let machine = Machine::new();
    let Bench { world, hq, site } = pair(Hardware::memory(), machine.create().unwrap());
    let authority = authority();
    load(&hq, "licences", &authority).unwrap();
    let asleep = Asleep::new(&machine, site);
    let mut bench = Bench { world, hq, site: asleep.wake().1 };
    let file = bench.granted(&order(&bench));
    let entitlement = exported(&bench.hq).unwrap();
    let keys = key_file(&bench.hq, &entitlement);
    let takes = |site: &TestHost| {
        match import(site, &file) {
            Err(status) if status.reason != "REPLAYED" => return Err(status.reason),
            _ => {}
        }
        let imported = import_keys(site, &keys);
        imported.map(|reached| assert!(reached.whole)).map_err(|it| it.reason.code().to_owned())
    };
    let mut found = [0; 3];
    let cuts = asleep.cut_everywhere(5, takes, |run, site| {
        found[chunks_taken(&site).len()] += 1;
        takes(&site).unwrap_or_else(|reason| panic!("{run}: {reason}"));
        assert_eq!(chunks_taken(&site), [(0, CHUNK_KEYS as u64), (1, 7)], "{run}");
        assert_eq!(count(&site, |event| matches!(event, Event::GrantImported { .. })), 1, "{run}");
        verified(run, &site);
        bench.site = site;
        assert_eq!(kept(&bench, &entitlement), KEYS, "{run}");
        assert_eq!(bench.counters(&entitlement).unused, KEYS as u64, "{run}");
        for (unit, hash) in authority.hashes.iter().enumerate().take(2) {
            let key = provision(&bench, &entitlement, &format!("SN:{unit}")).unwrap();
            assert_eq!(key, *hash, "{run}");
        }
    });
    assert!(cuts > 20 && found.iter().all(|times| *times > 0), "{cuts} cuts: {found:?}");
    hands_out_all(&bench, &entitlement, &authority, 2);
}
