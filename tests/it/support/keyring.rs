//! A session bus with a keyring on it: GNOME's own, or one that misbehaves as it is told. Both are private: no file and
//! no bus of whoever runs the tests is touched.

use std::{
    collections::HashMap,
    fs::DirBuilder,
    io::{Seek as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use zbus::{
    Connection, MessageStream, OwnedObjectPath, OwnedVariant, Variant, connection, message,
    message::{Header, Message},
};

use super::{
    process::{Process, not_shown},
    wait,
};

const NAME: &str = "org.freedesktop.secrets";
const ROOT: &str = "/org/freedesktop/secrets";
const SERVICE: &str = "org.freedesktop.Secret.Service";
const COLLECTION: &str = "/org/freedesktop/secrets/collection/login";
const SESSION: &str = "/org/freedesktop/secrets/session/one";
const ITEM: &str = "/org/freedesktop/secrets/collection/login/1";
const PROMPT: &str = "/org/freedesktop/secrets/prompt/1";

/// A secret as it crosses the bus: session, parameters, value, content type.
type Wire = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

/// A session's bus, save that it starts no programs: a keyring that came up by itself would be its user's own.
const BUS_RULES: &str = "<busconfig><type>session</type><listen>ADDRESS</listen><policy context=\"default\">\
    <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>";

/// The keyring's master password, which nobody is asked for.
const PASSWORD: &str = "correct horse";

/// A message bus of its own.
pub(crate) struct Bus {
    directory: TempDir,
    _daemon: Process,
    connection: Connection,
}

impl Bus {
    /// A bus, or None where this machine has none, which is said.
    pub(crate) async fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let address = address(&directory);
        let mut command = Command::new("dbus-daemon");
        let rules = directory.path().join("bus.conf");
        std::fs::write(&rules, BUS_RULES.replace("ADDRESS", &address)).expect("room");
        command.args(["--nofork", "--nopidfile", "--syslog-only"]).arg(format!("--config-file={}", rules.display()));
        let Some(daemon) = Process::spawn("dbus-daemon", command.stdin(Stdio::null())) else {
            not_shown("a session in a keyring: dbus-daemon is missing (Debian: apt-get install dbus gnome-keyring)");
            return None;
        };
        let connection = wait::until("the bus", async || connect(&address).await.ok()).await;
        Some(Self { directory, _daemon: daemon, connection })
    }

    pub(crate) fn address(&self) -> String {
        address(&self.directory)
    }

    async fn is_taken(&self, name: &str) -> bool {
        let (to, path, body) = (Some("org.freedesktop.DBus"), "/org/freedesktop/DBus", (name,));
        let answer = self.connection.call_method(to, path, to, "NameHasOwner", &body);
        answer.await.expect("the bus answers").body().deserialize().expect("a truth")
    }
}

fn address(directory: &TempDir) -> String {
    format!("unix:path={}", directory.path().join("bus").display())
}

async fn connect(address: &str) -> zbus::Result<Connection> {
    connection::Builder::address(address).build().await
}

/// GNOME's keyring on a bus of its own.
pub(crate) struct Keyring {
    pub(crate) bus: Bus,
    daemon: Process,
}

impl Keyring {
    /// An unlocked keyring, or None where this machine has none, which is said.
    pub(crate) async fn start() -> Option<Self> {
        let bus = Bus::start().await?;
        let daemon = daemon(&bus).await?;
        Some(Self { bus, daemon })
    }

    /// Ends the daemon, as a crash does, and starts another one over the same files.
    pub(crate) async fn restart(&mut self) {
        self.daemon.signal(rustix::process::Signal::KILL);
        wait::until("its end", async || self.daemon.ended()).await;
        wait::until("its name to be free", async || (!self.bus.is_taken(NAME).await).then_some(())).await;
        self.daemon = daemon(&self.bus).await.expect("it was there a moment ago");
    }

    pub(crate) async fn lock(&self) {
        let login = OwnedObjectPath::try_from(COLLECTION).expect("a path");
        self.call(SERVICE, "Lock", &(vec![login],)).await;
    }

    /// What its window does once the owner has typed the password.
    pub(crate) async fn unlock(&self) {
        let login = OwnedObjectPath::try_from(COLLECTION).expect("a path");
        let master = (self.session().await, Vec::<u8>::new(), PASSWORD.as_bytes().to_vec(), "text/plain");
        let interface = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface";
        self.call(interface, "UnlockWithMasterPassword", &(login, master)).await;
    }

    /// Puts something else into the item of `store`, as any program of the user may.
    pub(crate) async fn overwrite(&self, store: &Path, value: &[u8]) {
        let item = self.items(&[("store", &store.display().to_string())]).await.pop().expect("an item");
        let wire = (self.session().await, Vec::<u8>::new(), value.to_vec(), "text/plain");
        self.call_at(item.as_str(), "org.freedesktop.Secret.Item", "SetSecret", &(wire,)).await;
    }

    /// What the item holds that was found to be damaged.
    pub(crate) async fn damaged(&self) -> Option<Vec<u8>> {
        for item in self.items(&[("application", "cognito-proxy")]).await {
            let session = self.session().await;
            let got = self.call_at(item.as_str(), "org.freedesktop.Secret.Item", "GetSecret", &(session,)).await;
            let ((_, _, value, _),): (Wire,) = got.body().deserialize().expect("a secret");
            if serde_json::from_slice::<serde_json::Value>(&value).is_err() {
                return Some(value);
            }
        }
        None
    }

    async fn items(&self, attributes: &[(&str, &str)]) -> Vec<OwnedObjectPath> {
        let attributes: HashMap<&str, &str> = attributes.iter().copied().collect();
        let found = self.call(SERVICE, "SearchItems", &(attributes,)).await;
        let (unlocked, _): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) = found.body().deserialize().expect("paths");
        unlocked
    }

    async fn session(&self) -> OwnedObjectPath {
        let plain = ("plain", Variant::from(""));
        let opened = self.call(SERVICE, "OpenSession", &plain).await;
        let (_, session): (OwnedVariant, OwnedObjectPath) = opened.body().deserialize().expect("a session");
        session
    }

    async fn call<B: serde::Serialize + zbus::DynamicType>(&self, interface: &str, method: &str, body: &B) -> Message {
        self.call_at(ROOT, interface, method, body).await
    }

    async fn call_at<B: serde::Serialize + zbus::DynamicType>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Message {
        let call = self.bus.connection.call_method(Some(NAME), path, Some(interface), method, body);
        call.await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }
}

/// A daemon over the files in the bus's directory.
async fn daemon(bus: &Bus) -> Option<Process> {
    for name in ["home", "run", "data", "config", "cache"] {
        let path = bus.directory.path().join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(path).expect("a directory of our own");
    }
    let at = |name: &str| bus.directory.path().join(name);
    let mut password = tempfile::tempfile().expect("a file");
    password.write_all(PASSWORD.as_bytes()).and_then(|()| password.rewind()).expect("room");
    let mut command = Command::new("gnome-keyring-daemon");
    command
        .args(["--foreground", "--unlock", "--components=secrets"])
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", at("home"))
        .env("XDG_RUNTIME_DIR", at("run"))
        .env("XDG_DATA_HOME", at("data"))
        .env("XDG_CONFIG_HOME", at("config"))
        .env("XDG_CACHE_HOME", at("cache"))
        .env("DBUS_SESSION_BUS_ADDRESS", bus.address())
        .stdin(Stdio::from(password));
    let Some(daemon) = Process::spawn("gnome-keyring-daemon", &mut command) else {
        not_shown("a session in a keyring: gnome-keyring-daemon is missing (Debian: apt-get install gnome-keyring)");
        return None;
    };
    let is_unlocked = async || {
        let taken = bus.is_taken(NAME).await;
        if !taken {
            return None;
        }
        let get = ("org.freedesktop.Secret.Collection", "Locked");
        let properties = Some("org.freedesktop.DBus.Properties");
        let answer = bus.connection.call_method(Some(NAME), COLLECTION, properties, "Get", &get).await.ok()?;
        let locked: OwnedVariant = answer.body().deserialize().ok()?;
        (!bool::try_from(locked).ok()?).then_some(())
    };
    wait::until("an unlocked keyring", is_unlocked).await;
    Some(daemon)
}

/// What a keyring does that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Quirk {
    None,
    /// This call is never answered.
    Hangs(&'static str),
    /// Its items are locked, and whoever is asked says no.
    Dismissed,
    /// Its items are locked until whoever is asked says yes.
    Unlocked,
    /// There is no collection to put anything into.
    NoCollection,
    /// The secret is a string, and no secret.
    Formless,
    /// This call fails, with this error of D-Bus.
    Fails(&'static str, &'static str),
}

/// A keyring that has one item at most, and a quirk.
pub(crate) struct FakeKeyring {
    pub(crate) bus: Bus,
    held: Arc<Mutex<Held>>,
    task: JoinHandle<()>,
}

struct Held {
    quirk: Quirk,
    /// The values of the items by their `store` attribute.
    items: HashMap<String, Vec<u8>>,
    prompts: u32,
    is_locked: bool,
}

impl Drop for FakeKeyring {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeKeyring {
    /// A keyring with this quirk, or None where this machine has no bus, which is said.
    pub(crate) async fn start(quirk: Quirk) -> Option<Self> {
        let bus = Bus::start().await?;
        let connection = connect(&bus.address()).await.expect("a bus");
        let is_locked = matches!(quirk, Quirk::Dismissed | Quirk::Unlocked);
        let held = Held { quirk, items: HashMap::new(), prompts: 0, is_locked };
        let held = Arc::new(Mutex::new(held));
        let calls = MessageStream::from(&connection);
        connection.request_name(NAME).await.expect("the name is free");
        let task = tokio::spawn(serve(connection, calls, Arc::clone(&held)));
        Some(Self { bus, held, task })
    }

    /// Puts a value into the item of `store`.
    pub(crate) fn put(&self, store: &str, value: &[u8]) {
        self.held.lock().expect("whole").items.insert(store.to_owned(), value.to_vec());
    }

    /// Every item by its `store` attribute.
    pub(crate) fn items(&self) -> HashMap<String, Vec<u8>> {
        self.held.lock().expect("whole").items.clone()
    }

    /// How often somebody was asked for a password.
    pub(crate) fn prompts(&self) -> u32 {
        self.held.lock().expect("whole").prompts
    }
}

async fn serve(connection: Connection, mut calls: MessageStream, held: Arc<Mutex<Held>>) {
    while let Some(Ok(call)) = calls.next().await {
        if call.message_type() != message::Type::MethodCall {
            continue;
        }
        let header = call.header();
        let method = header.member().map(ToString::to_string).unwrap_or_default();
        let quirk = held.lock().expect("whole").quirk.clone();
        match quirk {
            Quirk::Hangs(hung) if hung == method => {}
            Quirk::Fails(failing, name) if failing == method => {
                connection.reply_error(&header, name, &("as it was told",)).await.expect("the bus");
            }
            _ => answer(&connection, &call, &header, &method, &held).await,
        }
    }
}

fn path(path: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path).expect("a path")
}

async fn answer(connection: &Connection, call: &Message, header: &Header<'_>, method: &str, held: &Mutex<Held>) {
    let replied = match method {
        "OpenSession" => connection.reply(header, &(Variant::from(""), path(SESSION))).await,
        "ReadAlias" => {
            let none = held.lock().expect("whole").quirk == Quirk::NoCollection;
            connection.reply(header, &(path(if none { "/" } else { COLLECTION }),)).await
        }
        "Get" => {
            let is_locked = held.lock().expect("whole").is_locked;
            connection.reply(header, &(Variant::from(is_locked),)).await
        }
        "SearchItems" => {
            let (wanted,): (HashMap<String, String>,) = call.body().deserialize().expect("attributes");
            let found = found(held, &wanted["store"]);
            connection.reply(header, &found).await
        }
        "Unlock" => connection.reply(header, &(Vec::<OwnedObjectPath>::new(), path(PROMPT))).await,
        "Prompt" => {
            connection.reply(header, &()).await.expect("the bus");
            let dismissed = prompted(held);
            let (to, interface) = (None::<&str>, "org.freedesktop.Secret.Prompt");
            connection.emit_signal(to, PROMPT, interface, "Completed", &(dismissed, Variant::from(""))).await
        }
        "GetSecret" if held.lock().expect("whole").quirk == Quirk::Formless => {
            connection.reply(header, &("a secret",)).await
        }
        "GetSecret" => {
            let value = held.lock().expect("whole").items.values().next().cloned().expect("it was found");
            connection.reply(header, &((path(SESSION), Vec::<u8>::new(), value, "text/plain"),)).await
        }
        "SetSecret" => {
            let ((_, _, value, _),): (Wire,) = call.body().deserialize().expect("a secret");
            for item in held.lock().expect("whole").items.values_mut() {
                item.clone_from(&value);
            }
            connection.reply(header, &()).await
        }
        "CreateItem" => {
            let (mut properties, (_, _, value, _), _): (HashMap<String, OwnedVariant>, Wire, bool) =
                call.body().deserialize().expect("an item");
            let attributes = properties.remove("org.freedesktop.Secret.Item.Attributes").expect("attributes");
            let attributes: HashMap<String, String> = attributes.try_into().expect("strings");
            held.lock().expect("whole").items.insert(attributes["store"].clone(), value);
            connection.reply(header, &(path(ITEM), path("/"))).await
        }
        "Delete" => {
            held.lock().expect("whole").items.clear();
            connection.reply(header, &(path("/"),)).await
        }
        "Dismiss" => connection.reply(header, &()).await,
        other => panic!("nobody should call {other}"),
    };
    replied.expect("the bus");
}

/// The unlocked items and the locked ones.
fn found(held: &Mutex<Held>, store: &str) -> (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) {
    let held = held.lock().expect("whole");
    let items = if held.items.contains_key(store) { vec![path(ITEM)] } else { Vec::new() };
    if held.is_locked { (Vec::new(), items) } else { (items, Vec::new()) }
}

/// Whether the owner dismisses the prompt.
fn prompted(held: &Mutex<Held>) -> bool {
    let mut held = held.lock().expect("whole");
    held.prompts += 1;
    held.is_locked &= held.quirk != Quirk::Unlocked;
    held.is_locked
}
