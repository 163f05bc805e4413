//! Tokens that another program obtained: the forms in which they come. Pure.
//!
//! Nothing in the input is believed but the refresh token and the device key: one refresh proves the first, and brings
//! tokens that can be verified.

mod amplify;

use serde_json::{Map, Value};

use crate::{secret::Secret, session::Device};

/// What an import starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The refresh token.
    pub refresh_token: Secret,
    /// `cognito:username`, where the input names it.
    pub username: Option<String>,
    /// The remembered device, where there is one.
    pub device: Option<Device>,
    /// Whether a browser shares this token (an Amplify dump).
    pub is_shared_with_browser: bool,
}

/// Why an input cannot be imported. No variant holds any of its content but key names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error("not JSON: {problem} at line {line}, column {column}")]
    NotJson {
        /// What the parser stumbled over.
        problem: &'static str,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// JSON of no form that is known.
    #[error(
        "no refresh token in it; give {{\"refresh_token\": \"…\"}}, the output of `aws cognito-idp initiate-auth` as it \
         is, or a dump of an Amplify application's local storage (found: {found})"
    )]
    UnknownForm {
        /// The keys at the top.
        found: String,
    },
    /// A value of the wrong type.
    #[error("`{key}` must be {wanted}")]
    WrongType {
        /// Which key.
        key: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// The output of an authentication that is not finished.
    #[error(
        "this is the challenge {challenge}, not tokens: answer it first (`aws cognito-idp respond-to-auth-challenge`)"
    )]
    Challenge {
        /// `ChallengeName`.
        challenge: String,
    },
    /// Tokens without a refresh token.
    #[error(
        "`AuthenticationResult` has no `RefreshToken`: a refresh does not repeat it; use the output of the sign-in"
    )]
    NoRefreshToken,
    /// An Amplify dump that has a user and no refresh token.
    #[error("the Amplify dump has no `refreshToken` of client {client_id}: was it taken while somebody was signed in?")]
    NoAmplifyToken {
        /// `cognito.client_id`.
        client_id: String,
    },
    /// A dump of another app client's tokens.
    #[error("the Amplify dump holds no session of client {client_id}; it has {found}")]
    OtherClient {
        /// `cognito.client_id`.
        client_id: String,
        /// The clients that it has tokens of.
        found: String,
    },
}

/// Reads `input`, in whichever form it is.
pub fn parse(input: &str, client_id: &str) -> Result<Imported, Error> {
    let input = input.trim_start_matches('\u{feff}');
    if let Some(cookies) = amplify::cookies(input) {
        return amplify::read(&cookies, client_id);
    }
    let value: Value = serde_json::from_str(input).map_err(|error| Error::NotJson {
        problem: match error.classify() {
            serde_json::error::Category::Eof => "the input ends too early",
            _ => "a character that does not belong there",
        },
        line: error.line(),
        column: error.column(),
    })?;
    let object = match value {
        Value::Object(object) => object,
        Value::Array(items) => amplify::exported(&items).unwrap_or_default(),
        _ => Map::new(),
    };
    if object.is_empty() {
        return Err(Error::UnknownForm { found: "nothing".into() });
    }
    if object.contains_key("refresh_token") {
        plain(&object)
    } else if let Some(result) = object.get("AuthenticationResult").filter(|result| !result.is_null()) {
        aws_cli(result)
    } else if object.contains_key("RefreshToken") {
        // `--query AuthenticationResult`.
        aws_cli(&Value::Object(object))
    } else if let Some(Value::String(challenge)) = object.get("ChallengeName") {
        Err(Error::Challenge { challenge: challenge.clone() })
    } else if let Some(entries) = amplify::entries(&object)? {
        amplify::read(&entries, client_id)
    } else {
        Err(Error::UnknownForm { found: listed(object.keys().map(String::as_str)) })
    }
}

fn plain(object: &Map<String, Value>) -> Result<Imported, Error> {
    Ok(Imported {
        refresh_token: Secret::new(required(object, "", "refresh_token")?),
        username: text(object, "", "username")?,
        device: text(object, "", "device_key")?.map(device),
        is_shared_with_browser: false,
    })
}

fn aws_cli(result: &Value) -> Result<Imported, Error> {
    const KEY: &str = "AuthenticationResult";
    let Value::Object(result) = result else {
        return Err(Error::WrongType { key: KEY.into(), wanted: "an object" });
    };
    let refresh_token = text(result, KEY, "RefreshToken")?.ok_or(Error::NoRefreshToken)?;
    let device = match result.get("NewDeviceMetadata") {
        Some(Value::Object(metadata)) => text(metadata, "NewDeviceMetadata", "DeviceKey")?.map(|key| Device {
            key,
            group_key: metadata.get("DeviceGroupKey").and_then(Value::as_str).map(str::to_owned),
            password: None,
        }),
        _ => None,
    };
    Ok(Imported { refresh_token: Secret::new(refresh_token), username: None, device, is_shared_with_browser: false })
}

fn device(key: String) -> Device {
    Device { key, group_key: None, password: None }
}

fn required(object: &Map<String, Value>, at: &str, key: &str) -> Result<String, Error> {
    text(object, at, key)?.ok_or(Error::WrongType { key: key.into(), wanted: "a text that is not empty" })
}

/// The text under `key`; absent, null and empty are all "none".
fn text(object: &Map<String, Value>, at: &str, key: &str) -> Result<Option<String>, Error> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(Error::WrongType {
            key: if at.is_empty() { key.into() } else { format!("{at}.{key}") },
            wanted: "a text",
        }),
    }
}

/// A few names for a message; values are never among them.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(8);
    // A key that looks like a token is one that somebody pasted in the wrong place.
    let shown: Vec<&str> = names.into_iter().map(|name| if name.len() > 60 { "…" } else { name }).collect();
    if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(input: &str) -> Result<String, Error> {
        parse(input, "client1").map(|imported| imported.refresh_token.expose().to_owned())
    }

    #[test]
    fn every_form_yields_its_refresh_token() {
        for input in [
            r#"{"refresh_token":"r1"}"#,
            r#"{"refresh_token":" r1 ","id_token":"i","access_token":null,"device_key":""}"#,
            "\u{feff}{\"refresh_token\":\"r1\"}\n",
            r#"{"AuthenticationResult":{"AccessToken":"a","ExpiresIn":3600,"TokenType":"Bearer","RefreshToken":"r1","IdToken":"i"},"ChallengeParameters":{}}"#,
            r#"{"ChallengeName":null,"AuthenticationResult":{"RefreshToken":"r1"}}"#,
            r#"{"AccessToken":"a","ExpiresIn":3600,"TokenType":"Bearer","RefreshToken":"r1","IdToken":"i"}"#,
            r#"{"CognitoIdentityServiceProvider.client1.LastAuthUser":"a.b@c.de","CognitoIdentityServiceProvider.client1.a.b@c.de.refreshToken":"r1"}"#,
            r#"{"x":"y","CognitoIdentityServiceProvider.client1.a.b@c.de.refreshToken":"r1"}"#,
            r#"[{"name":"CognitoIdentityServiceProvider.client1.a%40c.de.refreshToken","value":"r1","domain":"x"}]"#,
            "Cookie: x=y; CognitoIdentityServiceProvider.client1.a%40c.de.refreshToken=r1",
        ] {
            assert_eq!(token(input).as_deref(), Ok("r1"), "{input}");
        }
    }

    #[test]
    fn devices_come_along() {
        let imported = parse(r#"{"refresh_token":"r","device_key":"eu-west-1_d"}"#, "c").expect("a known form");
        assert_eq!(imported.device.map(|device| device.key).as_deref(), Some("eu-west-1_d"));
        let imported = parse(
            r#"{"AuthenticationResult":{"RefreshToken":"r","NewDeviceMetadata":{"DeviceKey":"k","DeviceGroupKey":"g"}}}"#,
            "c",
        )
        .expect("a known form");
        assert_eq!(imported.device.and_then(|device| device.group_key).as_deref(), Some("g"));
    }

    #[test]
    fn what_cannot_be_imported_is_refused_by_name_and_without_content() {
        for (input, expected) in [
            ("", "not JSON: the input ends too early at line 1, column 0"),
            ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "not JSON: a character that does not belong there at line 1, column 1"),
            ("[]", "(found: nothing)"),
            (r#"[{"name":"x","value":"y"}]"#, "(found: nothing)"),
            ("7", "(found: nothing)"),
            (r#"{"token":"x"}"#, "(found: token)"),
            (r#"{"refresh_token":7}"#, "`refresh_token` must be a text"),
            (r#"{"refresh_token":""}"#, "`refresh_token` must be a text that is not empty"),
            (r#"{"ChallengeName":"SMS_MFA","Session":"s"}"#, "this is the challenge SMS_MFA"),
            (r#"{"AuthenticationResult":{"IdToken":"i"}}"#, "has no `RefreshToken`"),
            (
                r#"{"CognitoIdentityServiceProvider.other.LastAuthUser":"u"}"#,
                "no session of client client1; it has other",
            ),
        ] {
            let error = token(input).expect_err(input).to_string();
            assert!(error.contains(expected), "{input}: {error}");
            assert!(!error.contains("eyJ"), "{error}");
        }
    }
}
