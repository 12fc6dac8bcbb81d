//! The interfaces without resources: caller, clock, log, records, peers.

use super::{Host, digest};
use crate::{
    Timestamp, backend,
    bindings::mintmark::host::{caller, clock, log, peers, records},
    caller::Principal,
    clock::ClockState,
    error::Error,
    log::Level,
    peers::Identity,
    records::Entry,
};

impl backend::Caller for Host {
    fn current(&self) -> Principal {
        let caller::Principal { organization, cluster, role, name } = caller::current();
        Principal { organization, cluster, role, name }
    }

    fn request_id(&self) -> String {
        caller::request_id()
    }

    fn time_left_ms(&self) -> u64 {
        caller::time_left_ms()
    }
}

impl backend::Clock for Host {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn state(&self) -> ClockState {
        match clock::state() {
            clock::ClockState::Steady => ClockState::Steady,
            clock::ClockState::Suspect => ClockState::Suspect,
        }
    }
}

impl backend::Log for Host {
    fn write(&self, level: Level, line: &str) {
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warning => log::Level::Warning,
            Level::Error => log::Level::Error,
        };
        log::write(level, line);
    }
}

impl backend::Records for Host {
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        Ok(records::get(keys)?)
    }

    fn put(&self, entries: &[Entry]) -> Result<(), Error> {
        let entries: Vec<_> = entries
            .iter()
            .map(|Entry { key, value }| records::Entry { key: key.clone(), value: value.clone() })
            .collect();
        Ok(records::put(&entries)?)
    }

    fn delete(&self, keys: &[Vec<u8>]) -> Result<(), Error> {
        Ok(records::delete(keys)?)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, Error> {
        let entries = records::scan(prefix, after, limit)?.into_iter();
        Ok(entries.map(|records::Entry { key, value }| Entry { key, value }).collect())
    }
}

impl backend::Peers for Host {
    fn get(&self, cluster: &str, plugin: &str) -> Result<Identity, Error> {
        Ok(peers::get(cluster, plugin)?.into())
    }

    fn clusters(&self) -> Result<Vec<String>, Error> {
        Ok(peers::clusters()?)
    }
}

impl From<peers::Identity> for Identity {
    fn from(identity: peers::Identity) -> Self {
        let peers::Identity { cluster, plugin, measurement, hardware_model } = identity;
        Self { cluster, plugin, measurement: digest(measurement), hardware_model }
    }
}
