//! `log`: lines for admins and authors.

use crate::bindings::mintmark::host::log::{Host, Level};
use crate::log;
use crate::state::State;

impl Host for State {
    fn write(&mut self, level: Level, line: String) -> wasmtime::Result<()> {
        // Also a plugin that describes itself may say something, so no call is asked for.
        self.enter_table()?;
        self.answer(line.len())?;
        self.log().write(level.into(), &line);
        Ok(())
    }
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
        }
    }
}
