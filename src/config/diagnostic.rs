//! What a person is shown when a configuration is wrong: the place, the line itself, and the way out.

use std::{fmt, ops::Range, path::PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Origin as Heading, Renderer, Snippet};

use super::{mask, place::Place, problem::Problem};

/// Every mistake that one load found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    diagnostics: Vec<Diagnostic>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The key at fault, `section.key`.
    pub key: Option<String>,
    /// Where it was written.
    pub location: Location,
    /// What is wrong; a sentence without its full stop. Never holds a secret.
    pub message: String,
    /// How to mend it.
    pub fix: Option<String>,
    /// Whether a file's permissions or owner are at fault: exit code 77 instead of 78.
    pub refused: bool,
}

/// Where a mistake was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nowhere in particular: something is missing, and there is no file.
    Nowhere,
    /// In the file as a whole: it cannot be read.
    WholeFile(PathBuf),
    /// At a place in the file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// The line or lines themselves.
        excerpt: Excerpt,
    },
    /// In an environment variable.
    Environment(String),
    /// In a flag of the command line.
    Flag(String),
}

/// Lines of a file, without what looks like a secret, and the part of them that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    text: String,
    span: Range<usize>,
}

/// A configuration file as it was read.
#[derive(Clone, Debug)]
pub(super) struct FileText {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Error {
    pub(super) fn new(diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostics }
    }

    /// The mistakes, at least one.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether permissions and owners are all that is wrong, which has an exit code of its own.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.refused)
    }

    /// All of it for a person, `width` columns wide, with colours where `styled`.
    #[must_use]
    pub fn render(&self, styled: bool, width: usize) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() }.term_width(width);
        let shown: Vec<String> = self.diagnostics.iter().map(|one| one.render(&renderer)).collect();
        shown.join("\n\n")
    }
}

impl fmt::Display for Error {
    /// As [`render`](Error::render) without colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, 120))
    }
}

impl Diagnostic {
    /// Places `problem` in `file`.
    pub(super) fn locate(problem: Problem, file: Option<&FileText>) -> Self {
        let location = match (problem.place, file) {
            (Place::File(span), Some(file)) => Location::in_file(file, &span),
            (Place::Environment(name), _) => Location::Environment(name),
            (Place::Flag(name), _) => Location::Flag(name),
            // What is missing is to be added somewhere.
            (Place::Unset, Some(file)) => Location::WholeFile(file.path.clone()),
            (Place::Unset | Place::File(_), None) => Location::Nowhere,
        };
        Self {
            key: problem.key.map(String::from),
            location,
            message: problem.message,
            fix: problem.fix,
            refused: problem.refused,
        }
    }

    /// The key and what is wrong with it, on one line.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.key {
            Some(key) => format!("`{key}` {}", self.message),
            None => self.message.clone(),
        }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let title = self.title();
        let mut group = Group::with_title(Level::ERROR.primary_title(title.as_str()));
        group = match &self.location {
            Location::Nowhere => group,
            Location::WholeFile(path) => group.element(Heading::path(path.display().to_string())),
            Location::Environment(name) => group.element(Heading::path(format!("environment variable {name}"))),
            Location::Flag(name) => group.element(Heading::path(format!("flag {name}"))),
            Location::File { path, line, excerpt, .. } => group.element(
                Snippet::source(excerpt.text.as_str())
                    .path(path.display().to_string())
                    .line_start(*line)
                    .annotation(AnnotationKind::Primary.span(excerpt.span.clone())),
            ),
        };
        let Some(fix) = &self.fix else { return renderer.render(&[group]) };
        let help = Group::with_title(Level::HELP.secondary_title(fix.as_str()));
        match &self.location {
            Location::File { .. } => renderer.render(&[group, help]),
            // Without lines of the file there is nothing to draw a margin for.
            _ => format!("{}\n{}", renderer.render(&[group]), renderer.render(&[help])),
        }
    }
}

impl Location {
    /// The place of `span` in `file`, with the lines that it touches.
    fn in_file(file: &FileText, span: &Range<usize>) -> Self {
        let text = file.text.as_str();
        let start = floor_boundary(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = floor_boundary(text, span.end.max(start));
        let end = if is_header(&text[line_start..start], &text[start..end]) {
            // The span of a table is all of it; its name is enough to find it by.
            start + text[start..end].find('\n').unwrap_or(end - start)
        } else {
            end
        };
        let line_end = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
        let byte_order_mark = if line_start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let from = (line_start + byte_order_mark).min(start);
        let (shown, span) = mask::excerpt(text[from..line_end].trim_end(), start - from..end - from);
        Self::File {
            path: file.path.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: text[from..start].chars().count() + 1,
            excerpt: Excerpt { text: shown, span },
        }
    }
}

/// Whether what is spanned begins with a `[table]`.
fn is_header(before: &str, spanned: &str) -> bool {
    before.trim().is_empty() && spanned.starts_with('[') && spanned.contains('\n')
}

/// The greatest character boundary up to `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}
