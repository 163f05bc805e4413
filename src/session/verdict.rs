//! When a refusal is believed: Cognito has been seen to refuse a good token for a moment. Pure.

use std::time::Duration;

use super::{EndReason, SettingAtFault};

/// A definite refusal counts when it is repeated after this time.
const CONFIRMATION: Duration = Duration::from_secs(2);

/// An ambiguous refusal is asked again after each of these, and believed after the last.
const SECOND_THOUGHTS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(20)];

/// What earlier refusals have left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nothing.
    #[default]
    None,
    /// One definite refusal, which waits for its confirmation.
    Refused(EndReason),
    /// This many ambiguous ones.
    Doubted(usize),
    /// A setting is at fault.
    Setting(SettingAtFault),
}

/// What a refusal means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// Ask once more before it is believed.
    AskAgain {
        /// After this time.
        after: Duration,
    },
    /// It is believed.
    End(EndReason),
}

impl Suspicion {
    /// A definite refusal came.
    pub(super) fn refused(&mut self, reason: EndReason) -> Ruling {
        match std::mem::replace(self, Self::Refused(reason.clone())) {
            Self::Refused(_) => Ruling::End(reason),
            Self::None | Self::Doubted(_) | Self::Setting(_) => Ruling::AskAgain { after: CONFIRMATION },
        }
    }

    /// An ambiguous refusal came, in these words.
    pub(super) fn doubted(&mut self, detail: String) -> Ruling {
        let asked = match self {
            // A definite refusal and then an ambiguous one: two refusals.
            Self::Refused(reason) => return Ruling::End(reason.clone()),
            Self::Doubted(asked) => *asked,
            Self::None | Self::Setting(_) => 0,
        };
        *self = Self::Doubted(asked + 1);
        match SECOND_THOUGHTS.get(asked) {
            Some(after) => Ruling::AskAgain { after: *after },
            None => Ruling::End(EndReason::Refused(detail)),
        }
    }

    /// The setting at fault, if that is what it is.
    pub(super) const fn setting(&self) -> Option<SettingAtFault> {
        match self {
            Self::Setting(setting) => Some(*setting),
            Self::None | Self::Refused(_) | Self::Doubted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definite_refusal_needs_a_second_one() {
        let mut suspicion = Suspicion::default();
        let first = suspicion.refused(EndReason::Expired);
        assert_eq!(first, Ruling::AskAgain { after: Duration::from_secs(2) });
        assert_eq!(suspicion.refused(EndReason::Revoked), Ruling::End(EndReason::Revoked));
    }

    #[test]
    fn an_ambiguous_refusal_is_asked_twice_more() {
        let mut suspicion = Suspicion::default();
        let mut pauses = Vec::new();
        let end = loop {
            match suspicion.doubted("Invalid Refresh Token".into()) {
                Ruling::AskAgain { after } => pauses.push(after.as_secs()),
                Ruling::End(reason) => break reason,
            }
        };
        assert_eq!(pauses, [10, 20]);
        assert_eq!(end, EndReason::Refused("Invalid Refresh Token".into()));
    }

    #[test]
    fn an_ambiguous_refusal_confirms_a_definite_one_but_not_the_other_way_round() {
        let mut suspicion = Suspicion::default();
        let _first = suspicion.refused(EndReason::Revoked);
        assert_eq!(suspicion.doubted("no".into()), Ruling::End(EndReason::Revoked));
        let mut suspicion = Suspicion::default();
        let _first = suspicion.doubted("no".into());
        assert!(matches!(suspicion.refused(EndReason::Expired), Ruling::AskAgain { .. }));
    }
}
