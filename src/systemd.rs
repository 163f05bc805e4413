//! What this process tells its service manager, by the datagrams of `sd_notify(3)`.
//!
//! Owns the notification socket and the watchdog's period. Must not decide when the service is ready or alive: that is
//! said by whoever knows it. Without a service manager every call does nothing.
//!
//! The environment is read once, and passed in by value where a test wants to: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and
//! `WATCHDOG_PID` (`sd_notify(3)`, `sd_watchdog_enabled(3)`).

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process,
    time::Duration,
};

use zeroize::Zeroizing;

/// How long a notification may wait for room in the manager's queue: long enough for a manager that is busy starting
/// a session, short enough that a stuck one does not stop the control loop for longer than a refresh may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Why no notification can be sent although the environment asks for them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is neither a path from the root nor an abstract name.
    #[error("NOTIFY_SOCKET={0:?} is neither an absolute path nor an abstract name that begins with @")]
    Address(OsString),
    /// The socket could not be opened or reached.
    #[error("cannot reach the service manager at NOTIFY_SOCKET={address:?}")]
    Connect {
        /// The address, as the environment gives it.
        address: OsString,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The credential `name` that the service manager passed to this process (`systemd.exec(5)`, `LoadCredential=`), or
/// `None` where it passed none of that name.
///
/// # Errors
/// Where it is there and cannot be read, or is no text.
pub fn credential(name: &str) -> io::Result<Option<Zeroizing<String>>> {
    credential_in(env::var_os("CREDENTIALS_DIRECTORY").as_deref(), name)
}

fn credential_in(directory: Option<&OsStr>, name: &str) -> io::Result<Option<Zeroizing<String>>> {
    let Some(directory) = directory.filter(|directory| !directory.is_empty()) else { return Ok(None) };
    match fs::read_to_string(Path::new(directory).join(name)) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The line to the service manager, or none.
///
/// A notification that cannot be delivered is logged and otherwise ignored: the service goes on.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The manager that started this process, if one did.
    pub fn from_env() -> Result<Self, Error> {
        Self::new(
            env::var_os("NOTIFY_SOCKET").as_deref(),
            watchdog_period(env::var("WATCHDOG_USEC").ok(), env::var("WATCHDOG_PID").ok(), process::id()),
        )
    }

    /// The manager at `address` (the form of `NOTIFY_SOCKET`), which restarts the service when no
    /// [`alive`](Self::alive) arrives for `watchdog`. Without an address nothing is sent to anybody.
    pub fn new(address: Option<&OsStr>, watchdog: Option<Duration>) -> Result<Self, Error> {
        let Some(address) = address.filter(|address| !address.is_empty()) else {
            return Ok(Self::silent());
        };
        let target = socket_address(address)?;
        let socket = connected(&target).map_err(|source| Error::Connect { address: address.to_os_string(), source })?;
        Ok(Self { socket: Some(socket), watchdog })
    }

    /// No service manager: nothing is sent.
    #[must_use]
    pub const fn silent() -> Self {
        Self { socket: None, watchdog: None }
    }

    /// How often [`alive`](Self::alive) must be sent: half the period after which the manager restarts the service, as
    /// `sd_watchdog_enabled(3)` advises. None where no watchdog is set.
    #[must_use]
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / 2)
    }

    /// The listeners are open: units ordered after this one may start. `status` is the line that `systemctl status`
    /// shows.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\n{}", status_line(status)));
    }

    /// What the service is doing, in one line.
    pub fn status(&self, status: &str) {
        self.send(&status_line(status));
    }

    /// A reload is over, well or badly; the status line stays.
    pub fn reloaded(&self) {
        self.send("READY=1\n");
    }

    /// A reload begins; [`reloaded`](Self::reloaded) says that it is over. `monotonic` is `CLOCK_MONOTONIC`
    /// ([`clock::monotonic`](crate::clock::monotonic)), which `Type=notify-reload` pairs with its signal.
    pub fn reloading(&self, monotonic: Duration) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic.as_micros()));
    }

    /// The service is draining and will exit.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\n{}", status_line(status)));
    }

    /// The loops have turned since the last call. To be sent only by a task that has proof of it.
    pub fn alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::warn!(%error, "the service manager was not notified");
        }
    }
}

/// A line feed would begin the next assignment: a status must not be able to say `STOPPING=1`.
fn status_line(status: &str) -> String {
    format!("STATUS={}\n", status.replace(['\n', '\r', '\0'], " "))
}

/// `@name` is the abstract socket `name` on Linux; `vsock:` addresses (`sd_notify(3)`) are for virtual machines as a
/// whole and never given to a service.
fn socket_address(address: &OsStr) -> Result<SocketAddr, Error> {
    let unusable = || Error::Address(address.to_os_string());
    match address.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(address).map_err(|_| unusable()),
        [b'@', name @ ..] => abstract_address(name).ok_or_else(unusable),
        _ => Err(unusable()),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> Option<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name).ok()
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> Option<SocketAddr> {
    None
}

/// Connected once, so that a manager which is not there is noticed at start and not at the first notification.
fn connected(address: &SocketAddr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(address)?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}

/// The watchdog's period where it is meant for this very process (`sd_watchdog_enabled(3)`).
fn watchdog_period(microseconds: Option<String>, pid: Option<String>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    microseconds?.parse().ok().filter(|period| *period > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Manager {
        socket: UnixDatagram,
        path: PathBuf,
        _directory: tempfile::TempDir,
    }

    impl Manager {
        fn listening() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("notify");
            let socket = UnixDatagram::bind(&path).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a bound on the wait");
            Self { socket, path, _directory: directory }
        }

        fn received(&self) -> String {
            let mut buffer = [0; 512];
            let length = self.socket.recv(&mut buffer).expect("a notification");
            String::from_utf8(buffer[..length].to_vec()).expect("text")
        }
    }

    #[test]
    fn a_credential_is_read_where_one_was_passed() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("refresh-token"), "token\n").expect("written");
        let read = |directory: Option<&Path>, name| {
            credential_in(directory.map(Path::as_os_str), name).map(|text| text.map(|text| text.to_string()))
        };
        assert_eq!(read(Some(dir.path()), "refresh-token").expect("read").as_deref(), Some("token\n"));
        assert_eq!(read(Some(dir.path()), "other").expect("read"), None);
        assert_eq!(read(Some(Path::new("")), "refresh-token").expect("read"), None);
        assert_eq!(read(None, "refresh-token").expect("read"), None);
        fs::create_dir(dir.path().join("directory")).expect("made");
        assert!(read(Some(dir.path()), "directory").is_err());
    }

    #[test]
    fn a_life_is_told_in_the_words_of_sd_notify() {
        let manager = Manager::listening();
        let notifier =
            Notifier::new(Some(manager.path.as_os_str()), Some(Duration::from_secs(300))).expect("a notifier");

        notifier.ready("serving on 127.0.0.1:8900");
        assert_eq!(manager.received(), "READY=1\nSTATUS=serving on 127.0.0.1:8900\n");
        notifier.status("session ends in 1h");
        assert_eq!(manager.received(), "STATUS=session ends in 1h\n");
        notifier.alive();
        assert_eq!(manager.received(), "WATCHDOG=1\n");
        notifier.reloading(Duration::from_micros(1_234_567));
        assert_eq!(manager.received(), "RELOADING=1\nMONOTONIC_USEC=1234567\n");
        notifier.stopping("draining");
        assert_eq!(manager.received(), "STOPPING=1\nSTATUS=draining\n");
        assert_eq!(notifier.alive_every(), Some(Duration::from_secs(150)));
    }

    #[test]
    fn a_status_cannot_smuggle_an_assignment() {
        let manager = Manager::listening();
        let notifier = Notifier::new(Some(manager.path.as_os_str()), None).expect("a notifier");
        notifier.status("upstream said\nSTOPPING=1\r\0");
        assert_eq!(manager.received(), "STATUS=upstream said STOPPING=1  \n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_reached() {
        use std::os::linux::net::SocketAddrExt;

        let name = format!("cognito-proxy-systemd-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an abstract name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a bound on the wait");

        let notifier = Notifier::new(Some(OsStr::new(&format!("@{name}"))), None).expect("a notifier");
        notifier.alive();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).expect("a notification");
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_nothing_fails() {
        for address in [None, Some(OsStr::new(""))] {
            let notifier = Notifier::new(address, Some(Duration::from_secs(1))).expect("a notifier");
            notifier.ready("serving");
            assert_eq!(notifier.alive_every(), None, "nobody would hear the watchdog's ping");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_named() {
        let relative = Notifier::new(Some(OsStr::new("notify")), None).expect_err("not absolute");
        assert!(relative.to_string().contains("\"notify\""), "{relative}");
        let gone = Notifier::new(Some(OsStr::new("/nonexistent/notify")), None).expect_err("nobody there");
        assert!(matches!(gone, Error::Connect { .. }), "{gone}");
    }

    #[test]
    fn a_manager_that_left_does_not_stop_the_service() {
        let manager = Manager::listening();
        let notifier = Notifier::new(Some(manager.path.as_os_str()), None).expect("a notifier");
        drop(manager);
        notifier.alive();
    }

    #[test]
    fn the_watchdog_is_taken_only_where_it_is_meant_for_this_process() {
        let text = |text: &str| Some(text.to_owned());
        let minute = Some(Duration::from_secs(60));
        for (microseconds, pid, expected) in [
            (text("60000000"), None, minute),
            (text("60000000"), text("42"), minute),
            (text("60000000"), text("43"), None),
            (text("60000000"), text("x"), None),
            (text("0"), None, None),
            (text("soon"), None, None),
            (None, text("42"), None),
        ] {
            assert_eq!(watchdog_period(microseconds.clone(), pid.clone(), 42), expected, "{microseconds:?} {pid:?}");
        }
    }
}
