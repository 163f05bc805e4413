//! What an answer of Cognito does to the state.

use std::time::Duration;

use super::{Phase, Publish, State};
use crate::{
    clock::{Now, UnixTime},
    secret::Secret,
    session::{
        EndReason, Failure, Grant, LastRefresh, Outcome, Session, Token, TokenKind, schedule, validity,
        verdict::{Ruling, Suspicion},
    },
};

/// After an answer that was rejected there is never less between attempts.
const REJECTION_PAUSE: Duration = Duration::from_secs(5);

/// A refusal that a setting causes is tried again this late, or at a reload.
const SETTING_PAUSE: Duration = Duration::from_secs(600);

impl State {
    pub(super) fn granted(&mut self, now: Now, grant: Grant) {
        let skew_ms = schedule::skew_ms(now.wall, grant.date, grant.id_token.claims.issued_at);
        if let Some(rule) = self.broken_rule(now, &grant, skew_ms) {
            if !self.is_of_another(&grant) {
                self.keep_rotated(grant.refresh_token);
            }
            self.failed(now, Failure::Unacceptable { detail: rule.into() });
            return;
        }
        let Some(mut session) = self.session.take() else { return };
        self.skew_ms = skew_ms;
        session.generation += 1;
        session.auth_time = earliest(session.auth_time, grant.id_token.claims.auth_time);
        session.id_token = grant.id_token;
        session.access_token = grant.access_token.or(session.access_token);
        session.jwks = grant.jwks.or(session.jwks);
        session.notes.ended = None;
        session.notes.last_refresh = Some(LastRefresh { at: now.wall, outcome: Outcome::Ok, error: None });
        if let Some(age) = session.auth_time.map(|signed_in| now.wall.shifted(skew_ms).since(signed_in)) {
            let believed = validity::believed(&self.settings, self.pool_validity, &session.notes.observed);
            session.notes.observed.succeeded(age, believed);
        }
        if let Some(rotated) = grant.refresh_token.filter(|new| *new != session.refresh_token) {
            session.refresh_token = rotated;
            self.publish = Publish::AfterSave;
            self.undurable = true;
        }
        if std::mem::take(&mut self.forced.under_way) {
            self.forced.brought = Some(session.generation);
        }
        self.save = true;
        self.take(session);
        self.left_when_granted =
            self.token().map_or(Duration::MAX, |token| self.end_of(token).remaining(token.received));
        self.roll_lead();
    }

    /// The rule that a grant breaks, if it breaks one that takes the clock or the session to judge.
    fn broken_rule(&self, now: Now, grant: &Grant, skew_ms: i64) -> Option<&'static str> {
        if self.is_of_another(grant) {
            return Some("its `sub` is not the session's");
        }
        if grant.access_token.is_none() && self.settings.kinds.contains(&TokenKind::Access) {
            return Some("the access token that a route needs is missing");
        }
        let aws = now.wall.shifted(skew_ms);
        [Some(&grant.id_token), grant.access_token.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|token| unusable(token, aws))
    }

    fn is_of_another(&self, grant: &Grant) -> bool {
        self.session.as_ref().is_some_and(|session| session.subject != grant.id_token.claims.subject)
    }

    /// A rotation that came with unusable tokens has been committed all the same: the old token is spent.
    fn keep_rotated(&mut self, rotated: Option<Secret>) {
        if let (Some(session), Some(rotated)) = (self.session.as_mut(), rotated)
            && session.refresh_token != rotated
        {
            session.refresh_token = rotated;
            session.generation += 1;
            self.newest = self.newest.max(session.generation);
            self.undurable = true;
            self.save = true;
        }
    }

    pub(super) fn failed(&mut self, now: Now, failure: Failure) {
        let (rotated, failure) = failure.split();
        self.keep_rotated(rotated);
        let probing = matches!(self.phase, Phase::Refreshing { probing: true, .. });
        let lost = matches!(failure, Failure::Transient { sent: true, .. });
        let lost_again = std::mem::replace(&mut self.lost, lost);
        self.failures = self.failures.saturating_add(1);
        self.note_failure(now, &failure);
        if lost && !lost_again && !self.is_writing_token() {
            // A rotation may have been committed, and the grace period runs.
            return self.start(now, probing);
        }
        if probing {
            return self.stay_ended(now, failure);
        }
        self.pause(now, &failure);
        self.announce_failing(now, &failure);
    }

    /// Waits as long as `failure` asks for, or believes it.
    fn pause(&mut self, now: Now, failure: &Failure) {
        match failure {
            Failure::Rotated { failure, .. } => self.pause(now, failure),
            Failure::Transient { .. } => {
                let pause = schedule::backoff(self.failures, &mut self.dice);
                self.back_off(now, self.capped_by_token(now, pause), true);
            }
            Failure::Throttled { retry_after, .. } => {
                let pause = schedule::throttled(self.failures, *retry_after, &mut self.dice);
                self.back_off(now, pause, false);
            }
            Failure::Unacceptable { .. } => {
                let pause = schedule::backoff(self.failures, &mut self.dice).max(REJECTION_PAUSE);
                self.back_off(now, pause, false);
            }
            Failure::Setting { .. } if self.outdated && !self.is_writing_token() => self.start(now, false),
            Failure::Setting { setting, .. } => {
                self.suspicion = Suspicion::Setting(*setting);
                self.back_off(now, SETTING_PAUSE, false);
            }
            Failure::Terminal { reason } => {
                let ruling = self.suspicion.refused(reason.clone());
                self.follow(now, ruling);
            }
            Failure::Ambiguous { detail } => {
                let ruling = self.suspicion.doubted(detail.clone());
                self.follow(now, ruling);
            }
        }
    }

    /// The one attempt that a restart or a reload is worth brought nothing: the verdict stands, or a new one follows.
    fn stay_ended(&mut self, now: Now, failure: Failure) {
        let known = self.session.as_ref().and_then(|session| session.notes.ended.clone());
        match (failure, known) {
            (Failure::Terminal { reason }, _) => self.end(now, reason),
            (_, Some(reason)) => self.phase = Phase::Ended { reason },
            (failure, None) => self.end(now, EndReason::Refused(failure.to_string())),
        }
    }

    /// Does what a refusal means.
    fn follow(&mut self, now: Now, ruling: Ruling) {
        match ruling {
            Ruling::AskAgain { after } => self.back_off(now, after, false),
            Ruling::End(reason) => self.end(now, reason),
        }
    }

    fn end(&mut self, now: Now, reason: EndReason) {
        self.suspicion = Suspicion::default();
        let aws = self.aws(now.wall);
        let mut known = false;
        if let Some(session) = self.session.as_mut() {
            known = session.notes.ended.is_some();
            teach(session, &reason, aws);
            session.notes.ended = Some(reason.clone());
        }
        self.phase = Phase::Ended { reason };
        self.save = true;
        if !known {
            self.announce_end(now);
        }
    }

    fn note_failure(&mut self, now: Now, failure: &Failure) {
        let Some(session) = self.session.as_mut() else { return };
        // Kept in memory, and stored with whatever is stored next: a failure alone leaves the store untouched.
        session.notes.last_refresh =
            Some(LastRefresh { at: now.wall, outcome: failure.outcome(), error: Some(failure.to_string()) });
    }

    /// `pause`, or the time for which the token may still be injected, where that is shorter: a good token is not let
    /// die in a backoff.
    fn capped_by_token(&self, now: Now, pause: Duration) -> Duration {
        match self.end_of_token().map(|end| end.earlier(schedule::LAST_SECOND).remaining(now)) {
            Some(left) if !left.is_zero() => pause.min(left).max(schedule::BACKOFF_FLOOR),
            _ => pause,
        }
    }
}

/// The rule that `token` breaks at `aws`, in AWS's time, if it breaks one.
fn unusable(token: &Token, aws: UnixTime) -> Option<&'static str> {
    let claims = &token.claims;
    if claims.expires_at <= claims.issued_at {
        Some("its `exp` does not lie after its `iat`")
    } else if claims.expires_at - schedule::LAST_SECOND <= aws {
        Some("its `exp` has passed already")
    } else {
        None
    }
}

/// A refusal as expired at `aws` bounds the validity of the refresh token.
fn teach(session: &mut Session, reason: &EndReason, aws: UnixTime) {
    if *reason == EndReason::Expired
        && let Some(signed_in) = session.auth_time
    {
        session.notes.observed.refused(aws.since(signed_in));
    }
}

fn earliest(known: Option<UnixTime>, new: Option<UnixTime>) -> Option<UnixTime> {
    known.into_iter().chain(new).min()
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Event, fixtures};
    use super::*;
    use crate::{secret::Secret, session::TransientKind};

    #[test]
    fn a_rotation_that_brought_no_usable_token_is_stored_before_the_next_attempt() {
        let now = Now { wall: UnixTime::from_secs(1_000_000), boot: Duration::from_secs(100) };
        let session = fixtures::session(now, 3600);
        let state = State::new(fixtures::settings(), "cognito-proxy login".into(), 1);
        let (state, _) = state.step(now, Event::Loaded(Ok(Some(Box::new(session)))));
        let due = now.after(Duration::from_secs(3500));
        let (state, actions) = state.step(due, Event::Tick);
        assert!(actions.contains(&Action::Refresh), "{actions:?}");

        let failure = Failure::Transient { kind: TransientKind::Jwks, sent: false, detail: "no keys".into() };
        let failure = Failure::Rotated { rotated: Secret::from("refresh-1"), failure: Box::new(failure) };
        let (state, actions) = state.step(due, Event::Failed { generation: 1, failure });
        let session = state.session().expect("still there");
        assert_eq!((session.refresh_token.expose(), session.generation), ("refresh-1", 2));
        assert_eq!(session.notes.last_refresh.as_ref().map(|last| last.outcome), Some(Outcome::Transient));
        assert!(actions.contains(&Action::Save) && !actions.contains(&Action::Refresh), "{actions:?}");
    }
}
