//! What an Amplify application keeps in a browser: local storage, or cookies of the same names (amplify-js,
//! `TokenStore` and `CookieStorage`). Pure.
//!
//! Cookies are percent-encoded, their names once or twice; so everything is decoded before it is compared. User names
//! may hold dots, and keys are matched by both their ends.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{Error, Imported, listed};
use crate::{secret::Secret, session::Device};

/// What every key begins with.
const PREFIX: &str = "CognitoIdentityServiceProvider.";

/// Decoded keys and values, of Amplify's alone.
pub(super) struct Entries(BTreeMap<String, Secret>);

/// What a browser shows as `document.cookie`, or sends as `Cookie`; `None` where the input is neither.
pub(super) fn cookies(input: &str) -> Option<Entries> {
    let input = input.trim();
    let list = match input.split_at_checked(7) {
        Some((name, list)) if name.eq_ignore_ascii_case("cookie:") => list,
        _ => input,
    };
    if list.starts_with(['{', '[', '"']) {
        return None;
    }
    let pairs = list.split([';', '\n']).filter_map(|cookie| cookie.trim().split_once('='));
    let entries: BTreeMap<_, _> = pairs.filter_map(|(name, value)| entry(name, value)).collect();
    (!entries.is_empty()).then_some(Entries(entries))
}

/// The cookies in a list of objects with `name` and `value`, as tools export them.
pub(super) fn exported(items: &[Value]) -> Option<Map<String, Value>> {
    let pairs = items.iter().map(|item| Some((item.get("name")?.as_str()?.to_owned(), item.get("value")?.clone())));
    let cookies: Map<String, Value> = pairs.collect::<Option<_>>()?;
    cookies.keys().any(|name| decoded(name).starts_with(PREFIX)).then_some(cookies)
}

/// A dump of local storage; `None` where the object is none.
///
/// # Errors
/// Where one of Amplify's keys holds something other than a text.
pub(super) fn entries(object: &Map<String, Value>) -> Result<Option<Entries>, Error> {
    let mut entries = BTreeMap::new();
    for (key, value) in object.iter().filter(|(key, _)| decoded(key).starts_with(PREFIX)) {
        match value {
            Value::String(value) => entries.extend(entry(key, value)),
            // Newer versions keep details as objects, which nothing here needs.
            Value::Null | Value::Object(_) | Value::Number(_) | Value::Bool(_) => {}
            Value::Array(_) => return Err(Error::WrongType { key: key.clone(), wanted: "a text" }),
        }
    }
    let is_dump = object.keys().any(|key| decoded(key).starts_with(PREFIX));
    Ok(is_dump.then_some(Entries(entries)))
}

/// The session of `client_id`: of the user who was active last, else of whoever has one.
pub(super) fn read(entries: &Entries, client_id: &str) -> Result<Imported, Error> {
    let ours = format!("{PREFIX}{client_id}.");
    if !entries.0.keys().any(|key| key.starts_with(&ours)) {
        let clients = entries.0.keys().filter_map(|key| key.strip_prefix(PREFIX)?.split('.').next());
        return Err(Error::OtherClient { client_id: client_id.into(), found: listed(clients) });
    }
    let text = |name: &str| entries.0.get(&format!("{ours}{name}")).filter(|value| !value.expose().is_empty());
    let last = text("LastAuthUser").map(|user| user.expose().to_owned());
    // Newer versions list every user, the active one first.
    let listed = text("AuthUserList").map(|users| users.expose().to_owned()).unwrap_or_default();
    let stored = entries.0.keys().filter_map(|key| key.strip_prefix(&ours)?.strip_suffix(".refreshToken"));
    let candidates = last.into_iter().chain(listed.split(',').map(|user| user.trim().to_owned()));
    let found = candidates.chain(stored.map(str::to_owned)).find_map(|user| {
        let refresh_token = text(&format!("{user}.refreshToken"))?.clone();
        Some((user, refresh_token))
    });
    let Some((username, refresh_token)) = found else {
        return Err(Error::NoAmplifyToken { client_id: client_id.into() });
    };
    let of_user = |name: &str| text(&format!("{username}.{name}"));
    Ok(Imported {
        refresh_token,
        device: of_user("deviceKey").map(|key| Device {
            key: key.expose().to_owned(),
            group_key: of_user("deviceGroupKey").map(|key| key.expose().to_owned()),
            password: of_user("randomPasswordKey").cloned(),
        }),
        username: Some(username),
        is_shared_with_browser: true,
    })
}

fn entry(key: &str, value: &str) -> Option<(String, Secret)> {
    let key = decoded(key.trim());
    key.starts_with(PREFIX).then(|| (key, Secret::new(decoded(value.trim()))))
}

/// Text without its percent-encoding, however often it was encoded. Of what Amplify stores nothing else has a `%`: a
/// user name with one followed by two hex digits would be an exception that Cognito has never been seen to give out.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..3 {
        match percent_decode_str(&text).decode_utf8() {
            Ok(decoded) if decoded != text => text = decoded.into_owned(),
            _ => break,
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::parse, *};

    fn imported(input: &str) -> Result<Imported, Error> {
        parse(input, "c1")
    }

    fn key(name: &str) -> String {
        format!("{PREFIX}c1.{name}")
    }

    #[test]
    fn the_active_user_comes_first_and_brings_the_device() {
        let dump = json!({
            key("LastAuthUser"): "a.b@c.de",
            key("a.b@c.de.refreshToken"): "r1",
            key("a.b@c.de.deviceKey"): "eu-west-1_d1",
            key("a.b@c.de.deviceGroupKey"): "-g1",
            key("a.b@c.de.randomPasswordKey"): "p+w/=",
            key("a.b@c.de.signInDetails"): {"loginId": "a.b@c.de"},
            key("a.refreshToken"): "r2",
        });
        let found = imported(&dump.to_string()).expect("a dump");
        let device =
            Device { key: "eu-west-1_d1".into(), group_key: Some("-g1".into()), password: Some("p+w/=".into()) };
        assert_eq!(found.refresh_token, Secret::from("r1"));
        assert_eq!((found.username.as_deref(), found.device), (Some("a.b@c.de"), Some(device)));
        assert!(found.is_shared_with_browser);

        let listed = json!({key("AuthUserList"): "b,a", key("a.refreshToken"): "r2", key("b.refreshToken"): "r3"});
        assert_eq!(imported(&listed.to_string()).expect("a dump").username.as_deref(), Some("b"));
        // The last user has signed out since.
        let other = json!({key("LastAuthUser"): "b", key("a.refreshToken"): "r2"});
        assert_eq!(imported(&other.to_string()).expect("a dump").refresh_token, Secret::from("r2"));
    }

    #[test]
    fn cookies_are_decoded_as_often_as_they_were_encoded() {
        for (user, last) in [("a.b%40c.de", "a.b%40c.de"), ("a.b%2540c.de", "a.b%40c.de"), ("a.b@c.de", "a.b@c.de")] {
            let line = format!(
                "theme=dark; {}={last}; {}=r1; {}=p%2Bw%2F%3D; {}=eu-west-1_d1",
                key("LastAuthUser"),
                key(&format!("{user}.refreshToken")),
                key(&format!("{user}.randomPasswordKey")),
                key(&format!("{user}.deviceKey")),
            );
            for input in [line.clone(), format!("Cookie: {line}"), line.replace("; ", "\n")] {
                let found = imported(&input).expect("cookies");
                assert_eq!(found.username.as_deref(), Some("a.b@c.de"), "{input}");
                assert_eq!(found.refresh_token, Secret::from("r1"), "{input}");
                assert_eq!(found.device.and_then(|device| device.password), Some("p+w/=".into()), "{input}");
            }
        }
    }

    #[test]
    fn a_dump_without_a_session_says_so_and_holds_no_content() {
        for (input, expected) in [
            (json!({key("LastAuthUser"): "a"}).to_string(), "no `refreshToken` of client c1"),
            (json!({key("a.refreshToken"): ["x"]}).to_string(), "must be a text"),
            (format!("{PREFIX}c2.a.refreshToken=eyJ"), "no session of client c1; it has c2"),
            ("theme=dark; x=eyJ".to_owned(), "not JSON"),
        ] {
            let error = imported(&input).expect_err(&input).to_string();
            assert!(error.contains(expected) && !error.contains("eyJ"), "{input}: {error}");
        }
    }
}
