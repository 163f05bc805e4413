//! What is due, and when: reckoned from the state, never kept beside it.

use std::time::Duration;

use super::{Phase, State};
use crate::{
    clock::Now,
    session::{
        Mode, Token, TokenKind,
        schedule::Deadline,
        validity::{self, Horizon},
        warning::Plan,
    },
};

/// Nobody sleeps longer than this: a state that has nothing to do still looks at the clock once a day.
const LONGEST_SLEEP: Duration = Duration::from_secs(86_400);

impl State {
    pub(super) fn wake_in(&self, now: Now) -> Duration {
        let horizon = self.horizon();
        let expiry = horizon.as_ref().and_then(|horizon| horizon.refresh_token.at);
        let moments = [self.plan().and_then(|plan| plan.next(now.wall)), expiry.filter(|at| *at > now.wall)];
        let durations = [
            self.refresh_due(now),
            self.retry_at().map(|until| until.saturating_sub(now.boot)),
            self.unsaved.as_ref().map(|unsaved| unsaved.retry_at.saturating_sub(now.boot)),
        ];
        let moments = moments.into_iter().flatten().map(|at| at.since(now.wall));
        durations.into_iter().flatten().chain(moments).min().unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)
    }

    /// How long until the next refresh is due, where one is planned.
    pub(in crate::session) fn refresh_due(&self, now: Now) -> Option<Duration> {
        if self.phase != Phase::Fresh {
            return None;
        }
        let ahead = match self.settings.mode {
            Mode::Ahead => Some(self.end_of_token()?.earlier(self.lead).remaining(now)),
            Mode::OnDemand => None,
        };
        let last_chance = self.last_chance(now);
        ahead.into_iter().chain(last_chance).min()
    }

    /// How long until the last chance begins: one more refresh just before the refresh token dies.
    fn last_chance(&self, now: Now) -> Option<Duration> {
        let begins = self.horizon()?.last_chance()?;
        let expiry = self.horizon()?.refresh_token.at?;
        let taken = self.token()?.received.wall >= begins;
        (!taken && now.wall < expiry).then(|| begins.since(now.wall))
    }

    /// The token whose end is nearest among those that the routes inject.
    pub(in crate::session) fn token(&self) -> Option<&Token> {
        let session = self.session.as_ref()?;
        let of = |kind| match kind {
            TokenKind::Id => Some(&session.id_token),
            TokenKind::Access => session.access_token.as_ref(),
        };
        self.settings.kinds.iter().filter_map(|kind| of(*kind)).min_by_key(|token| token.claims.expires_at)
    }

    /// The end of `token` on this machine's clocks.
    pub(in crate::session) fn end_of(&self, token: &Token) -> Deadline {
        Deadline {
            wall: token.claims.expires_at.shifted(-self.skew_ms),
            boot: token.received.boot.saturating_add(token.lifetime()),
        }
    }

    pub(in crate::session) fn end_of_token(&self) -> Option<Deadline> {
        self.token().map(|token| self.end_of(token))
    }

    /// How far this session reaches.
    pub(in crate::session) fn horizon(&self) -> Option<Horizon> {
        let session = self.session.as_ref()?;
        let token = self.token().unwrap_or(&session.id_token);
        Some(Horizon::new(
            &self.settings,
            validity::expiry(&self.settings, self.pool_validity, session, self.skew_ms),
            self.end_of(token),
            token.lifetime(),
            matches!(self.phase, Phase::Ended { .. }) || session.notes.locked,
        ))
    }

    /// When this session's end is announced, where that end is known.
    pub(in crate::session) fn plan(&self) -> Option<Plan> {
        let session = self.session.as_ref()?;
        let expiry = validity::expiry(&self.settings, self.pool_validity, session, self.skew_ms).at?;
        let believed = validity::believed(&self.settings, self.pool_validity, &session.notes.observed).0?;
        let lifetime = self.token().unwrap_or(&session.id_token).lifetime();
        Some(Plan::new(expiry, believed, lifetime, &self.settings.warn_before))
    }
}
