//! What the service manager is told while the proxy serves: how the session is, and that the loops turn.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::vitals::Health;
use crate::{
    admin::Vitals,
    current::CurrentToken,
    refresher::Command,
    session::status::{Facts, StateName},
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
    loop {
        notifier.status(&status(&current.snapshot().facts));
        tokio::select! {
            told = changes.changed() => {
                if told.is_err() {
                    return std::future::pending().await;
                }
            }
            () = next_ping(notifier) => {
                if health.is_alive() && answers(commands).await {
                    notifier.alive();
                }
            }
        }
    }
}

/// Completes when a ping is due; never, where nobody waits for one.
async fn next_ping(notifier: &Notifier) {
    match notifier.alive_every() {
        Some(period) => tokio::time::sleep(period).await,
        None => std::future::pending().await,
    }
}

/// Whether the refresher's loop turns.
async fn answers(commands: &mpsc::Sender<Command>) -> bool {
    let (done, told) = oneshot::channel();
    let asked = async { commands.send(Command::Ping { done }).await.is_ok() && told.await.is_ok() };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or(false)
}

/// The line of `systemctl status`: whose session, and until when.
fn status(facts: &Facts) -> String {
    let state = facts.state.as_str().replace('_', " ");
    let Some(identity) = facts.identity.as_ref().filter(|_| facts.state != StateName::SignedOut) else {
        return state;
    };
    let token = facts.id_token.map(|times| format!(", token until {}", times.expires_at)).unwrap_or_default();
    let session = facts.refresh_token.at.map(|at| format!(", session ends {at}")).unwrap_or_default();
    format!("{}: {state}{token}{session}", identity.username)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Now, UnixTime},
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
    }
}
