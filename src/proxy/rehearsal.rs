//! What becomes of a request's and a response's header, with nothing sent: the worker's own passes, by themselves.
//!
//! Owns no decision and no rule. For measurements (`benches/micro.rs`), since between its passes the worker waits for
//! the network; nothing in the proxy uses it.

use std::sync::Arc;

use super::{
    Plan,
    check::{self, Checked, Rare},
    hop,
    inject::{self, Hop, Mark, Prepared},
    plan::Rule,
    respond,
};
use crate::{
    listen::Connection,
    message::{Fields, RequestHead},
    reply::{Code, Refusal},
    session::snapshot::Snapshot,
};

/// The default route of a plan, as one worker has it.
#[derive(Debug)]
pub struct Rehearsal {
    rule: Arc<Rule>,
    pseudonym: String,
    mark: Mark,
    prepared: Prepared,
}

impl Rehearsal {
    /// A rehearsal of what `plan` does with what matches no route; `None` for a plan without a default route.
    #[must_use]
    pub fn new(plan: &Plan, pseudonym: &str) -> Option<Self> {
        let rule = Arc::clone(plan.rules.last()?);
        let mark = Mark::new(pseudonym);
        Some(Self { rule, pseudonym: pseudonym.to_owned(), mark, prepared: Prepared::default() })
    }

    /// Makes of a client's head the upstream's, with the token of `snapshot`.
    ///
    /// # Errors
    /// The refusal that the client would get, or that the head is one which the proxy answers itself.
    pub fn request(
        &self,
        head: &mut RequestHead,
        connection: &Connection,
        snapshot: &Arc<Snapshot>,
    ) -> Result<(), Refusal> {
        let rare = Rare::among(&head.fields);
        if let Checked::Answer(_) = check::request(head, rare, &self.pseudonym)? {
            return Err(Refusal::new(Code::BadRequest, "the proxy answers this itself", "rehearse another request"));
        }
        inject::head(head, rare, &self.rule, connection, &self.mark)?;
        if let Some(inject) = &self.rule.route.inject {
            let value = self.prepared.value(snapshot, inject.token, &inject.format)?;
            head.fields.insert(inject.header.clone(), value);
        }
        Ok(())
    }

    /// Takes out of a client's header what is for this hop: the first of the passes of [`request`](Self::request).
    pub fn strip(&self, fields: &mut Fields) {
        hop::strip_request(fields, self.rule.route.inject.as_ref().map(|inject| &inject.header));
    }

    /// Makes of an upstream's header the client's.
    pub fn response(&self, fields: &mut Fields) {
        respond::fields(fields, &self.rule, &Hop::default());
    }
}
