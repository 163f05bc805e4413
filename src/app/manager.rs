//! What the service manager is told while the proxy serves: how the session is, and that the loops turn.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::Interval,
};

use super::vitals::Health;
use crate::{
    admin::Vitals,
    current::CurrentToken,
    refresher::Command,
    session::{
        status::{Facts, StateName},
        warning::Level,
    },
    systemd::Notifier,
};

/// A refresher that says nothing for this long hangs: its longest wait is for another process's lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the manager about every change, and pings it while workers and refresher are alive. Never completes.
pub(super) async fn keep_told(
    notifier: &Notifier,
    current: &CurrentToken,
    commands: &mpsc::Sender<Command>,
    health: &Arc<Health>,
) {
    let mut changes = current.subscribe();
    // Kept over changes, however many there are: a ping that each of them put off would never be sent.
    let mut pings = notifier.alive_every().map(tokio::time::interval);
    let mut told = String::new();
    loop {
        let status = status(&current.snapshot().facts);
        if status != told {
            notifier.status(&status);
            told = status;
        }
        tokio::select! {
            change = changes.changed() => {
                if change.is_err() {
                    return std::future::pending().await;
                }
            }
            () = next(pings.as_mut()) => {
                if health.is_alive() && answers(commands).await {
                    notifier.alive();
                }
            }
        }
    }
}

/// Completes when a ping is due; never, where nobody waits for one.
async fn next(pings: Option<&mut Interval>) {
    match pings {
        Some(pings) => drop(pings.tick().await),
        None => std::future::pending().await,
    }
}

/// Whether the refresher's loop turns.
async fn answers(commands: &mpsc::Sender<Command>) -> bool {
    let (done, told) = oneshot::channel();
    let asked = async { commands.send(Command::Ping { done }).await.is_ok() && told.await.is_ok() };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(false)
}

/// The line of `systemctl status`: whose session, until when, and what to do where it ends soon.
fn status(facts: &Facts) -> String {
    let state = facts.state.as_str().replace('_', " ");
    let Some(identity) = facts.identity.as_ref().filter(|_| facts.state != StateName::SignedOut) else {
        return state;
    };
    let token = facts.id_token.map(|times| format!(", token until {}", times.expires_at)).unwrap_or_default();
    let session = facts.refresh_token.at.map(|at| format!(", session ends {at}")).unwrap_or_default();
    let warning = match (&facts.fix, facts.level) {
        (_, Level::None) => String::new(),
        (Some(fix), level) => format!(", {}: {fix}", level.as_str()),
        (None, level) => format!(", {}", level.as_str()),
    };
    format!("{}: {state}{token}{session}{warning}", identity.username)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::{
        clock::{ManualClock, Now, UnixTime},
        current,
        metrics::Metrics,
        session::state::{State, fixtures},
    };

    #[test]
    fn the_status_line_names_the_user_and_both_ends() {
        let now = Now { wall: UnixTime::from_secs(0), boot: Duration::ZERO };
        let state = State::new(fixtures::settings(), "cognito-proxy login".into(), 1);
        assert_eq!(status(&state.clone().snapshot(now).facts), "signed out");
        let state = state.at_rest(Ok(Some(Box::new(fixtures::session(now, 3600)))));
        let line = status(&state.snapshot(now).facts);
        assert_eq!(line, "alice: fresh, token until 1970-01-01T01:00:00Z, session ends 1970-01-31T00:00:00Z");
        let mut facts = state.snapshot(now).facts;
        (facts.level, facts.fix) = (Level::Urgent, Some("cognito-proxy login".into()));
        assert_eq!(status(&facts), format!("{line}, urgent: cognito-proxy login"));
    }

    #[tokio::test]
    async fn changes_that_never_cease_do_not_put_the_ping_off() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier::new(Some(path.as_os_str()), Some(Duration::from_millis(400))).expect("a notifier");
        let clock = Arc::new(ManualClock::at(UnixTime::from_secs(0)));
        let mut snapshot = State::new(fixtures::settings(), String::new(), 1)
            .snapshot(Now { wall: UnixTime::from_secs(0), boot: Duration::ZERO });
        let settings = current::Settings { wait: Duration::ZERO, hold: Duration::ZERO, max_held: 0 };
        let (publisher, current, _nudges) = current::cell(snapshot.clone(), settings, clock);
        let (commands, mut heard) = mpsc::channel(1);
        let health = Arc::new(Health::new(Arc::new(Metrics::default())));
        let mut pings = 0;
        let busy = async {
            while pings < 3 {
                tokio::select! {
                    Some(Command::Ping { done }) = heard.recv() => {
                        pings += 1;
                        let _ = done.send(());
                    }
                    () = tokio::time::sleep(Duration::from_millis(20)) => {
                        snapshot.facts.consecutive_failures += 1;
                        publisher.publish(snapshot.clone());
                    }
                }
            }
        };
        tokio::select! {
            () = keep_told(&notifier, &current, &commands, &health) => unreachable!("it never completes"),
            done = tokio::time::timeout(Duration::from_secs(20), busy) => done.expect("pings are asked for"),
        }
        let mut message = [0; 512];
        let length = manager.recv(&mut message).expect("a message");
        assert_eq!(&message[..length], b"STATUS=signed out\n");
    }
}
