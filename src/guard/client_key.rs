//! The client key: what a client shows that cannot be known by its user or its address.

use http::HeaderName;

use crate::{message::Fields, secret::Secret};

/// The header that carries the client key. It is the proxy's own and never goes upstream.
pub const CLIENT_KEY: HeaderName = HeaderName::from_static("cognito-proxy-key");

/// The key that `guard.client_key_file` holds.
#[derive(Clone, Debug)]
pub struct ClientKey(Secret);

/// Why the content of `guard.client_key_file` is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientKeyError {
    /// Nothing but white space.
    #[error("the client key is empty")]
    Empty,
    /// Something that a header's value cannot carry (RFC 9110 §5.5).
    #[error("the client key must be one line of visible ASCII characters")]
    Character,
}

impl ClientKey {
    /// Takes the content of a key file; white space around the key does not count.
    pub fn parse(content: &Secret) -> Result<Self, ClientKeyError> {
        let key = content.expose().trim();
        if key.is_empty() {
            return Err(ClientKeyError::Empty);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ClientKeyError::Character);
        }
        Ok(Self(Secret::from(key)))
    }

    /// Whether `fields` carry this key, once. How long the answer takes says nothing about the key but its length.
    pub(super) fn is_in(&self, fields: &Fields) -> bool {
        let mut values = fields.get_all(CLIENT_KEY);
        match (values.next(), values.next()) {
            (Some(value), None) => {
                aws_lc_rs::constant_time::verify_slices_are_equal(value, self.0.expose().as_bytes()).is_ok()
            }
            _ => false,
        }
    }
}

/// Removes from a request what is between the client and this proxy alone: the client key, whether one is asked for
/// or not.
pub fn strip(fields: &mut Fields) {
    fields.remove(CLIENT_KEY);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_key_must_be_there_once_and_whole() {
        let key = ClientKey::parse(&Secret::from(" s3cret\n")).unwrap();
        for (values, right) in [
            (&["s3cret"][..], true),
            (&[], false),
            (&[""], false),
            (&["s3cre"], false),
            (&["s3crets"], false),
            (&["S3cret"], false),
            (&["s3cret", "s3cret"], false),
        ] {
            let mut headers = Fields::new();
            for value in values {
                headers.append(CLIENT_KEY, HeaderValue::from_static(value));
            }
            assert_eq!(key.is_in(&headers), right, "{values:?}");
            strip(&mut headers);
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn what_is_no_key_is_an_error_and_a_key_is_never_shown() {
        assert_eq!(ClientKey::parse(&Secret::from(" \n")).unwrap_err(), ClientKeyError::Empty);
        assert_eq!(ClientKey::parse(&Secret::from("a\nb")).unwrap_err(), ClientKeyError::Character);
        let key = ClientKey::parse(&Secret::from("s3cret")).unwrap();
        assert!(!format!("{key:?}").contains("s3cret"));
    }
}
