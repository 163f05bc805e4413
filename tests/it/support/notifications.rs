//! A message bus of the test's own, and a notification server on it that answers what the test wants it to.
//!
//! The bus is `dbus-daemon`; the server speaks the Desktop Notifications Specification 1.2, message by message.

use std::{collections::HashMap, path::PathBuf, process::Command};

use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use zbus::{Connection, MessageStream, OwnedVariant, connection, message};

use super::{
    process::{Process, not_shown},
    proxy::Home,
    wait::{self, bounded},
};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// A bus on which everybody of this user may say and own everything, and which starts nobody.
const CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=SOCKET</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
</policy></busconfig>"#;

/// Whether this machine has a message bus; says so where it has none.
pub(crate) fn is_there() -> bool {
    let is_there = Command::new("dbus-daemon").arg("--version").output().is_ok();
    if !is_there {
        not_shown("notifications: dbus-daemon is missing (Debian: apt-get install dbus)");
    }
    is_there
}

/// Where the bus of this home is, or will be.
pub(crate) fn address(home: &Home) -> String {
    format!("unix:path={}", socket(home).display())
}

fn socket(home: &Home) -> PathBuf {
    home.path("session-bus")
}

/// A bus that runs until this is dropped.
pub(crate) struct Bus(#[expect(dead_code, reason = "kept, since its drop ends the bus")] Process);

impl Bus {
    /// Starts it at [`address`].
    pub(crate) async fn start(home: &Home) -> Self {
        let text = CONFIGURATION.replace("SOCKET", &socket(home).display().to_string());
        let file = home.write("bus.conf", &text);
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg(format!("--config-file={}", file.display()));
        let process = Process::spawn("dbus-daemon", &mut command).expect("dbus-daemon");
        wait::until("the bus", async || connection::Builder::address(&*address(home)).build().await.ok().map(drop))
            .await;
        Self(process)
    }
}

/// Somebody else's notification server, dunst, on a screen that nobody looks at; until it is dropped.
pub(crate) struct Dunst {
    address: String,
    /// Ended before the screen is.
    _server: Process,
    _screen: Process,
}

impl Dunst {
    /// Starts it on the bus of `home`; None, and a word about it, where this machine has none.
    pub(crate) async fn start(home: &Home) -> Option<Self> {
        let mut screen = Command::new("Xvfb");
        screen.args(["-displayfd", "2", "-screen", "0", "640x480x24", "-nolisten", "tcp"]);
        let screen = Process::spawn("Xvfb", &mut screen);
        let is_installed = Command::new("dunst").arg("-v").output().is_ok();
        let Some(mut screen) = screen.filter(|_| is_installed) else {
            not_shown("a notification in dunst: it or Xvfb is missing (Debian: apt-get install dunst xvfb)");
            return None;
        };
        let display: u32 = screen.error_line("a display", |line| line.trim().parse().ok()).await;
        let mut command = Command::new("dunst");
        command.env("DISPLAY", format!(":{display}")).env("DBUS_SESSION_BUS_ADDRESS", address(home));
        command.env("HOME", home.path("")).env_remove("WAYLAND_DISPLAY");
        let server = Process::spawn("dunst", &mut command).expect("dunst");
        let dunst = Self { address: address(home), _server: server, _screen: screen };
        wait::until("dunst", async || dunst.asked(&["count", "displayed"])).await;
        Some(dunst)
    }

    /// What `dunstctl` says; None where dunst does not answer.
    pub(crate) fn asked(&self, arguments: &[&str]) -> Option<String> {
        let mut command = Command::new("dunstctl");
        let output = command.args(arguments).env("DBUS_SESSION_BUS_ADDRESS", &self.address).output().expect("dunstctl");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// What the server was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Shown(Shown),
    Closed(u32),
}

/// One notification.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) id: u32,
    pub(crate) replaces: u32,
    pub(crate) summary: String,
    pub(crate) body: String,
    /// Keys and words by turns.
    pub(crate) actions: Vec<String>,
    pub(crate) urgency: u8,
    /// Who asked.
    pub(crate) sender: String,
}

/// The server, until this is dropped.
pub(crate) struct Server {
    connection: Connection,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Server {
    /// On the bus of `home`, with buttons and markup.
    pub(crate) async fn start(home: &Home) -> Self {
        let connection = connection::Builder::address(&*address(home)).build().await.expect("a bus");
        let messages = MessageStream::from(&connection);
        connection.request_name(NAME).await.expect("nobody else has it");
        let (told, asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(connection.clone(), messages, told));
        Self { connection, asked }
    }

    /// The next thing that it is asked for.
    pub(crate) async fn asked(&mut self, what: &str) -> Asked {
        bounded(what, self.asked.recv()).await.expect("it runs")
    }

    /// The next notification.
    pub(crate) async fn shown(&mut self, what: &str) -> Shown {
        loop {
            if let Asked::Shown(shown) = self.asked(what).await {
                return shown;
            }
        }
    }

    /// Waits until this notification is taken away.
    pub(crate) async fn closed(&mut self, id: u32) {
        loop {
            if let Asked::Closed(closed) = self.asked("the end of a notification").await
                && closed == id
            {
                return;
            }
        }
    }

    /// Presses a button of a notification.
    pub(crate) async fn press(&self, shown: &Shown, action: &str) {
        let to = Some(shown.sender.as_str());
        self.connection.emit_signal(to, PATH, NAME, "ActionInvoked", &(shown.id, action)).await.expect("said");
    }
}

async fn serve(connection: Connection, mut messages: MessageStream, told: mpsc::UnboundedSender<Asked>) {
    let mut last = 0;
    while let Some(Ok(message)) = messages.next().await {
        let header = message.header();
        if header.message_type() != message::Type::MethodCall {
            continue;
        }
        let body = message.body();
        match header.member().map(zbus::names::MemberName::as_str) {
            Some("GetCapabilities") => {
                connection.reply(&header, &["actions", "body", "body-markup"].as_slice()).await.expect("said");
            }
            Some("Notify") => {
                type Arguments = (String, u32, String, String, String, Vec<String>, HashMap<String, OwnedVariant>, i32);
                let (_, replaces, _, summary, body, actions, hints, _): Arguments =
                    body.deserialize().expect("as specified");
                last = if replaces == 0 { last + 1 } else { replaces };
                connection.reply(&header, &last).await.expect("said");
                let urgency = hints.get("urgency").and_then(|urgency| u8::try_from(&**urgency).ok()).expect("a byte");
                let sender = header.sender().expect("a bus says who").to_string();
                drop(told.send(Asked::Shown(Shown { id: last, replaces, summary, body, actions, urgency, sender })));
            }
            Some("CloseNotification") => {
                let id: u32 = body.deserialize().expect("as specified");
                connection.reply(&header, &()).await.expect("said");
                drop(told.send(Asked::Closed(id)));
            }
            _ => {}
        }
    }
}
