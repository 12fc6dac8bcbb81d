//! Acts that need several people.

use mintmark_exchange::approval::Act;
use mintmark_model::{Reason, Refusal};

use crate::call::Call;

impl Call {
    /// Goes on only if enough people have approved exactly this act; their approvals are used up
    /// by the call's commit.
    ///
    /// # Errors
    ///
    /// `APPROVAL_REQUIRED`.
    #[expect(clippy::unused_async, reason = "approvals are read from the store")]
    pub(crate) async fn require_approvals(&mut self, act: &Act) -> Result<(), Refusal> {
        let detail = format!("`{}` needs approvals by several people.", act.name());
        Err(Refusal::new(Reason::ApprovalRequired, detail))
    }
}
