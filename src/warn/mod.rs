//! Telling the person: every warning that the machine raises, through every channel that is set.
//!
//! The machine has decided already that a warning is due, and that it was not raised before. The log is told at once;
//! each other channel has a queue and a task of its own, so that one that is slow or dead delays neither another nor the
//! session.

mod command;
mod desktop;
mod log;
mod notice;
mod sink;
mod webhook;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use self::{
    command::Job,
    desktop::Desktop,
    notice::{Notice, Whose},
    sink::{QUEUE, offer},
    webhook::Post,
};
use crate::{clock::SharedClock, cognito::Transport, current::CurrentToken, secret::Secret, session::state::Warning};

/// How long a program that ends waits for what its channels have begun: a hook that is quick, a webhook that answers.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// `[warn]`, apart from `before`, which the session machine decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `desktop`: a notification on the user's desktop, where there is one.
    pub desktop: bool,
    /// `command`: a program, by its absolute path, and its arguments.
    pub command: Option<Vec<String>>,
    /// The content of `webhook_url_file`: such URLs are secrets.
    pub webhook_url: Option<Secret>,
}

/// What a person answers on a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Begin a sign-in.
    SignIn,
    /// Do not let the idle lock close, or open it.
    StaySignedIn,
}

/// What the channels are made of.
#[derive(Debug)]
pub struct Parts {
    /// Whose warnings these are, where several proxies report to one place.
    pub profile: String,
    /// Both clocks.
    pub clock: SharedClock,
    /// Whose session it is, and whether what was warned of is settled.
    pub current: CurrentToken,
    /// How the webhook is reached.
    pub transport: Transport,
    /// What is set, now and after each reload.
    pub settings: watch::Receiver<Settings>,
    /// Where answers go.
    pub answers: mpsc::Sender<Answer>,
}

/// Takes warnings until nobody can raise one any more, then lets the channels finish what they have begun.
pub async fn run(mut warnings: mpsc::Receiver<Warning>, parts: Parts) {
    let mut channels = JoinSet::new();
    let (desktop, notices) = mpsc::channel(QUEUE);
    channels.spawn(Desktop::new(None, parts.current.clone(), parts.answers).run(notices));
    let (command, jobs) = mpsc::channel(QUEUE);
    channels.spawn(command::run(jobs, command::LIMIT, Arc::clone(&parts.clock)));
    let (webhook, posts) = mpsc::channel(QUEUE);
    channels.spawn(webhook::run(posts, parts.transport, webhook::PATIENCE, Arc::clone(&parts.clock)));

    while let Some(warning) = warnings.recv().await {
        let now = parts.clock.now();
        log::tell(&warning, now);
        let identity = parts.current.snapshot().facts.identity.clone();
        let whose = Whose { profile: parts.profile.clone(), username: identity.map(|identity| identity.username) };
        let notice = Arc::new(Notice::new(&warning, whose, fastrand::u128(..), now));
        let settings = parts.settings.borrow().clone();
        if let Some(argv) = settings.command {
            offer(&command, "command", Job { argv, notice: Arc::clone(&notice) });
        }
        if let Some(url) = settings.webhook_url {
            offer(&webhook, "webhook", Post { url, notice: Arc::clone(&notice) });
        }
        if settings.desktop {
            offer(&desktop, "desktop", notice);
        }
    }
    drop((desktop, command, webhook));
    let ending = async { while channels.join_next().await.is_some() {} };
    if timeout(LAST_WORDS, ending).await.is_err() {
        tracing::warn!("going down with a warning that has not got through");
        channels.shutdown().await;
    }
}
