//! Word from the bus that the keyring may have more to say than before: it came up, or its owner unlocked it.
//!
//! What is written to it is told by the stamp beside the locks, whoever the service is; signals about items differ
//! between services, and tell of every password that any program stores.

use std::{io, num::NonZeroUsize, thread, time::Duration};

use futures_util::{StreamExt, stream::select};
use tokio::{runtime, time::sleep};
use zbus::{Connection, MatchRule, MessageStream, message};

use super::{
    error::KeyringError,
    service::{INTERFACE, NAME, PATH, bus},
};
use crate::watch::Hint;

/// Between looks for a bus where there is none: a session's bus comes with the session, and rarely later.
const PAUSE: Duration = Duration::from_secs(60);

/// Signals that wait to be seen: each says the same.
const QUEUE: NonZeroUsize = NonZeroUsize::MIN;

/// Gives `hint`s, in a thread of its own, until nobody wants them any more.
pub(super) fn follow(address: Option<String>, hint: Hint) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let following = async move {
        tokio::select! {
            () = hint.unwanted() => {}
            () = follow_on(address.as_deref(), &hint) => {}
        }
    };
    // Whoever is given the hints ends it by dropping their receiver.
    thread::Builder::new().name("keyring-watch".into()).spawn(move || runtime.block_on(following)).map(drop)
}

/// Follows one connection after the other.
async fn follow_on(address: Option<&str>, hint: &Hint) {
    loop {
        match follow_once(address, hint).await {
            Ok(()) => tracing::debug!("the session bus was closed"),
            Err(error) => tracing::debug!(%error, "the keyring is not watched"),
        }
        sleep(PAUSE).await;
    }
}

async fn follow_once(address: Option<&str>, hint: &Hint) -> Result<(), KeyringError> {
    let bus = bus(address).await?;
    let said = |error| KeyringError::of_call("be watched", error);
    let unlocked = MatchRule::builder().msg_type(message::Type::Signal).interface(INTERFACE).path(PATH);
    let owner = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender("org.freedesktop.DBus")
        .interface("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, NAME);
    let unlocked = listen(unlocked.build().map_err(said)?, &bus).await.map_err(said)?;
    let owner = listen(owner.build().map_err(said)?, &bus).await.map_err(said)?;
    let mut signals = select(unlocked, owner);
    // What happened before this was not heard.
    hint.give();
    while signals.next().await.is_some() {
        hint.give();
    }
    Ok(())
}

async fn listen(rule: MatchRule<'_>, bus: &Connection) -> zbus::Result<MessageStream> {
    MessageStream::for_match_rule(rule, bus, Some(QUEUE)).await
}
