//! The desktop's notification server, spoken to over the session bus (Desktop Notifications Specification 1.2).
//!
//! Owns the calls, each with a deadline, and the two signals. Must not decide what is shown, or when.

use std::{collections::HashMap, num::NonZeroUsize, time::Duration};

use futures_util::StreamExt;
use tokio::time::timeout;
use zbus::{Connection, MatchRule, Message, MessageStream, Variant, connection, message};

/// Where a notification server is, and what it speaks.
const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// Who says so in the notification.
const APP_NAME: &str = "cognito-proxy";

/// A theme's own symbol; servers that know none show none.
const ICON: &str = "dialog-password";

/// For the connection and for each call. A server that the bus has to start first takes a second or two.
const PATIENCE: Duration = Duration::from_secs(5);

/// Signals that wait to be looked at; those about other programs' notifications may be among them.
const SIGNALS: NonZeroUsize = NonZeroUsize::new(64).expect("not 0");

/// A connection, and what the server says on it.
#[derive(Debug)]
pub(super) struct Bus {
    connection: Connection,
    signals: MessageStream,
}

/// The server that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// Its unique name on the bus: another one has other notifications, with the same numbers.
    pub(super) name: String,
    /// Whether it shows buttons.
    pub(super) has_actions: bool,
    /// Whether `<` and `&` begin markup in a body.
    pub(super) has_markup: bool,
}

/// One notification, as the server takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// The notification whose place it takes; 0 for none.
    pub(super) replaces: u32,
    pub(super) summary: String,
    pub(super) body: String,
    /// What buttons do, and their words.
    pub(super) actions: Vec<(&'static str, &'static str)>,
    /// 0 low, 1 normal, 2 critical.
    pub(super) urgency: u8,
    /// Whether it stays when one of its buttons is pressed.
    pub(super) is_resident: bool,
    /// Whether it is worthless once it has been seen: not kept in the server's history.
    pub(super) is_transient: bool,
    /// In milliseconds; 0 for never, -1 for what the server thinks right.
    pub(super) expires_in: i32,
}

/// What the server says about a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// A button was pressed, or the notification itself (`default`).
    Invoked { id: u32, action: String },
    /// It is gone.
    Closed { id: u32 },
}

impl Bus {
    /// Connects to the session bus, or to the bus at this address.
    pub(super) async fn open(address: Option<&str>) -> zbus::Result<Self> {
        let opening = async {
            let builder = address.map_or_else(connection::Builder::session, connection::Builder::address);
            let connection = builder.method_timeout(PATIENCE).build().await?;
            let rule = MatchRule::builder().msg_type(message::Type::Signal).interface(NAME).path(PATH).build()?;
            let signals = MessageStream::for_match_rule(rule, &connection, Some(SIGNALS)).await?;
            Ok(Self { connection, signals })
        };
        timeout(PATIENCE, opening).await.unwrap_or_else(|_| Err(zbus::Error::Failure("no answer".into())))
    }

    /// Who shows notifications now, and what it can do. Starts it where the bus knows how.
    pub(super) async fn server(&self) -> zbus::Result<Server> {
        let reply = self.call(NAME, "GetCapabilities", &()).await?;
        let capabilities: Vec<String> = reply.body().deserialize()?;
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        Ok(Server { name: sender(&reply), has_actions: has("actions"), has_markup: has("body-markup") })
    }

    /// Shows `letter`, and returns its number.
    pub(super) async fn notify(&self, server: &Server, letter: &Letter) -> zbus::Result<u32> {
        let actions: Vec<&str> = letter.actions.iter().flat_map(|(key, words)| [*key, *words]).collect();
        let hints = HashMap::from([
            ("urgency", Variant::from(letter.urgency)),
            ("desktop-entry", Variant::from(APP_NAME)),
            ("resident", Variant::from(letter.is_resident)),
            ("transient", Variant::from(letter.is_transient)),
        ]);
        let Letter { replaces, summary, body, expires_in, .. } = letter;
        let body = (APP_NAME, *replaces, ICON, summary.as_str(), body.as_str(), actions, hints, *expires_in);
        self.call(&server.name, "Notify", &body).await?.body().deserialize()
    }

    /// Takes a notification away; one that is gone already is none.
    pub(super) async fn close(&self, server: &str, id: u32) -> zbus::Result<()> {
        self.call(server, "CloseNotification", &id).await.map(drop)
    }

    /// What the server, or another program in its name, says next: who says it, and what. None once the bus is gone.
    pub(super) async fn heard(&mut self) -> Option<(String, Signal)> {
        loop {
            let message = self.signals.next().await?.ok()?;
            if let Some(signal) = read(&message) {
                return Some((sender(&message), signal));
            }
        }
    }

    async fn call<B>(&self, to: &str, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.connection.call_method(Some(to), PATH, Some(NAME), method, body).await
    }
}

fn sender(message: &Message) -> String {
    message.header().sender().map(ToString::to_string).unwrap_or_default()
}

fn read(message: &Message) -> Option<Signal> {
    let header = message.header();
    let body = message.body();
    match header.member()?.as_str() {
        "ActionInvoked" => {
            let (id, action) = body.deserialize().ok()?;
            Some(Signal::Invoked { id, action })
        }
        "NotificationClosed" => {
            let (id, _reason): (u32, u32) = body.deserialize().ok()?;
            Some(Signal::Closed { id })
        }
        _ => None,
    }
}
