//! A child process that is watched: everything that it prints is kept, its end is awaited with a bound, and it never
//! outlives the test.

use std::{
    io::{BufRead, BufReader, Read, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::watch, time::timeout};

use super::wait::{self, BOUND};

/// A running child, killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    stdout: Output,
    stderr: Output,
}

/// What is left of a process that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// The exit code; the test fails where a signal ended the process.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by {}\n{}", self.status, self.stderr))
    }
}

impl Process {
    /// Starts `command`. None where there is no such program.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Option<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{name} does not start: {error}"),
        };
        let stdout = Output::of(child.stdout.take().expect("piped"));
        let stderr = Output::of(child.stderr.take().expect("piped"));
        Some(Self { name: name.to_owned(), child, status: None, stdout, stderr })
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("the child is ours to wait for");
        }
        self.status
    }

    /// Its process id, while it is ours.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to this very process; nothing where it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // Not reaped yet, so the number cannot belong to another process.
            kill_process(Pid::from_child(&self.child), signal).expect("the child is ours to signal");
        }
    }

    /// What `reads` makes of the first line on standard error that it accepts, printed already or yet to come.
    pub(crate) async fn error_line<T>(&mut self, what: &str, reads: impl Fn(&str) -> Option<T>) -> T {
        let Ok(found) = timeout(BOUND, self.stderr.find(reads)).await else {
            panic!("{} printed no {what} within {BOUND:?}:\n{}", self.name, self.printed());
        };
        found.unwrap_or_else(|| panic!("{} ended without {what}:\n{}", self.name, self.printed()))
    }

    /// The same, or None where it ends without such a line.
    pub(crate) async fn error_line_or_end<T>(&mut self, reads: impl Fn(&str) -> Option<T>) -> Option<T> {
        timeout(BOUND, self.stderr.find(reads))
            .await
            .unwrap_or_else(|_| panic!("{} neither said it nor ended within {BOUND:?}:\n{}", self.name, self.printed()))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Both outputs so far.
    pub(crate) fn printed(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout.text(), self.stderr.text())
    }

    /// Waits for the end, at most `bound`, and for everything that was printed.
    pub(crate) async fn finish(mut self, bound: Duration) -> Finished {
        let Some(status) = wait::within(bound, async || self.ended()).await else {
            panic!("{} did not end within {bound:?}:\n{}", self.name, self.printed());
        };
        let drained = async {
            self.stdout.end().await;
            self.stderr.end().await;
        };
        // A grandchild may hold the pipes open; what it prints is not awaited for ever.
        let _ = timeout(BOUND, drained).await;
        Finished { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

/// Says that a test could not show something here. Unlike what is printed, this is seen although the test passes.
pub(crate) fn not_shown(what: &str) {
    // Where nobody listens there is nobody to tell.
    drop(writeln!(std::io::stderr(), "NOT SHOWN: {what}"));
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The lines that a thread reads from one pipe, so that the child never blocks on a full one.
struct Output {
    lines: watch::Receiver<Vec<String>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                sender.send_modify(|lines| lines.push(String::from_utf8_lossy(&line).into_owned()));
                line.clear();
            }
        });
        Self { lines }
    }

    fn text(&self) -> String {
        self.lines.borrow().concat()
    }

    /// The first accepted line, or None at the end of the output.
    async fn find<T>(&mut self, reads: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut seen = 0;
        loop {
            {
                let lines = self.lines.borrow_and_update();
                if let Some(found) = lines[seen..].iter().find_map(|line| reads(line.trim_end())) {
                    return Some(found);
                }
                seen = lines.len();
            }
            if self.lines.changed().await.is_err() && self.lines.borrow().len() == seen {
                return None;
            }
        }
    }

    async fn end(&mut self) {
        while self.lines.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn("sh", Command::new("sh").args(["-c", script])).expect("a shell")
    }

    #[tokio::test]
    async fn everything_that_a_process_prints_is_kept() {
        let mut process = shell("echo one; echo two >&2; printf three >&2; exit 7");
        assert_eq!(process.error_line("two", |line| (line == "two").then_some(2)).await, 2);
        let finished = process.finish(BOUND).await;
        assert_eq!((finished.code(), finished.stdout.as_str()), (7, "one\n"));
        assert_eq!(finished.stderr, "two\nthree");
    }

    #[tokio::test]
    async fn a_signal_reaches_the_process_and_only_once_it_runs() {
        let mut process = shell("trap 'echo caught; exit 3' TERM; echo armed >&2; while :; do sleep 0.05; done");
        process.error_line("armed", |line| (line == "armed").then_some(())).await;
        process.signal(Signal::TERM);
        let finished = process.finish(BOUND).await;
        assert_eq!((finished.code(), finished.stdout.as_str()), (3, "caught\n"));
    }

    #[tokio::test]
    async fn a_process_does_not_outlive_its_test() {
        let process = shell("exec cat /dev/zero >/dev/null");
        let pid = Pid::from_child(&process.child);
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err(), "killed and reaped");
    }

    #[test]
    fn a_missing_program_is_told_apart_from_one_that_fails() {
        assert!(Process::spawn("none", &mut Command::new("/nonexistent/program")).is_none());
    }
}
