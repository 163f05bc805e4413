//! The systemd credential `refresh-token`: a whole import as JSON, or the token alone.

use crate::{
    cognito,
    refresher::{Fingerprint, Seed},
    secret::Secret,
    signin::import,
    systemd,
};

/// The credential's name (`LoadCredentialEncrypted=refresh-token:…`).
const NAME: &str = "refresh-token";

/// The seed that the service manager passed, and what a person should know where it cannot be used.
pub(super) fn passed(cognito: &cognito::Settings) -> (Option<Seed>, Option<String>) {
    let content = match systemd::credential(NAME) {
        Ok(content) => content.map(|content| Secret::new(content.to_string())),
        Err(error) => return (None, Some(format!("the credential {NAME} cannot be read: {error}"))),
    };
    match content.map(|content| read(&content, cognito)).transpose() {
        Ok(seed) => (seed, None),
        Err(error) => (None, Some(format!("the credential {NAME} cannot be used: {error}"))),
    }
}

fn read(content: &Secret, cognito: &cognito::Settings) -> Result<Seed, import::Error> {
    let text = content.expose().trim();
    let (refresh_token, device) = if text.starts_with('{') {
        let imported = import::parse(text, &cognito.client_id)?;
        (imported.refresh_token, imported.device)
    } else if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(import::Error::UnknownForm { found: "neither JSON nor one word".into() });
    } else {
        (Secret::from(text), None)
    };
    Ok(Seed {
        refresh_token,
        device,
        user_pool_id: cognito.user_pool_id.clone(),
        client_id: cognito.client_id.clone(),
        fingerprint: Fingerprint::of(content),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cognito::RefreshApi;

    fn settings() -> cognito::Settings {
        cognito::Settings {
            user_pool_id: "eu-west-1_Example".into(),
            client_id: "client".into(),
            client_secret: None,
            region: "eu-west-1".into(),
            endpoint: None,
            issuer: "https://issuer.example".into(),
            jwks_url: "https://issuer.example/jwks".parse().expect("a URL"),
            refresh_api: RefreshApi::Auto,
            verify_signature: true,
        }
    }

    #[test]
    fn a_credential_is_json_or_a_bare_token() {
        let read = |content: &str| read(&Secret::from(content), &settings());
        let seed = read("eyJjdHki.token\n").expect("a bare token");
        assert_eq!((seed.refresh_token.expose(), seed.client_id.as_str()), ("eyJjdHki.token", "client"));
        let seed = read(r#"{"refresh_token":"token","device_key":"key"}"#).expect("JSON");
        assert_eq!(seed.refresh_token.expose(), "token");
        assert_eq!(seed.device.map(|device| device.key).as_deref(), Some("key"));
        for content in ["", " \n", "two words", r#"{"token":"x"}"#] {
            assert!(read(content).is_err(), "{content:?}");
        }
    }
}
