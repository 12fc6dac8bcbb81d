//! One instance of a plugin: it runs one call at a time, within its deadline.

use wasmtime::{Store, Trap};

use mintmark_custody::Call;

use crate::bindings::exports::mintmark::plugin::service::{Description, Status};
use crate::bindings::{All, AllPre};
use crate::config::Limits;
use crate::engine::Machine;
use crate::failure::Stop;
use crate::log::CallLog;
use crate::state::State;

/// The budget that a deadline bounds.
pub(crate) const TIME: &str = "time";

/// An instance and its store.
pub(crate) struct Guest {
    store: Store<State>,
    exports: Option<All>,
}

/// What became of a call, before it is ended.
#[derive(Debug)]
pub(crate) enum Ran<T> {
    /// The export returned.
    Returned(T),
    /// A concurrent call was faster; the same request runs again.
    Overtaken,
    /// A budget ran out: time, memory, calls, bytes.
    Exceeded(&'static str),
    /// Its time ran out while a host function kept it waiting: the host is busy, or others hold
    /// what it asked for.
    Delayed,
    /// It trapped; the text is for admins and authors.
    Trapped(String),
}

impl Guest {
    /// An instance that is not there yet: instantiation is part of the call, since a start function
    /// can loop too.
    pub(crate) fn new(machine: &Machine, limits: Limits) -> Self {
        Self { store: machine.store(limits), exports: None }
    }

    /// Runs `call` of the plugin.
    pub(crate) async fn call(
        &mut self,
        plugin: &AllPre<State>,
        call: Option<Call>,
        (service, method): (&str, &str),
        message: &[u8],
    ) -> Ran<Result<Vec<u8>, Status>> {
        self.store.data_mut().begin(call);
        let time = self.store.data().time();
        let run = async {
            let (store, exports) = self.instance(plugin).await?;
            exports.mintmark_plugin_service().call_call(store, service, method, message).await
        };
        match ran(tokio::time::timeout(time, run).await) {
            Ran::Exceeded(TIME) if self.store.data().is_in_host() => Ran::Delayed,
            ran => ran,
        }
    }

    /// Runs `describe` of the plugin, during which imports refuse to answer.
    pub(crate) async fn describe(&mut self, plugin: &AllPre<State>) -> Ran<Description> {
        self.store.data_mut().begin(None);
        let time = self.store.data().time();
        let run = async {
            let (store, exports) = self.instance(plugin).await?;
            exports.mintmark_plugin_service().call_describe(store).await
        };
        ran(tokio::time::timeout(time, run).await)
    }

    /// Takes the call out, to be ended; and what was said during it.
    pub(crate) fn end(&mut self) -> (Option<Call>, CallLog) {
        self.store.data_mut().end()
    }

    /// Whether another call may use the instance: none of its handles could come to name another
    /// call's object.
    pub(crate) fn is_clean(&self) -> bool {
        self.exports.is_some() && self.store.data().has_no_handles()
    }

    async fn instance(
        &mut self,
        plugin: &AllPre<State>,
    ) -> wasmtime::Result<(&mut Store<State>, &All)> {
        if self.exports.is_none() {
            self.exports = Some(plugin.instantiate_async(&mut self.store).await?);
        }
        let exports = self.exports.as_ref().expect("it was just made");
        Ok((&mut self.store, exports))
    }
}

fn ran<T>(result: Result<wasmtime::Result<T>, tokio::time::error::Elapsed>) -> Ran<T> {
    let error = match result {
        Ok(Ok(value)) => return Ran::Returned(value),
        Ok(Err(error)) => error,
        Err(_) => return Ran::Exceeded(TIME),
    };
    match (error.downcast_ref::<Stop>(), error.downcast_ref::<Trap>()) {
        (Some(Stop::Rerun), _) => Ran::Overtaken,
        (Some(Stop::Budget), _) => Ran::Exceeded("host calls"),
        (_, Some(Trap::StackOverflow)) => Ran::Exceeded("stack"),
        _ => Ran::Trapped(format!("{error:?}")),
    }
}
