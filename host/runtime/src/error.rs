//! Why a component is not taken, or not served.

use mintmark_model::{Reason, Refusal};

use crate::escape::escaped;

/// The longest text of somebody else's in an error.
const FOREIGN_BYTES_MAX: usize = 256;

/// Why a component is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// See [`COMPONENT_BYTES_MAX`](crate::COMPONENT_BYTES_MAX).
    #[error("the component is larger than 32 MiB")]
    TooLarge,
    /// Compiled code could be anything; only the host compiles.
    #[error("compiled code is never accepted; give the component itself")]
    Precompiled,
    /// Not the header of a component.
    #[error("this is no WebAssembly component")]
    NotAComponent,
    /// It does not parse.
    #[error("the component is malformed")]
    Malformed,
    /// It would take too long to compile, or too much room to run.
    #[error("the component has too many, too large or too deep {0}")]
    Excess(&'static str),
    /// A custom section that every plugin carries is not there.
    #[error("the custom section `{0}` is missing; does the crate call `register!`?")]
    SectionMissing(&'static str),
    /// A custom section that every plugin carries once is there again.
    #[error("the custom section `{0}` occurs twice")]
    SectionTwice(&'static str),
    /// What the host would call is not there.
    #[error("the component does not export `mintmark:plugin/service@0.1`")]
    ExportMissing,
    /// The manifest does not parse or contradicts itself.
    #[error("the manifest is not right: {0}")]
    Manifest(String),
    /// The descriptors do not decode or do not fit the manifest.
    #[error("the descriptors are not right: {0}")]
    Descriptors(String),
    /// An import that no plugin may have.
    #[error("the component imports `{0}`, which no plugin may")]
    ImportForbidden(String),
    /// An import that the manifest does not claim.
    #[error("the component imports `{import}`, but its manifest claims no {claim}")]
    ImportUnclaimed {
        /// The import.
        import: String,
        /// What the manifest would have to claim.
        claim: &'static str,
    },
    /// Built for a contract that this host does not have.
    #[error(
        "the plugin was built for the contract {0}, this host has 0.1; rebuild it with its SDK"
    )]
    Contract(String),
    /// Types or functions of an import or export are others than this host's.
    #[error("the component does not fit this host's contract: {0}; rebuild it with its SDK")]
    Link(String),
    /// wasmtime does not compile it.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// It describes itself otherwise than its manifest does, or fails to.
    #[error("the plugin does not describe itself as its manifest does: {0}")]
    Description(String),
    /// A service of the host, or of everybody.
    #[error("`{0}` is a name that no plugin may claim")]
    ServiceReserved(String),
    /// A service of another plugin that is active.
    #[error("the service `{service}` belongs to the plugin `{plugin}`")]
    ServiceTaken {
        /// The service.
        service: String,
        /// Who has it.
        plugin: String,
    },
    /// No such version is installed.
    #[error("there is no such plugin")]
    Absent,
    /// wasmtime does not start.
    #[error("the engine does not start: {0}")]
    Engine(String),
    /// Custody refuses.
    #[error("{0}")]
    Refused(Refusal),
}

impl Error {
    pub(crate) fn manifest(text: &str) -> Self {
        Self::Manifest(foreign(text))
    }

    pub(crate) fn descriptors(text: &str) -> Self {
        Self::Descriptors(foreign(text))
    }

    pub(crate) fn link(error: &wasmtime::Error) -> Self {
        Self::Link(foreign(&format!("{error:#}")))
    }

    pub(crate) fn compile(error: &wasmtime::Error) -> Self {
        Self::Compile(foreign(&format!("{error:#}")))
    }

    pub(crate) fn engine(error: &wasmtime::Error) -> Self {
        Self::Engine(foreign(&format!("{error:#}")))
    }

    pub(crate) fn description(text: &str) -> Self {
        Self::Description(foreign(text))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal,
            Error::Absent => Self::not_found("plugin"),
            Error::ServiceTaken { .. } => Self::new(Reason::WrongState, sentence(&error)),
            _ => Self::invalid(sentence(&error)),
        }
    }
}

/// Names and texts that come from the component itself or from a parser that read it.
pub(crate) fn foreign(text: &str) -> String {
    escaped(text.trim_end(), FOREIGN_BYTES_MAX)
}

fn sentence(error: &Error) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    let rest = characters.as_str();
    let stop = if rest.ends_with('.') { "" } else { "." };
    first.map_or_else(String::new, |first| format!("{first}{rest}{stop}"))
}
