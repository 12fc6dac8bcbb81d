//! What the demo tells, and what it claims.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Instant;

use crate::error::Error;

/// The teller. Claims are kept; the first that does not hold ends the story.
pub(super) struct Story {
    silent: bool,
    coloured: bool,
    began: Instant,
    claims: Vec<String>,
}

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const GREEN: &str = "\u{1b}[32m";
const RESET: &str = "\u{1b}[0m";

impl Story {
    /// A teller; a silent one only keeps the claims.
    pub(super) fn new(silent: bool) -> Self {
        let coloured = io::stdout().is_terminal();
        Self { silent, coloured, began: Instant::now(), claims: Vec::new() }
    }

    /// Whether nothing is to be shown.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// What is about to be seen.
    pub(super) fn opening(&self, place: &Path) {
        self.line(BOLD, "Mintmark: device identities from a factory that need not be trusted");
        self.line("", "");
        self.says(
            "One headquarters and two factories, three processes without any network between",
        );
        self.says(
            "them. What goes from one to another is a file. The platform is emulated: it has",
        );
        self.says("the interfaces and rules of a trusted one, and no hardware behind them.");
        self.line(DIM, &format!("  files: {}", place.display()));
    }

    /// The next act.
    pub(super) fn act(&self, number: u32, title: &str) {
        self.line("", "");
        let at = self.began.elapsed().as_secs_f32();
        let title = format!("{number}. {title}");
        self.line(BOLD, &format!("{title:<72}{at:>5.1} s"));
    }

    /// What happens.
    pub(super) fn says(&self, text: &str) {
        self.line("", &format!("  {text}"));
    }

    /// A command, as a person would type it.
    pub(super) fn command(&self, context: Option<&str>, arguments: &[&str]) {
        let context = context.map(|who| format!("({who}) ")).unwrap_or_default();
        let quoted = |argument: &&str| match argument.contains(' ') {
            true => format!("'{argument}'"),
            false => (*argument).to_owned(),
        };
        let arguments: Vec<_> = arguments.iter().map(quoted).collect();
        self.line(DIM, &format!("  {context}$ mintmark {}", arguments.join(" ")));
    }

    /// Something that the demo shows to be so.
    pub(super) fn claim(&mut self, holds: bool, text: impl Display) -> Result<(), Error> {
        let text = text.to_string();
        if !holds {
            let what = format!("this did not hold: {text}");
            return Err(Error::misfit(
                what,
                "Run it again with --dir DIR, and read the hosts' logs.",
            ));
        }
        self.line(GREEN, &format!("  \u{2713} {text}"));
        self.claims.push(text);
        Ok(())
    }

    /// How it ended.
    pub(super) fn closing(&self) {
        self.line("", "");
        let (count, seconds) = (self.claims.len(), self.began.elapsed().as_secs_f32());
        self.line(BOLD, &format!("All {count} claims held, in {seconds:.1} s."));
    }

    /// What was claimed, and held.
    pub(super) fn into_claims(self) -> Vec<String> {
        self.claims
    }

    fn line(&self, style: &str, text: &str) {
        if self.silent {
            return;
        }
        let (begin, end) = if self.coloured { (style, RESET) } else { ("", "") };
        // A reader that went away does not change whether the claims hold.
        let _ = writeln!(io::stdout().lock(), "{begin}{text}{end}");
    }
}
