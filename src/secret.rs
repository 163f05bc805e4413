//! Text that must never be seen: tokens, client secrets, keys, passwords.
//!
//! Without `Display` or `Serialize`, with a redacted `Debug`, and with one word to look at it,
//! [`expose`](Secret::expose), so that every place that does can be found.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text, wiped from memory when it is dropped as far as Rust can promise that.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the wire, the store and nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        assert_eq!(format!("{:?}", Some(Secret::from("eyJhbGciOi"))), "Some([redacted])");
    }
}
