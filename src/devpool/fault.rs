//! What goes wrong on demand, and when.

use std::time::Duration;

use http::StatusCode;

use super::{exception::Exception, lie::Lie, operation::Operation};

/// One way in which a call goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status with a body that is no AWS answer; nothing is committed.
    Status {
        /// The status, such as 500 or 503.
        status: StatusCode,
        /// `Retry-After`, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// An exception, whatever the call; nothing is committed.
    Exception {
        /// Its name, words and status.
        exception: Exception,
        /// `Retry-After`, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// The request is read and never answered.
    Hang(Commit),
    /// The connection is reset (`SO_LINGER` of zero) where the answer should come.
    Reset(Commit),
    /// The answer breaks off half-way, and the connection closes. It has been committed.
    Truncated,
    /// The body comes one octet at a time, with this long before each. It has been committed.
    Drip(Duration),
    /// Somebody else's page; nothing is committed.
    Portal(Portal),
    /// An answer that is not true. It has been committed.
    Lie(Lie),
}

impl Fault {
    /// `status` without `Retry-After`.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status: StatusCode::from_u16(status).unwrap_or_default(), retry_after: None }
    }

    /// `TooManyRequestsException`, which AWS answers with 400.
    #[must_use]
    pub fn throttled(retry_after: Option<Duration>) -> Self {
        Self::Exception { exception: Exception::too_many_requests(), retry_after }
    }

    /// Any exception, by name and words, answered with 400.
    #[must_use]
    pub fn exception(name: &str, message: &str) -> Self {
        Self::Exception { exception: Exception::new(name, message), retry_after: None }
    }

    /// What AWS says to an operation that it does not have.
    #[must_use]
    pub fn unknown_operation() -> Self {
        Self::exception("UnknownOperationException", "")
    }

    /// What the emulator cognito-local says to an operation that it does not have: a 500.
    #[must_use]
    pub fn unsupported() -> Self {
        let exception = Exception::new("CognitoLocal#Unsupported", "Cognito Local unsupported feature")
            .with_status(StatusCode::INTERNAL_SERVER_ERROR);
        Self::Exception { exception, retry_after: None }
    }

    /// Whether the call takes effect in spite of it.
    #[must_use]
    pub const fn commits(&self) -> bool {
        match self {
            Self::Status { .. } | Self::Exception { .. } | Self::Portal(_) => false,
            Self::Hang(commit) | Self::Reset(commit) => matches!(commit, Commit::After),
            Self::Truncated | Self::Drip(_) | Self::Lie(_) => true,
        }
    }

    /// A short name for the log of calls.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Exception { .. } => "exception",
            Self::Hang(_) => "hang",
            Self::Reset(_) => "reset",
            Self::Truncated => "truncated",
            Self::Drip(_) => "drip",
            Self::Portal(_) => "portal",
            Self::Lie(_) => "lie",
        }
    }
}

/// On which side of the commit the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Nothing has happened.
    Before,
    /// A rotation has been committed, and its answer is lost.
    After,
}

/// What a captive portal answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portal {
    /// 200 with a page.
    Page,
    /// 302 to a page.
    Redirect,
    /// 511 (RFC 6585 §6).
    NetworkAuthenticationRequired,
}

/// Which calls a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every call of the API; not the key set.
    Api,
    /// Calls that spend a refresh token.
    Refresh,
    /// This operation alone.
    Only(Operation),
    /// The key set.
    Jwks,
}

impl Scope {
    fn covers(&self, operation: &Operation) -> bool {
        match self {
            Self::Api => operation.is_api(),
            Self::Refresh => operation.is_refresh(),
            Self::Only(only) => only == operation,
            Self::Jwks => *operation == Operation::Jwks,
        }
    }
}

/// The faults to come. Queued ones go before standing ones.
#[derive(Debug, Default)]
pub(super) struct Faults {
    queued: Vec<Queued>,
    standing: Vec<(Scope, Fault)>,
}

#[derive(Debug)]
struct Queued {
    scope: Scope,
    fault: Fault,
    left: usize,
}

impl Faults {
    /// The next `calls` calls within `scope` go wrong like this, after those that were queued before.
    pub(super) fn queue(&mut self, calls: usize, scope: Scope, fault: Fault) {
        self.queued.push(Queued { scope, fault, left: calls });
    }

    /// Every call within `scope` goes wrong like this, in place of what stood for that scope.
    pub(super) fn stand(&mut self, scope: Scope, fault: Fault) {
        self.standing.retain(|(known, _)| *known != scope);
        self.standing.push((scope, fault));
    }

    /// Nothing goes wrong any more.
    pub(super) fn clear(&mut self) {
        self.queued.clear();
        self.standing.clear();
    }

    /// The fault of this call.
    pub(super) fn take(&mut self, operation: &Operation) -> Option<Fault> {
        let queued = self.queued.iter_mut().find(|queued| queued.left > 0 && queued.scope.covers(operation));
        if let Some(queued) = queued {
            queued.left -= 1;
            let fault = queued.fault.clone();
            self.queued.retain(|queued| queued.left > 0);
            return Some(fault);
        }
        self.standing.iter().find(|(scope, _)| scope.covers(operation)).map(|(_, fault)| fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_faults_come_in_order_and_before_standing_ones() {
        let mut faults = Faults::default();
        let refresh = Operation::GetTokensFromRefreshToken;
        faults.stand(Scope::Api, Fault::status(503));
        faults.queue(2, Scope::Refresh, Fault::Truncated);
        faults.queue(1, Scope::Api, Fault::unsupported());
        assert_eq!(faults.take(&Operation::RevokeToken), Some(Fault::unsupported()));
        assert_eq!(faults.take(&refresh), Some(Fault::Truncated));
        assert_eq!(faults.take(&refresh), Some(Fault::Truncated));
        assert_eq!(faults.take(&refresh), Some(Fault::status(503)));
        assert_eq!(faults.take(&Operation::Jwks), None);
        faults.clear();
        assert_eq!(faults.take(&refresh), None);
    }
}
