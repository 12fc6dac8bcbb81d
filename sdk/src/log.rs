//! Lines for admins and authors. They are neither part of the transaction nor evidence; the ledger
//! is.
//!
//! ```
//! use mintmark_sdk::log;
//!
//! log::info!("lot {} is open", 7);
//! ```

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// Something happened that an admin may want to know.
    Info,
    /// Something is not as it should be.
    Warning,
    /// Something went wrong.
    Error,
}

/// Writes one line. The host escapes control characters, and drops and counts what exceeds its
/// bounds.
///
/// Natively, without a backend, the line goes to standard error.
pub fn write(level: Level, line: &str) {
    crate::backend::write_log(level, line);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Debug, &::std::format!($($text)+))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Info, &::std::format!($($text)+))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __warning {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Warning, &::std::format!($($text)+))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($text:tt)+) => {
        $crate::log::write($crate::log::Level::Error, &::std::format!($($text)+))
    };
}

/// Writes a line for the plugin's author.
#[doc(inline)]
pub use crate::__debug as debug;
/// Writes a line about something that went wrong.
#[doc(inline)]
pub use crate::__error as error;
/// Writes a line that an admin may want to read.
#[doc(inline)]
pub use crate::__info as info;
/// Writes a line about something that is not as it should be.
#[doc(inline)]
pub use crate::__warning as warning;
