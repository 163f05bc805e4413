//! What shows a request to come from a page that this process has served.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::secret::Secret;

/// The form's field that carries the page's token.
pub(super) const TOKEN_FIELD: &str = "page_token";

/// What a page shows to be the one that this process has served.
#[derive(Clone)]
pub(super) struct PageToken(Secret);

impl PageToken {
    /// A new one: 256 random bits, in letters that a form carries as they are. `None` where the system has no randomness,
    /// and then no page can do anything.
    ///
    /// From the kernel, whose generator is ready: the library's collects entropy of its own first, which takes longer than
    /// all the rest of a start.
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(Secret::new(URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// For the form's hidden field.
    pub(super) fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether a form's body carries it, once. How long the answer takes says nothing about it but its length.
    pub(super) fn is_in(&self, form: &str) -> bool {
        let mut values = form.split('&').filter_map(|pair| pair.strip_prefix(TOKEN_FIELD)?.strip_prefix('='));
        match (values.next(), values.next()) {
            (Some(value), None) => {
                aws_lc_rs::constant_time::verify_slices_are_equal(value.as_bytes(), self.expose().as_bytes()).is_ok()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_must_be_there_once_and_whole() {
        let token = PageToken::random().expect("randomness");
        let other = PageToken::random().expect("randomness");
        assert_eq!(token.expose().len(), 43);
        assert_ne!(token.expose(), other.expose());
        let right = token.expose();
        for (form, is_in) in [
            (format!("page_token={right}"), true),
            (format!("a=b&page_token={right}"), true),
            (String::new(), false),
            ("page_token=".into(), false),
            (format!("page_token={}", other.expose()), false),
            (format!("page_token={}", &right[1..]), false),
            (format!("page_token={right}0"), false),
            (format!("xpage_token={right}"), false),
            (format!("page_token={right}&page_token={right}"), false),
        ] {
            assert_eq!(token.is_in(&form), is_in, "{form}");
        }
        assert!(!format!("{token:?}").contains(right));
    }
}
