//! Other programs that this one starts: the warning hook, and `login` at a click.
//!
//! Owns how a child lives and ends: in a process group of its own, with nothing on its standard input, a small
//! environment, its output read line by line, bounded and without secrets, and an end that comes in time. Must not
//! decide what is started, or when.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Between the request to end (SIGTERM) and the end (SIGKILL): enough to remove a temporary file.
const GRACE: Duration = Duration::from_secs(2);

/// A line of output is cut here, in bytes.
const LONGEST_LINE: usize = 1024;

/// What one child may say; the rest is read and dropped, so that it never blocks on a full pipe.
const MOST_LINES: usize = 100;

/// A pipe holds no more (`pipe(7)`): what a child that has exited may have left in it.
const PIPE_CAPACITY: usize = 64 * 1024;

/// Every JWT and JWE of Cognito begins so: `{"` in base64url.
const TOKEN: &str = "eyJ";

/// What stands in a secret's place.
const MASK: &str = "[redacted]";

/// Variables that a program of the same user may need to find its files, its words and the desktop. Everything else
/// stays here: what the service manager told this process, credentials of other programs.
const KEPT: [&str; 14] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TERM",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// The same by how they begin.
const KEPT_PREFIXES: [&str; 2] = ["LC_", "XDG_"];

/// Whether a child may see this variable of our environment.
#[must_use]
pub fn is_kept(variable: &str) -> bool {
    KEPT.contains(&variable) || KEPT_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Because it was made to.
    Cut,
}

/// A child that runs. Dropped, it is killed with its whole group.
#[derive(Debug)]
pub struct Child {
    group: Pid,
    output: pipe::Receiver,
    /// Completes when the child has been reaped.
    reaping: JoinHandle<io::Result<ExitStatus>>,
}

impl Child {
    /// Starts `command`, whose environment is the caller's choice. To be called in a runtime.
    ///
    /// # Errors
    /// What the system says, where there is no such program or no process to be had.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        // A thread each, of which there are two at most: one that waits costs no wake-ups.
        let reaping = tokio::task::spawn_blocking(move || child.wait());
        Ok(Self { group, output, reaping })
    }

    /// Waits for its end, and hands over each line that it writes, without secrets, until then. When `cut` completes it
    /// is asked to end, and killed soon after.
    pub async fn attend(mut self, cut: impl Future<Output = ()>, mut say: impl FnMut(&str)) -> End {
        tokio::pin!(cut);
        let mut lines = Lines::default();
        let mut buffer = [0; 4096];
        let mut is_open = true;
        let mut kill_at: Option<Instant> = None;
        let ended = loop {
            tokio::select! {
                read = self.output.read(&mut buffer), if is_open => match read {
                    Ok(length) if length > 0 => lines.push(&buffer[..length], &mut say),
                    Ok(_) | Err(_) => is_open = false,
                },
                ended = &mut self.reaping => break ended,
                () = &mut cut, if kill_at.is_none() => {
                    self.signal(Signal::TERM);
                    kill_at = Some(Instant::now() + GRACE);
                }
                () = due(kill_at) => {
                    self.signal(Signal::KILL);
                    kill_at = Some(Instant::now() + GRACE);
                }
            }
        };
        // Not until the pipe's end: a process that the child has left behind may hold it.
        let mut left = PIPE_CAPACITY;
        while is_open && left > 0 {
            match self.output.try_read(&mut buffer) {
                Ok(length) if length > 0 => {
                    lines.push(&buffer[..length], &mut say);
                    left = left.saturating_sub(length);
                }
                Ok(_) | Err(_) => is_open = false,
            }
        }
        lines.finish(&mut say);
        match ended {
            Ok(Ok(status)) if kill_at.is_none() => End::Exited(status),
            _ => {
                // Its leader has ended, perhaps not the rest of the group.
                self.signal(Signal::KILL);
                End::Cut
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // Fails where nobody is left, and then nothing is to be done.
        let _ = kill_process_group(self.group, signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After that the number may belong to somebody else.
        if !self.reaping.is_finished() {
            self.signal(Signal::KILL);
        }
    }
}

/// Completes at that moment; never where there is none.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What a child writes, put together to lines.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    told: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], say: &mut impl FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.finish(say);
            }
        }
    }

    fn finish(&mut self, say: &mut impl FnMut(&str)) {
        let line = redacted(String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim());
        if !line.is_empty() && self.told < MOST_LINES {
            self.told += 1;
            say(&line);
        }
    }
}

/// `line` with tokens and the queries of URLs masked: those hold codes and states of a sign-in.
fn redacted(line: &str) -> String {
    let words = line.split_inclusive(char::is_whitespace).map(|word| {
        let (text, space) = word.split_at(word.trim_end().len());
        format!("{}{space}", redacted_word(text))
    });
    words.collect()
}

fn redacted_word(word: &str) -> String {
    if let Some((before, _)) = word.split_once("://").and_then(|_| word.split_once(['?', '#'])) {
        return format!("{before}?{MASK}");
    }
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find(TOKEN) {
        let is_of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
        let end = rest[at..].find(|c| !is_of_token(c)).map_or(rest.len(), |length| at + length);
        shown.push_str(&rest[..at]);
        shown.push_str(MASK);
        rest = &rest[end..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    async fn ran(script: &str, cut: impl Future<Output = ()>) -> (End, Vec<String>) {
        let mut said = Vec::new();
        let child = Child::spawn(shell(script)).expect("a shell");
        let end = child.attend(cut, |line| said.push(line.to_owned())).await;
        (end, said)
    }

    /// Whether any process of that group is left.
    fn is_alive(pid: &str) -> bool {
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("not 0");
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[tokio::test]
    async fn lines_of_both_outputs_come_in_order_and_the_status_with_them() {
        let (end, said) = ran("echo one; echo two >&2; printf three; exit 3", std::future::pending()).await;
        assert_eq!(end, End::Exited(ExitStatus::from_raw(3 << 8)));
        assert_eq!(said, ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a_child_that_ends_is_not_waited_for_by_what_it_left_behind() {
        let (end, said) = ran("sleep 600 & echo $!", std::future::pending()).await;
        assert_eq!(end, End::Exited(ExitStatus::from_raw(0)));
        assert!(is_alive(&said[0]), "it was left behind on purpose");
        let pid = Pid::from_raw(said[0].parse().expect("a number")).expect("not 0");
        rustix::process::kill_process(pid, Signal::KILL).expect("ours");
    }

    #[tokio::test]
    async fn one_that_will_not_end_is_killed_with_its_whole_group() {
        let (heard, begun) = tokio::sync::oneshot::channel();
        let mut heard = Some(heard);
        let mut said = Vec::new();
        let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done'";
        let child = Child::spawn(shell(script)).expect("a shell");
        let cut = async { drop(begun.await) };
        let end = child
            .attend(cut, |line| {
                said.push(line.to_owned());
                heard.take().map(|heard| heard.send(()));
            })
            .await;
        assert_eq!(end, End::Cut);
        let gone = async {
            while is_alive(&said[0]) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("nobody is left");
    }

    #[tokio::test]
    async fn endless_output_neither_blocks_the_child_nor_fills_the_log() {
        let (end, said) = ran("seq 1 30000; head -c 300000 /dev/zero | tr '\\0' x", std::future::pending()).await;
        assert_eq!(end, End::Exited(ExitStatus::from_raw(0)));
        assert_eq!(said.len(), MOST_LINES);
        let mut lines = Lines::default();
        let mut said = Vec::new();
        lines.push(&[b'x'; 3 * LONGEST_LINE], &mut |line: &str| said.push(line.to_owned()));
        lines.push(b"\nnext\n", &mut |line: &str| said.push(line.to_owned()));
        assert_eq!((said[0].len(), said[1].as_str()), (LONGEST_LINE, "next"));
    }

    #[test]
    fn tokens_and_queries_are_masked() {
        for (line, shown) in [
            ("token eyJraWQ.eyJzdWI.c2ln, twice eyJh", "token [redacted], twice [redacted]"),
            (
                "open https://login.example/authorize?state=abc&x=1 now",
                "open https://login.example/authorize?[redacted] now",
            ),
            ("at http://localhost:8976/callback#id_token=x", "at http://localhost:8976/callback?[redacted]"),
            ("what now?", "what now?"),
            ("signed in as alice", "signed in as alice"),
        ] {
            assert_eq!(redacted(line), shown);
        }
    }

    #[test]
    fn what_the_service_manager_said_and_configuration_is_not_passed_on() {
        for (name, kept) in [
            ("PATH", true),
            ("LC_TIME", true),
            ("XDG_RUNTIME_DIR", true),
            ("NOTIFY_SOCKET", false),
            ("LISTEN_FDS", false),
            ("CREDENTIALS_DIRECTORY", false),
            ("AWS_SECRET_ACCESS_KEY", false),
            ("COGNITO_PROXY_UPSTREAM__URL", false),
        ] {
            assert_eq!(is_kept(name), kept, "{name}");
        }
    }
}
