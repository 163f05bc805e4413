//! What is due, and when: reckoned from the state, never kept beside it.

use std::time::Duration;

use super::{Phase, State};
use crate::{
    clock::{Now, UnixTime},
    session::{
        Mode, Session, Token, TokenKind,
        schedule::{self, Deadline, LAST_SECOND},
        snapshot::Injectable,
        validity::{self, Horizon},
        warning::Plan,
    },
};

/// Nobody sleeps longer than this: a state that has nothing to do still looks at the clock once a day.
const LONGEST_SLEEP: Duration = Duration::from_secs(86_400);

impl State {
    pub(super) fn wake_in(&self, now: Now) -> Duration {
        let expiry = self.horizon().and_then(|horizon| horizon.refresh_token.at).filter(|at| *at > now.wall);
        let aws = self.aws(now.wall);
        let announcement = self.plan().and_then(|plan| plan.next(aws));
        // A write that is under way will be answered.
        let rewrite = self.unsaved.as_ref().filter(|_| !self.saving);
        let retry = self.retry_at().filter(|_| !self.is_writing_token());
        [
            self.refresh_due(now),
            retry.map(|until| until.saturating_sub(now.boot)),
            rewrite.map(|unsaved| unsaved.retry_at.saturating_sub(now.boot)),
            self.idleness_due(now),
            expiry.map(|at| at.since(now.wall)),
            announcement.map(|at| at.since(aws)),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(LONGEST_SLEEP)
        .min(LONGEST_SLEEP)
    }

    /// How long until the next refresh is due, where one is planned.
    pub(in crate::session) fn refresh_due(&self, now: Now) -> Option<Duration> {
        // A refresh token that is not durable yet is not spent: the next step follows when the store has answered.
        if self.phase != Phase::Fresh || self.is_writing_token() {
            return None;
        }
        let ahead = match self.settings.mode {
            Mode::Ahead if self.lacks_kind() => Some(Duration::ZERO),
            Mode::Ahead => Some(self.end_of_token()?.earlier(self.lead).remaining(now)),
            Mode::OnDemand => None,
        };
        let last_chance = self.last_chance(now);
        ahead.into_iter().chain(last_chance).min()
    }

    /// Whether a request would have to wait: a token has less left than `min_ttl`, or is not there at all.
    pub(super) fn lacks_fresh(&self, now: Now) -> bool {
        self.lacks_kind() || self.injectables().any(|token| !token.is_fresh(now))
    }

    /// Whether a request would get nothing: a token has died, or is not there at all.
    pub(super) fn lacks_usable(&self, now: Now) -> bool {
        self.lacks_kind() || self.injectables().any(|token| !token.is_usable(now))
    }

    /// Whether the routes inject a kind of token that this session has never had.
    fn lacks_kind(&self) -> bool {
        let lacks_access = self.session.as_ref().is_some_and(|session| session.access_token.is_none());
        lacks_access && self.settings.kinds.contains(&TokenKind::Access)
    }

    /// The session's tokens, injected by a route or not: the control socket hands out either.
    fn injectables(&self) -> impl Iterator<Item = Injectable> + '_ {
        let session = self.session.as_ref();
        let tokens = session.into_iter().flat_map(|session| [Some(&session.id_token), session.access_token.as_ref()]);
        tokens.flatten().map(|token| self.injectable(token))
    }

    /// `token` as workers see it.
    pub(in crate::session) fn injectable(&self, token: &Token) -> Injectable {
        let min_ttl = schedule::min_ttl(&self.settings, self.life_of(token));
        Injectable::new(token, self.minted, self.end_of(token), min_ttl)
    }

    /// How long until the last chance begins: one more refresh just before the refresh token dies.
    fn last_chance(&self, now: Now) -> Option<Duration> {
        let horizon = self.horizon()?;
        let (begins, expiry) = (horizon.last_chance()?, horizon.refresh_token.at?);
        let taken = self.had_since(self.token()?) >= begins;
        (!taken && now.wall < expiry).then(|| begins.since(now.wall))
    }

    /// Since when `token` has been had, in this machine's time. One that was loaded counts as received when it was, and
    /// says itself when it was issued; one that was granted may have been issued long before.
    fn had_since(&self, token: &Token) -> UnixTime {
        let is_loaded = self.left_when_granted == Duration::MAX;
        if is_loaded { token.claims.issued_at.shifted(-self.skew_ms) } else { token.received.wall }
    }

    /// The token whose end is nearest among those that the routes inject.
    pub(in crate::session) fn token(&self) -> Option<&Token> {
        self.injected().min_by_key(|token| token.claims.expires_at)
    }

    /// The moment from which nothing can be injected any more, unless another refresh succeeds.
    pub(in crate::session) fn last_death(&self) -> Option<Deadline> {
        self.injected().map(|token| self.end_of(token).earlier(LAST_SECOND)).max_by_key(|end| end.wall)
    }

    /// The tokens that the routes inject.
    fn injected(&self) -> impl Iterator<Item = &Token> {
        let kinds = |session| self.settings.kinds.iter().filter_map(move |kind| token_of(session, *kind));
        self.session.iter().flat_map(kinds)
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
            self.has_ended() || session.notes.locked,
        ))
    }

    /// When this session's end is announced, in AWS's time, where that end is known.
    pub(in crate::session) fn plan(&self) -> Option<Plan> {
        let session = self.session.as_ref()?;
        let expiry = validity::expiry(&self.settings, self.pool_validity, session, 0).at?;
        let believed = validity::believed(&self.settings, self.pool_validity, &session.notes.observed).0?;
        let lifetime = self.token().unwrap_or(&session.id_token).lifetime();
        Some(Plan::new(expiry, believed, lifetime, &self.settings.warn_before))
    }
}

const fn token_of(session: &Session, kind: TokenKind) -> Option<&Token> {
    match kind {
        TokenKind::Id => Some(&session.id_token),
        TokenKind::Access => session.access_token.as_ref(),
    }
}
