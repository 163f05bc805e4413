//! From a TOML value to the type that a key has, with an exact word about what is wrong where it does not fit.

use std::{marker::PhantomData, path::PathBuf, time::Duration};

use super::{
    node::{Node, Value},
    problem::{Problem, nearest},
    units,
};
use crate::{cognito::RefreshApi, proxy, session};

/// A type that a key can have.
pub(super) trait FromNode: Sized {
    /// Reads `node`, whose key the caller names.
    fn from_node(node: &Node) -> Result<Self, Problem>;

    /// What the key is worth where nobody set it and it has no default.
    fn unset() -> Option<Self> {
        None
    }
}

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        T::from_node(node).map(Some)
    }

    fn unset() -> Option<Self> {
        Some(None)
    }
}

impl FromNode for bool {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        match node.as_toml() {
            Some(Node { value: Value::Boolean(truth), .. }) => Ok(truth),
            _ => Err(mistyped(node, "true or false").fix("write true or false, without quotes")),
        }
    }
}

impl FromNode for String {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        let text = text(node).ok_or_else(|| {
            let problem = mistyped(node, "a string");
            match node.value {
                Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => problem.fix(format!("write \"{node}\"")),
                _ => problem,
            }
        })?;
        if text.trim().is_empty() {
            return Err(Problem::new("is empty").fix("give it a value, or remove it"));
        }
        Ok(text)
    }
}

impl FromNode for u64 {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        let Some(Node { value: Value::Integer(number), .. }) = node.as_toml() else {
            return Err(mistyped(node, "a whole number").fix("write digits alone, without quotes"));
        };
        Self::try_from(number).map_err(|_| Problem::new(format!("cannot be negative: {number}")).fix("write 0 or more"))
    }
}

impl FromNode for Duration {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        match text(node) {
            Some(text) => units::duration(&text),
            None => Err(match node.value {
                Value::Integer(number) => mistyped(node, "a duration").fix(format!("write \"{number}s\"")),
                _ => mistyped(node, "a duration such as \"5m\""),
            }),
        }
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromNode for Size {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        match text(node) {
            Some(text) => units::size(&text).map(Self),
            None => Err(match node.value {
                Value::Integer(number) => mistyped(node, "a size").fix(format!("write \"{number}B\"")),
                _ => mistyped(node, "a size such as \"64KiB\""),
            }),
        }
    }
}

/// A duration, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffOr<T>(pub(super) Option<T>);

impl<T: FromNode> FromNode for OffOr<T> {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        if text(node).is_some_and(|text| text == "off") {
            return Ok(Self(None));
        }
        T::from_node(node).map(|inner| Self(Some(inner))).map_err(|problem| {
            let fix = problem.fix.clone().map_or_else(String::new, |fix| format!("{fix}, or "));
            problem.fix(format!("{fix}\"off\""))
        })
    }
}

/// A path as it was written; whoever resolves it knows what it is relative to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawPath(pub(super) PathBuf);

impl FromNode for RawPath {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        let text = String::from_node(node)?;
        if text.contains('\0') {
            return Err(Problem::new("holds a NUL, which no path may"));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

/// A local user: a name, or a uid that may be written as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User(pub(super) String);

impl FromNode for User {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        match node.value {
            Value::Integer(uid) if u32::try_from(uid).is_ok() => Ok(Self(uid.to_string())),
            Value::Integer(uid) => {
                Err(Problem::new(format!("names no uid: {uid}")).fix("write a user's name, or a uid from 0 on"))
            }
            _ => String::from_node(node).map(Self),
        }
    }
}

/// An item of a list, with its own place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) node: Node,
}

impl<T: FromNode> FromNode for Vec<Item<T>> {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        let Some(Node { value: Value::Array(items), .. }) = node.as_toml() else {
            return Err(mistyped(node, "a list").fix(format!("write it in brackets: [{node}]")));
        };
        items
            .into_iter()
            .map(|item| {
                let value = T::from_node(&item).map_err(|mut problem| {
                    problem.message = format!("has an item that {}", problem.message);
                    problem.at(item.place.clone())
                })?;
                Ok(Item { value, node: item })
            })
            .collect()
    }
}

/// One of a few words.
pub(super) trait Word: Copy + Sized + 'static {
    /// Every word with what it stands for.
    const WORDS: &'static [(&'static str, Self)];
}

/// Reads a [`Word`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OneOf<T>(pub(super) T, PhantomData<T>);

impl<T: Word> FromNode for OneOf<T> {
    fn from_node(node: &Node) -> Result<Self, Problem> {
        let names = || T::WORDS.iter().map(|(name, _)| *name);
        let all = || names().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let Some(text) = text(node) else {
            return Err(mistyped(node, "a string").fix(format!("write one of {}", all())));
        };
        if let Some((_, meant)) = T::WORDS.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*meant, PhantomData));
        }
        let problem = Problem::new(format!("cannot be {text:?}"));
        Err(match nearest(&text, names()) {
            Some(near) => problem.fix(format!("did you mean {near:?}? It is one of {}", all())),
            None => problem.fix(format!("write one of {}", all())),
        })
    }
}

impl Word for session::TokenKind {
    const WORDS: &'static [(&'static str, Self)] = &[("id", Self::Id), ("access", Self::Access)];
}

impl Word for session::Mode {
    const WORDS: &'static [(&'static str, Self)] = &[("ahead", Self::Ahead), ("on-demand", Self::OnDemand)];
}

impl Word for RefreshApi {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("get-tokens-from-refresh-token", Self::GetTokensFromRefreshToken),
        ("initiate-auth", Self::InitiateAuth),
    ];
}

impl Word for proxy::HttpVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Self::Auto), ("h1", Self::H1), ("h2", Self::H2)];
}

impl Word for proxy::Cookies {
    const WORDS: &'static [(&'static str, Self)] =
        &[("rewrite", Self::Rewrite), ("pass", Self::Pass), ("drop", Self::Drop)];
}

impl Word for proxy::ClientValue {
    const WORDS: &'static [(&'static str, Self)] =
        &[("replace", Self::Replace), ("keep", Self::Keep), ("reject", Self::Reject)];
}

impl Word for super::LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Word for super::LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("pretty", Self::Pretty), ("json", Self::Json), ("journald", Self::Journald)];
}

/// `"on"` or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

impl Word for Switch {
    const WORDS: &'static [(&'static str, Self)] = &[("off", Self::Off), ("on", Self::On)];
}

/// `store.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreKind {
    File,
    Keyring,
}

impl Word for StoreKind {
    const WORDS: &'static [(&'static str, Self)] = &[("file", Self::File), ("keyring", Self::Keyring)];
}

/// The text of a string, or of a variable or a flag; there quotes may stand around it, as in the file.
fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::String(text) => Some(text.clone()),
        Value::Bare(bare) if bare.trim_start().starts_with(['"', '\'']) => match node.as_toml() {
            Some(Node { value: Value::String(text), .. }) => Some(text),
            _ => Some(bare.clone()),
        },
        Value::Bare(bare) => Some(bare.clone()),
        _ => None,
    }
}

fn mistyped(node: &Node, wanted: &str) -> Problem {
    match &node.value {
        Value::Bare(text) => Problem::new(format!("must be {wanted}, not {text:?}")),
        Value::Boolean(truth) => Problem::new(format!("must be {wanted}, not {truth}")),
        _ => Problem::new(format!("must be {wanted}, not {}", node.type_name())),
    }
}
