//! `logout`: ends the session at Cognito where it is ours to end, and forgets it here and in the running proxy.
//!
//! Whatever Cognito says, the local part is done; what could not be done is said, and is the exit code.

mod remote;

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    time::Duration,
};

use clap::Args;
use tokio::runtime::Runtime;

use self::remote::{Deed, Ended};
use super::{Exit, Global, keeping, output};
use crate::{
    admin::client::{Client, ClientError},
    app,
    clock::{Clock, SystemClock, UnixTime},
    config::Config,
    refresher,
    session::Session,
    store::{LoadError, Lock, LockError, TokenStore},
};

/// How long a refresh of the running proxy is waited for: most are done in a fraction of it.
const REFRESH: Duration = Duration::from_secs(2);

/// `logout`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct LogoutArgs {
    /// End the session at Cognito even where its token was imported, and others share it
    #[arg(long, conflicts_with = "keep_remote")]
    revoke: bool,
    /// Forget the session here alone
    #[arg(long)]
    keep_remote: bool,
    /// End every session of this user, on every device
    #[arg(long, conflicts_with = "keep_remote")]
    global: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What was done, and what could not be.
#[derive(Debug, Default)]
struct Account {
    /// One line each.
    done: Vec<String>,
    /// Until when tokens that were handed out are still taken by whoever verifies them offline.
    valid_until: Option<UnixTime>,
    /// Why Cognito still knows the session.
    remote: Option<remote::Error>,
}

/// Exits 0 once nothing is stored any more, and nothing that was to end goes on. Nothing to forget is fine.
pub(super) fn run(global: &Global, args: &LogoutArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !args.yes && !is_meant(args, &config) {
        output::to_stderr("nothing was forgotten");
        return Exit::Other;
    }
    let _logging = global.start_logging(config.log);
    match logout(&config, args) {
        Ok(account) => told(global, &account),
        Err(error) => {
            output::error(global.is_styled(), &error.to_string(), error.fix().as_deref());
            error.exit()
        }
    }
}

/// Asks whoever sits at a terminal. A script that runs `logout` means it.
fn is_meant(args: &LogoutArgs, config: &Config) -> bool {
    if !io::stdin().is_terminal() {
        return true;
    }
    let what = if args.global { "end every session of this user, and forget the one" } else { "forget the session" };
    output::to_stderr(&format!("{what} of profile {}? [y/N]", config.profile));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn told(global: &Global, account: &Account) -> Exit {
    let written = output::to_stdout(&(account.done.join("\n") + "\n"));
    if let Some(until) = account.valid_until {
        output::to_stderr(&format!(
            "tokens that were handed out before are taken until {until} by whoever does not ask Cognito"
        ));
    }
    match &account.remote {
        Some(error) => {
            let title = format!("forgotten here, and not ended at Cognito: {error}");
            output::error(global.is_styled(), &title, error.fix().as_deref());
            error.exit()
        }
        None => written,
    }
}

fn logout(config: &Config, args: &LogoutArgs) -> Result<Account, keeping::Error> {
    let running = keeping::running(config)?;
    let runtime = keeping::runtime()?;
    let store = config.store.open();
    let mut account = Account::default();
    // Before the lock is taken: an access token may have to be refreshed, which takes it too.
    let everywhere = args.global.then(|| runtime.block_on(remote::sign_out_everywhere(config, running.is_some())));
    // Under the lock, so that no refresh that is under way replaces what is revoked; a proxy whose refresh hangs gives it
    // up when it is told to forget the session.
    let lock = match store.lock(if running.is_some() { REFRESH } else { refresher::LOCK_WAIT }) {
        Err(LockError::Held { .. }) if running.is_some() => None,
        lock => Some(lock?),
    };
    let stored = stored(store.as_ref())?;
    let ended = match everywhere {
        Some(Ok(Ended::Now)) => {
            account.done.push("revoked    every session of this user, on every device".into());
            None
        }
        Some(Ok(Ended::Before)) => {
            account.done.push("revoked    nothing: Cognito had ended the session already".into());
            None
        }
        Some(Err(remote::Error::SignedOut)) if stored.is_none() => None,
        Some(Err(error)) => {
            account.remote = Some(error);
            Some(remote::chosen(args, stored.as_ref(), config))
        }
        None => Some(remote::chosen(args, stored.as_ref(), config)),
    };
    if let Some(deed) = ended {
        carry_out(deed, stored.as_ref(), config, &runtime, &mut account)?;
    }
    if account.done.iter().any(|line| line.starts_with("revoked")) {
        let now = SystemClock.now().wall;
        account.valid_until = stored.as_ref().map(|stored| stored.id_token.claims.expires_at).filter(|at| *at > now);
    }
    forget(running, store.as_ref(), lock, stored.is_some(), config, &runtime, &mut account)?;
    Ok(account)
}

/// The stored session; none where its record is damaged, which a logout moves aside.
fn stored(store: &dyn TokenStore) -> Result<Option<Session>, LoadError> {
    match store.load(SystemClock.now()) {
        Err(LoadError::Corrupt { .. }) => Ok(None),
        loaded => loaded,
    }
}

/// Does the remote part for one session.
fn carry_out(
    deed: Deed,
    stored: Option<&Session>,
    config: &Config,
    runtime: &Runtime,
    account: &mut Account,
) -> Result<(), keeping::Error> {
    let Some(session) = stored else { return Ok(()) };
    match deed {
        Deed::Keep(why) => account.done.push(format!("kept       the session at Cognito: {why}")),
        Deed::Revoke => match runtime.block_on(remote::revoke(config, session))? {
            Ok(Ended::Now) => account
                .done
                .push(format!("revoked    the session of {}: its refresh token and access tokens", session.username)),
            Ok(Ended::Before) => {
                account.done.push("revoked    nothing: Cognito had ended the session already".into());
            }
            Err(error) => drop(account.remote.get_or_insert(error)),
        },
    }
    Ok(())
}

/// Does the local part.
fn forget(
    running: Option<u32>,
    store: &dyn TokenStore,
    lock: Option<Lock>,
    was_stored: bool,
    config: &Config,
    runtime: &Runtime,
    account: &mut Account,
) -> Result<(), keeping::Error> {
    match running {
        Some(pid) => {
            // The proxy removes the record itself, under this lock.
            drop(lock);
            let client = Client::new(app::socket_path(config));
            match runtime.block_on(client.clear()) {
                Ok(()) => account.done.push(format!("forgotten  by the running proxy (process id {pid})")),
                // It has just ended.
                Err(ClientError::NotRunning { .. }) => store.clear(&store.lock(refresher::LOCK_WAIT)?)?,
                Err(error) => return Err(error.into()),
            }
        }
        None => match lock {
            Some(lock) => store.clear(&lock)?,
            None => store.clear(&store.lock(refresher::LOCK_WAIT)?)?,
        },
    }
    account.done.push(if was_stored {
        format!("removed    {}", store.location())
    } else {
        format!("removed    nothing: no session was stored in {}", store.location())
    });
    Ok(())
}
