//! A life, from its seed: who does what, and when what fails.

use std::ops::AddAssign;

use mintmark_sdk_testing::Chance;

use crate::beginning::Beginning;
use crate::courier::Headquarters;
use crate::site::Site;
use crate::wrong;

/// What lives had to tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) armed: u64,
    pub(crate) cuts: u64,
    pub(crate) faults_disk: u64,
    pub(crate) faults_full: u64,
    pub(crate) faults_platform: u64,
    pub(crate) faults_starting: u64,
    pub(crate) flips_named: u64,
    pub(crate) copies_named: u64,
    pub(crate) astray: u64,
    pub(crate) astray_named: u64,
    pub(crate) lost_named: u64,
    pub(crate) in_doubt: u64,
    pub(crate) in_doubt_durable: u64,
    pub(crate) retries: u64,
    pub(crate) answers: u64,
    pub(crate) reports: u64,
    pub(crate) replayed: u64,
    pub(crate) out_of_order: u64,
    pub(crate) starts_hq: u64,
}

impl Told {
    pub(crate) fn add(&mut self, more: &Self) {
        let pairs: [(&mut u64, u64); 19] = [
            (&mut self.armed, more.armed),
            (&mut self.cuts, more.cuts),
            (&mut self.faults_disk, more.faults_disk),
            (&mut self.faults_full, more.faults_full),
            (&mut self.faults_platform, more.faults_platform),
            (&mut self.faults_starting, more.faults_starting),
            (&mut self.flips_named, more.flips_named),
            (&mut self.copies_named, more.copies_named),
            (&mut self.astray, more.astray),
            (&mut self.astray_named, more.astray_named),
            (&mut self.lost_named, more.lost_named),
            (&mut self.in_doubt, more.in_doubt),
            (&mut self.in_doubt_durable, more.in_doubt_durable),
            (&mut self.retries, more.retries),
            (&mut self.answers, more.answers),
            (&mut self.reports, more.reports),
            (&mut self.replayed, more.replayed),
            (&mut self.out_of_order, more.out_of_order),
            (&mut self.starts_hq, more.starts_hq),
        ];
        for (sum, count) in pairs {
            sum.add_assign(count);
        }
    }
}

/// Headquarters, its sites, and the chance that drives them.
pub(crate) struct Life<'a> {
    chance: Chance,
    beginning: &'a Beginning,
    /// Begun when somebody needs it.
    headquarters: Option<Headquarters>,
    sites: Vec<Site<'a>>,
    told: Told,
}

impl<'a> Life<'a> {
    pub(crate) fn begin(beginning: &'a Beginning, seed: u64) -> Self {
        let sites = (0..beginning.sites.len()).map(|number| Site::new(beginning, number));
        let sites = sites.collect();
        let chance = Chance::new(seed);
        Self { chance, beginning, headquarters: None, sites, told: Told::default() }
    }

    /// So many steps, then a start of everything, and a last look.
    pub(crate) fn live(mut self, steps: usize) -> Told {
        for _ in 0..steps {
            self.step();
        }
        let mut sites = std::mem::take(&mut self.sites);
        for site in &mut sites {
            site.cut(&mut self.chance, &mut self.told);
            site.ask_again(&mut self.told);
            site.verify();
            self.told.answers += site.answers;
        }
        self.sites = sites;
        if self.headquarters.is_some() {
            self.close();
        }
        self.told
    }

    fn step(&mut self) {
        let number = self.chance.below(self.sites.len());
        self.pass_ms();
        let broken = self.sites[number].is_broken();
        let has_peers = self.headquarters.is_some() && self.sites.len() > 1;
        let (chance, told) = (&mut self.chance, &mut self.told);
        let site = &mut self.sites[number];
        match chance.below(20) {
            // A host that can not write is found out by somebody, soon.
            _ if broken && chance.one_in(2) => site.cut(chance, told),
            0 => site.cut(chance, told),
            1 => site.restart(chance, told),
            2 | 3 => site.arm(chance, told),
            4 => site.export(),
            5 => self.report(number),
            6 | 7 => self.deliver(number),
            8 if has_peers => self.trouble(),
            _ => {
                let before = site.pending.len();
                site.ask(chance, told);
                told.in_doubt += u64::from(site.pending.len() > before);
            }
        }
    }

    fn pass_ms(&mut self) {
        let ms = self.chance.below(4_000) as u64;
        let waited = self.headquarters.as_mut().map_or(0, Headquarters::waited_ms);
        for site in &self.sites {
            site.host().clock().pass_ms(ms + waited);
        }
        if let Some(headquarters) = &self.headquarters {
            headquarters.host().clock().pass_ms(ms);
        }
    }

    fn hq<'h>(
        headquarters: &'h mut Option<Headquarters>,
        beginning: &Beginning,
    ) -> &'h mut Headquarters {
        headquarters.get_or_insert_with(|| Headquarters::new(beginning))
    }

    fn report(&mut self, number: usize) {
        if self.sites[number].bundle.is_none() {
            return;
        }
        let hq = Self::hq(&mut self.headquarters, self.beginning);
        self.sites[number].report(hq, &mut self.told);
    }

    fn deliver(&mut self, number: usize) {
        let hq = Self::hq(&mut self.headquarters, self.beginning);
        self.sites[number].deliver(hq, &mut self.chance, &mut self.told);
    }

    /// Headquarters has its own troubles.
    fn trouble(&mut self) {
        let hq = Self::hq(&mut self.headquarters, self.beginning);
        if self.chance.one_in(2) {
            hq.arm(&mut self.chance);
        } else {
            hq.cut(&mut self.chance, &mut self.told);
        }
    }

    /// The last report of every site: headquarters has the devices that were answered, and no more
    /// than it granted.
    fn close(&mut self) {
        let hq = Self::hq(&mut self.headquarters, self.beginning);
        hq.cut(&mut self.chance, &mut self.told);
        for site in &mut self.sites {
            if site.model.entitlements.is_empty() {
                continue;
            }
            site.export();
            site.report(hq, &mut self.told);
            for summary in hq.devices_of(site.uri) {
                let Some(allotment) = site.model.entitlements.get(&summary.entitlement) else {
                    continue;
                };
                if summary.reported != allotment.units.len() as u64 {
                    wrong(&site.story, format!("{summary:?} of {:?}", allotment.units));
                }
            }
        }
    }
}
