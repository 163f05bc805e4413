//! `warn.desktop`: notifications on the desktop of whoever runs this program.
//!
//! Owns what is on the screen: one notification of each subject, the later in the place of the earlier, taken away when
//! its matter is settled. A desktop that is not there, as on a server, is nobody's failure; it may come later, or come
//! again.

mod bus;

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use self::bus::{Bus, Letter, Server, Signal};
use super::{
    Answer,
    notice::{Notice, Subject, escaped},
};
use crate::{
    clock::Now,
    current::CurrentToken,
    session::{snapshot::Snapshot, status::StateName, warning::Level},
};

/// What a press on the notification itself means (Desktop Notifications Specification 1.2, "default").
const DEFAULT: &str = "default";

/// The buttons.
const SIGN_IN: (&str, &str) = ("sign-in", "Sign in");
const STAY: (&str, &str) = ("stay-signed-in", "Stay signed in");

/// The desktop, as a channel.
#[derive(Debug)]
pub(super) struct Desktop {
    /// The bus; None for the session's own.
    address: Option<String>,
    current: CurrentToken,
    answers: mpsc::Sender<Answer>,
    /// Open while something is on the screen.
    bus: Option<Bus>,
    shown: Vec<Shown>,
    /// Whether it has been said that there is no desktop.
    is_absence_told: bool,
}

/// What is on the screen.
#[derive(Debug)]
struct Shown {
    subject: Subject,
    /// Its number, at that server.
    id: u32,
    server: String,
    /// Whether its matter has been seen in what is published, which may come a little later than the warning.
    is_seen: bool,
    /// The use after which the lock would close.
    used: Option<Duration>,
}

impl Desktop {
    /// On the bus at `address`, or on the session's own; a press goes to `answers`.
    pub(super) const fn new(address: Option<String>, current: CurrentToken, answers: mpsc::Sender<Answer>) -> Self {
        Self { address, current, answers, bus: None, shown: Vec::new(), is_absence_told: false }
    }

    /// Shows what comes, until nothing can come any more.
    pub(super) async fn run(mut self, mut notices: mpsc::Receiver<Arc<Notice>>) {
        let mut published = self.current.subscribe();
        loop {
            tokio::select! {
                notice = notices.recv() => match notice {
                    Some(notice) => self.show(&notice).await,
                    None => return,
                },
                news = published.changed(), if !self.shown.is_empty() => {
                    if news.is_err() {
                        return;
                    }
                    self.withdraw().await;
                }
                heard = next(&mut self.bus) => match heard {
                    Some((server, signal)) => self.heard(&server, &signal),
                    None => self.leave(),
                },
            }
            if self.shown.is_empty() {
                self.bus = None;
            }
        }
    }

    async fn show(&mut self, notice: &Notice) {
        match self.notify(notice).await {
            Ok(shown) => {
                self.shown.retain(|other| other.subject != shown.subject);
                self.shown.push(shown);
                self.is_absence_told = false;
            }
            // Not a failure: a server has no desktop, and a notification that is not seen is in the log.
            Err(error) => {
                if !std::mem::replace(&mut self.is_absence_told, true) {
                    tracing::debug!(%error, "no notification can be shown: there is no desktop");
                }
                self.leave();
            }
        }
    }

    async fn notify(&mut self, notice: &Notice) -> zbus::Result<Shown> {
        let (bus, server) = self.reach().await?;
        let earlier = self.shown.iter().find(|shown| shown.subject == notice.subject && shown.server == server.name);
        let letter = letter(notice, &server, earlier.map_or(0, |shown| shown.id), self.current.now());
        let id = bus.notify(&server, &letter).await?;
        self.bus = Some(bus);
        let snapshot = self.current.snapshot();
        let used = snapshot.idle.map(|lock| lock.since);
        let mut shown = Shown { subject: notice.subject, id, server: server.name, is_seen: false, used };
        shown.is_seen = shown.is_pending(&snapshot);
        Ok(shown)
    }

    /// The bus and the server on it: by the connection that is open, or by a new one where that has died unnoticed.
    async fn reach(&mut self) -> zbus::Result<(Bus, Server)> {
        if let Some(bus) = self.bus.take()
            && let Ok(server) = bus.server().await
        {
            return Ok((bus, server));
        }
        self.leave();
        let bus = Bus::open(self.address.as_deref()).await?;
        let server = bus.server().await?;
        Ok((bus, server))
    }

    /// Forgets the connection, and what was shown over it.
    fn leave(&mut self) {
        self.bus = None;
        self.shown.clear();
    }

    /// Takes away what is settled.
    async fn withdraw(&mut self) {
        let snapshot = self.current.snapshot();
        for shown in &mut self.shown {
            shown.is_seen |= shown.is_pending(&snapshot);
        }
        let settled = self.shown.extract_if(.., |shown| shown.is_seen && !shown.is_pending(&snapshot));
        for Shown { server, id, .. } in settled.collect::<Vec<_>>() {
            if let Some(bus) = &self.bus
                && let Err(error) = bus.close(&server, id).await
            {
                tracing::debug!(%error, "a notification was not taken away");
            }
        }
    }

    fn heard(&mut self, server: &str, signal: &Signal) {
        let id = match signal {
            Signal::Invoked { id, .. } | Signal::Closed { id } => *id,
        };
        // Numbers are given by each server, and anybody on the bus may say such a thing.
        let Some(at) = self.shown.iter().position(|shown| shown.id == id && shown.server == server) else { return };
        match signal {
            Signal::Closed { .. } => drop(self.shown.remove(at)),
            Signal::Invoked { action, .. } => {
                if let Some(answer) = answer(self.shown[at].subject, action) {
                    tracing::info!(action, "the notification was answered");
                    // A second press, while the first is being obeyed, asks for the same.
                    let _ = self.answers.try_send(answer);
                }
            }
        }
    }
}

/// What the server says next; never where there is no connection.
async fn next(bus: &mut Option<Bus>) -> Option<(String, Signal)> {
    match bus {
        Some(bus) => bus.heard().await,
        None => std::future::pending().await,
    }
}

impl Shown {
    /// Whether its matter still stands in what is published.
    fn is_pending(&self, snapshot: &Snapshot) -> bool {
        let facts = &snapshot.facts;
        match self.subject {
            Subject::Session => facts.level > Level::None,
            Subject::Lock => facts.state != StateName::Locked && snapshot.idle.map(|lock| lock.since) == self.used,
            Subject::Refreshing => facts.consecutive_failures > 0,
        }
    }
}

/// What a press means.
fn answer(subject: Subject, action: &str) -> Option<Answer> {
    match (subject, action) {
        (Subject::Session, DEFAULT) => Some(Answer::SignIn),
        (Subject::Session, key) if key == SIGN_IN.0 => Some(Answer::SignIn),
        (Subject::Lock, DEFAULT) => Some(Answer::StaySignedIn),
        (Subject::Lock, key) if key == STAY.0 => Some(Answer::StaySignedIn),
        _ => None,
    }
}

fn letter(notice: &Notice, server: &Server, replaces: u32, now: Now) -> Letter {
    let button = match notice.subject {
        Subject::Session => Some(SIGN_IN),
        Subject::Lock => Some(STAY),
        Subject::Refreshing => None,
    };
    let actions = match button {
        Some(button) if server.has_actions => vec![(DEFAULT, button.1), button],
        _ => Vec::new(),
    };
    // The command too where there are buttons: those do nothing once this program has been restarted.
    let body = format!("{} {}", notice.local_text, notice.advice);
    let is_pressing = notice.level >= Level::Urgent;
    let is_lock = notice.subject == Subject::Lock;
    // The word about the lock is worth nothing once it is closed; what is urgent waits until it is seen.
    let left = notice.expires_at.map(|at| at.since(now.wall).as_millis()).filter(|_| is_lock);
    let expires_in = match left {
        Some(millis) => i32::try_from(millis).unwrap_or(-1),
        None if is_pressing => 0,
        None => -1,
    };
    Letter {
        replaces,
        summary: notice.title.clone(),
        body: if server.has_markup { escaped(&body) } else { body },
        actions,
        urgency: match notice.level {
            Level::None | Level::Notice => 0,
            Level::Soon => 1,
            Level::Urgent | Level::Ended => 2,
        },
        is_resident: is_pressing && !is_lock,
        is_transient: is_lock,
        expires_in,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::UnixTime,
        session::warning::WarningKind,
        warn::notice::fixtures::{NOW, notice},
    };

    fn server(has_actions: bool, has_markup: bool) -> Server {
        Server { name: ":1.7".into(), has_actions, has_markup }
    }

    #[test]
    fn urgency_follows_the_level() {
        let urgency = |level| letter(&notice(WarningKind::SessionEnd(level)), &server(true, true), 0, NOW).urgency;
        assert_eq!([Level::Notice, Level::Soon, Level::Urgent, Level::Ended].map(urgency), [0, 1, 2, 2]);
    }

    #[test]
    fn the_end_of_the_session_offers_a_sign_in_and_names_the_command() {
        let ends = notice(WarningKind::SessionEnd(Level::Urgent));
        let pressed = letter(&ends, &server(true, true), 7, NOW);
        assert_eq!(pressed.actions, [("default", "Sign in"), ("sign-in", "Sign in")]);
        assert!(pressed.is_resident && pressed.expires_in == 0 && pressed.replaces == 7);
        assert!(pressed.body.ends_with("Run: cognito-proxy login"), "{}", pressed.body);
        let typed = letter(&ends, &server(false, true), 0, NOW);
        assert!(typed.actions.is_empty() && typed.body == pressed.body, "{}", typed.body);
    }

    #[test]
    fn the_lock_offers_to_stay_and_goes_when_it_is_closed() {
        let lock = notice(WarningKind::IdleLock { closes_at: UnixTime::from_secs(60) });
        let letter = letter(&lock, &server(true, false), 0, NOW);
        assert_eq!(letter.actions, [("default", "Stay signed in"), ("stay-signed-in", "Stay signed in")]);
        assert!(letter.is_transient && !letter.is_resident && letter.expires_in == 60_000);
    }

    #[test]
    fn markup_is_escaped_where_it_would_be_read() {
        let failing = WarningKind::RefreshFailing { error: "<b>&".into(), token_ends_at: UnixTime::from_secs(9) };
        let body = |has_markup| letter(&notice(failing.clone()), &server(true, has_markup), 0, NOW).body;
        assert!(body(true).contains("&lt;b&gt;&amp;") && body(false).contains("<b>&"));
    }

    #[test]
    fn a_press_means_what_its_notification_is_about() {
        for (subject, action, expected) in [
            (Subject::Session, "default", Some(Answer::SignIn)),
            (Subject::Session, "sign-in", Some(Answer::SignIn)),
            (Subject::Session, "stay-signed-in", None),
            (Subject::Lock, "default", Some(Answer::StaySignedIn)),
            (Subject::Lock, "stay-signed-in", Some(Answer::StaySignedIn)),
            (Subject::Refreshing, "default", None),
            (Subject::Session, "", None),
        ] {
            assert_eq!(answer(subject, action), expected, "{subject:?} {action}");
        }
    }
}
