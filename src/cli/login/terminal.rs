//! The terminal of whoever signs in: questions, and answers that are not shown.
//!
//! Owns `/dev/tty`, so that a person can be asked while standard input and both outputs lead elsewhere. A question ends
//! with its answer, with Ctrl-C, or with whatever else the caller waits for; the terminal shows again what is typed
//! then.

use std::{
    fs::File,
    io::{self, Read, Write},
    thread,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A line is at most this long: what the kernel keeps of one (termios(3), `MAX_CANON` on Linux).
const LONGEST: usize = 4096;

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// It is.
    Shown,
    /// It is not.
    Hidden,
}

/// The controlling terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    tty: File,
}

impl Terminal {
    /// `None` where there is none: under cron, in a container, in a service.
    pub(super) fn open() -> Option<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty").ok()?;
        tcgetattr(&tty).is_ok().then_some(Self { tty })
    }

    /// Writes lines that nobody else may see.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(super) fn show(&self, text: &str) -> io::Result<()> {
        (&self.tty).write_all(text.as_bytes())
    }

    /// Asks for one line, without its end. `None` where the person ends the input instead (Ctrl-D).
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(super) async fn ask(&self, question: &str, echo: Echo) -> io::Result<Option<Secret>> {
        let mut asking = Asking::start(&self.tty, echo)?;
        self.show(question)?;
        let answer = line(self.tty.try_clone()?).await;
        asking.is_line_open = echo == Echo::Hidden || !matches!(answer, Ok(Some(_)));
        answer
    }
}

/// A question that is open, also to whoever stops waiting for its answer: dropped, it shows again what is typed, and
/// ends its line.
struct Asking {
    tty: File,
    /// How the terminal was, where what is typed is hidden.
    before: Option<Termios>,
    /// Whether the line goes on: its end was not typed, or not shown.
    is_line_open: bool,
}

impl Asking {
    fn start(tty: &File, echo: Echo) -> io::Result<Self> {
        let mut asking = Self { tty: tty.try_clone()?, before: None, is_line_open: true };
        if echo == Echo::Hidden {
            let before = tcgetattr(tty)?;
            let mut silent = before.clone();
            silent.local_modes.remove(LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK | LocalModes::ECHONL);
            // What was typed before the question is not an answer to it.
            tcsetattr(tty, OptionalActions::Flush, &silent)?;
            asking.before = Some(before);
        }
        Ok(asking)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to restore, and nobody to write to.
        if let Some(before) = &self.before {
            let _gone = tcsetattr(&self.tty, OptionalActions::Now, before);
        }
        if self.is_line_open {
            drop(self.tty.write_all(b"\n"));
        }
    }
}

/// Reads a line on a thread of its own, which a caller may leave behind: a read of a terminal cannot be taken back, and
/// a process that ends does not wait for it.
async fn line(tty: File) -> io::Result<Option<Secret>> {
    let (sender, answer) = oneshot::channel();
    thread::Builder::new().name("terminal".into()).spawn(move || {
        // Nobody may be waiting any more.
        drop(sender.send(read_line(tty)));
    })?;
    answer.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

/// The first line, without its end, which may also be `\r\n`; `None` at the end of the input. Longer ones are errors.
pub(super) fn read_line(mut input: impl Read) -> io::Result<Option<Secret>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = Zeroizing::new([0]);
    loop {
        match input.read(byte.as_mut_slice()) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == LONGEST => return Err(io::ErrorKind::InvalidData.into()),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let line = line.strip_suffix(b"\r").unwrap_or(&line);
    let text = std::str::from_utf8(line).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Some(Secret::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_end_and_without_what_follows() {
        for (input, line) in [
            ("one\ntwo\n", Some("one")),
            ("one\r\ntwo", Some("one")),
            ("one", Some("one")),
            (" spaces are part of a password ", Some(" spaces are part of a password ")),
            ("\n", Some("")),
            ("", None),
        ] {
            let read = read_line(input.as_bytes()).expect("a line");
            assert_eq!(read.as_ref().map(Secret::expose), line, "{input:?}");
        }
        let mut input = "one\ntwo\n".as_bytes();
        read_line(&mut input).expect("a line");
        assert_eq!(input, b"two\n", "nothing more is taken than the line");
        assert!(read_line(&[0xff, b'\n'][..]).is_err());
        assert!(read_line("x".repeat(LONGEST + 1).as_bytes()).is_err());
    }
}
