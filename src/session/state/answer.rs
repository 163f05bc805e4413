//! What an answer of Cognito does to the state.

use std::time::Duration;

use super::{Phase, Publish, State, Warning};
use crate::{
    clock::{Now, UnixTime},
    session::{
        EndReason, Failure, Grant, LastRefresh, Outcome, schedule, validity,
        verdict::{Ruling, Suspicion},
        warning::Level,
    },
};

/// After an answer that was rejected there is never less between attempts.
const REJECTION_PAUSE: Duration = Duration::from_secs(5);

/// A refusal that a setting causes is tried again this late, or at a reload.
const SETTING_PAUSE: Duration = Duration::from_secs(600);

impl State {
    pub(super) fn granted(&mut self, now: Now, grant: Grant) {
        let skew_ms = schedule::skew_ms(now.wall, grant.date, grant.id_token.claims.issued_at);
        if let Some(rule) = unacceptable(now, &grant, skew_ms) {
            self.keep_rotated(grant.refresh_token);
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
        }
        if std::mem::take(&mut self.forced.under_way) {
            self.forced.brought = Some(session.generation);
        }
        self.save = true;
        self.take(session);
    }

    /// A rotation that came with unusable tokens has been committed all the same: the old token is spent.
    fn keep_rotated(&mut self, rotated: Option<crate::secret::Secret>) {
        if let (Some(session), Some(rotated)) = (self.session.as_mut(), rotated)
            && session.refresh_token != rotated
        {
            session.refresh_token = rotated;
            session.generation += 1;
            self.save = true;
        }
    }

    pub(super) fn failed(&mut self, now: Now, failure: Failure) {
        if let Failure::Rotated { rotated, failure } = failure {
            self.keep_rotated(Some(rotated));
            return self.failed(now, *failure);
        }
        let probing = matches!(self.phase, Phase::Refreshing { probing: true });
        self.failures = self.failures.saturating_add(1);
        self.forced.under_way = false;
        self.note_failure(now, &failure);
        match failure {
            Failure::Transient { sent: true, .. } if self.failures == 1 => self.start(now, probing),
            // The first was taken out above.
            Failure::Rotated { .. } | Failure::Transient { .. } => {
                let pause = schedule::backoff(self.failures, &mut self.dice);
                self.back_off(now, self.capped_by_token(now, pause), true);
            }
            Failure::Throttled { retry_after, .. } => {
                let pause = schedule::throttled(self.failures, retry_after, &mut self.dice);
                self.back_off(now, pause, false);
            }
            Failure::Unacceptable { .. } => {
                let pause = schedule::backoff(self.failures, &mut self.dice).max(REJECTION_PAUSE);
                self.back_off(now, pause, false);
            }
            Failure::Setting { setting, .. } => {
                self.suspicion = Suspicion::Setting(setting);
                self.back_off(now, SETTING_PAUSE, false);
            }
            Failure::Terminal { reason } => {
                let ruling = self.suspicion.refused(reason);
                self.follow(now, ruling, probing);
            }
            Failure::Ambiguous { detail } => {
                let ruling = self.suspicion.doubted(detail);
                self.follow(now, ruling, probing);
            }
        }
    }

    /// Does what a refusal means. While probing, the session had ended already and one refusal is enough.
    fn follow(&mut self, now: Now, ruling: Ruling, probing: bool) {
        match ruling {
            Ruling::AskAgain { after, .. } if !probing => self.back_off(now, after, false),
            Ruling::AskAgain { reason, .. } | Ruling::End(reason) => self.end(now, reason),
        }
    }

    fn end(&mut self, now: Now, reason: EndReason) {
        self.suspicion = Suspicion::default();
        let known = self.session.as_ref().is_some_and(|session| session.notes.ended.is_some());
        self.phase = Phase::Ended { reason: reason.clone() };
        let skewed = now.wall.shifted(self.skew_ms);
        if let Some(session) = self.session.as_mut() {
            if reason == EndReason::Expired
                && let Some(signed_in) = session.auth_time
            {
                session.notes.observed.refused(skewed.since(signed_in));
            }
            session.notes.ended = Some(reason.clone());
        }
        self.save = true;
        if !known {
            let horizon = self.horizon();
            self.warnings.push(Warning {
                level: Level::Ended,
                expires_at: horizon.as_ref().and_then(|horizon| horizon.refresh_token.at),
                injecting_until: horizon.and_then(|horizon| horizon.injecting_until(now)),
                reason: Some(reason),
                fix: self.login.clone(),
            });
        }
    }

    fn note_failure(&mut self, now: Now, failure: &Failure) {
        let Some(session) = self.session.as_mut() else { return };
        let outcome = failure.outcome();
        // One write for each change of outcome: an outage of an hour is no hour of writing.
        self.save |= session.notes.last_refresh.as_ref().is_none_or(|last| last.outcome != outcome);
        session.notes.last_refresh = Some(LastRefresh { at: now.wall, outcome, error: Some(failure.to_string()) });
    }

    /// `pause`, or the rest of the token's life where that is shorter: a good token is not let die in a backoff.
    fn capped_by_token(&self, now: Now, pause: Duration) -> Duration {
        match self.end_of_token().map(|end| end.remaining(now)) {
            Some(left) if !left.is_zero() => pause.min(left),
            _ => pause,
        }
    }
}

/// The rule that a grant breaks, if it breaks one that only a clock can judge.
fn unacceptable(now: Now, grant: &Grant, skew_ms: i64) -> Option<&'static str> {
    let claims = &grant.id_token.claims;
    if claims.expires_at <= claims.issued_at {
        Some("its `exp` does not lie after its `iat`")
    } else if claims.expires_at <= now.wall.shifted(skew_ms) {
        Some("its `exp` has passed already")
    } else {
        None
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
