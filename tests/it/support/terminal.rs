//! A person at a terminal: the program has a pseudo terminal for its controlling one, and what it writes there is read as
//! a person would read it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use tokio::{sync::watch, time::timeout};

use super::{
    proxy::{Home, holds_no_token},
    wait::{self, BOUND},
};

/// The program at a terminal, killed when dropped.
pub(crate) struct AtTerminal {
    child: Child,
    master: File,
    /// Keeps the terminal when the program has gone, so that its state can be looked at.
    slave: File,
    screen: watch::Receiver<String>,
    /// How much of the screen has been read by [`reads`](Self::reads).
    read: usize,
}

impl AtTerminal {
    /// Runs the binary with these arguments in this home.
    pub(crate) fn start(home: &Home, arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal of our own");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("ASCII");
        let slave = File::options().read(true).write(true).open(&name).expect("the other side");
        let side = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let inner = home.command(arguments);
        // A session of its own, whose terminal this is.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(home.path("")).stdin(side()).stdout(side()).stderr(side());
        let child = command.spawn().expect("setsid of util-linux");
        let master = File::from(master);
        let screen = screen_of(master.try_clone().expect("a descriptor"));
        Self { child, master, slave, screen, read: 0 }
    }

    /// Waits until this stands on the screen, behind what was read before.
    pub(crate) async fn reads(&mut self, text: &str) {
        let start = self.read;
        let position = |screen: &String| screen[start..].find(text);
        let found = timeout(BOUND, self.screen.wait_for(|screen| position(screen).is_some())).await;
        let found = found.is_ok_and(|found| found.is_ok());
        let screen = self.screen.borrow();
        assert!(found, "no {text:?} on the screen:\n{}", &screen[start..]);
        self.read = start + position(&screen).expect("found") + text.len();
    }

    /// Types this and the return key.
    pub(crate) fn types(&mut self, line: &str) {
        self.presses(&format!("{line}\r"));
    }

    /// Presses these keys.
    pub(crate) fn presses(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    /// Waits for this question and answers it.
    pub(crate) async fn answers(&mut self, question: &str, answer: &str) {
        self.reads(question).await;
        self.types(answer);
    }

    /// Everything on the screen so far.
    pub(crate) fn screen(&self) -> String {
        self.screen.borrow().clone()
    }

    /// Whether what is typed is shown.
    pub(crate) fn is_echoing(&self) -> bool {
        tcgetattr(&self.slave).expect("a terminal").local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end: the exit code, and the whole screen, on which no token may stand.
    pub(crate) async fn finish(mut self) -> (i32, String) {
        let status = wait::within(BOUND, async || self.child.try_wait().expect("ours")).await;
        let status: ExitStatus = status.unwrap_or_else(|| panic!("it did not end:\n{}", self.screen()));
        assert!(self.is_echoing(), "the terminal is left as it was found");
        // A last line, to know that everything before it has been read.
        self.slave.write_all(b"THE END\n").expect("the terminal is there");
        self.reads("THE END").await;
        let screen = self.screen().replace("THE END\r\n", "");
        holds_no_token(&screen);
        (status.code().unwrap_or(-1), screen.replace("\r\n", "\n"))
    }
}

impl Drop for AtTerminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn screen_of(mut master: File) -> watch::Receiver<String> {
    let (sender, screen) = watch::channel(String::new());
    thread::spawn(move || {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..length]);
            let whole = String::from_utf8_lossy(&bytes).into_owned();
            sender.send_replace(whole);
        }
    });
    screen
}
