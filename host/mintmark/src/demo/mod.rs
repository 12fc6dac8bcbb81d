//! stub
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}
pub(crate) async fn run(_d: &crate::cli::Desk, _a: Arguments) -> Result<crate::output::Page, crate::error::Error> { Ok(crate::output::Page::none()) }
