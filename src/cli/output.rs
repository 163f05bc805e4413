//! Writing to standard output and standard error, neither of which has to be there.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use annotate_snippets::{Group, Level, Renderer};

use super::Exit;

/// Where nobody says how wide the terminal is.
const DEFAULT_WIDTH: usize = 120;

/// Writes data to standard output.
///
/// A reader that has left (`check --explain | head -1`) is no failure; a full disk is.
pub fn to_stdout(text: &str) -> Exit {
    match try_stdout(text) {
        Ok(()) => Exit::Ok,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            to_stderr(&format!("error: standard output cannot be written: {error}"));
            Exit::Other
        }
    }
}

/// The same, where a reader that has left is the end of what there is to do.
///
/// # Errors
/// What the system says.
pub fn try_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Writes a line for a person to standard error. Where that is closed or full there is nobody left to tell.
pub fn to_stderr(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    drop(io::stderr().lock().write_all(line.as_bytes()));
}

/// Writes the beginning of a line to standard error, which whoever answers ends.
pub(super) fn to_stderr_unfinished(text: &str) {
    let mut out = io::stderr().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// What is being waited for, where a person watches.
pub(super) fn progress(text: &str) {
    if io::stderr().is_terminal() {
        to_stderr(&format!("{text} …"));
    }
}

/// Says what went wrong and how to mend it, in the form that configuration errors have.
pub fn error(styled: bool, title: &str, fix: Option<&str>) {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() }.term_width(width());
    to_stderr(&renderer.render(&[Group::with_title(Level::ERROR.primary_title(title))]));
    if let Some(fix) = fix {
        to_stderr(&renderer.render(&[Group::with_title(Level::HELP.secondary_title(fix))]));
    }
}

/// Whether standard error is a terminal that shows colours, and nobody asked for none (<https://no-color.org>).
pub(super) fn wants_color() -> bool {
    shows_color(&io::stderr())
}

/// The same of either output.
pub(super) fn shows_color(output: &impl IsTerminal) -> bool {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    output.is_terminal() && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How wide errors may be.
pub(super) fn width() -> usize {
    env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|width| *width >= 40).unwrap_or(DEFAULT_WIDTH)
}
