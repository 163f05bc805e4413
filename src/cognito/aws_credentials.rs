//! AWS credentials, where they happen to be there: for the one call that only IAM may make.
//!
//! Reads the environment and the shared credentials file (AWS SDKs and Tools Reference Guide, "Shared config and
//! credentials files") and asks nobody: no instance metadata, no sign-in, no program. Nothing depends on them.

use std::{collections::HashMap, path::PathBuf};

use crate::secret::Secret;

/// A key pair of IAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsCredentials {
    /// `aws_access_key_id`.
    pub access_key_id: String,
    /// `aws_secret_access_key`.
    pub secret_access_key: Secret,
    /// `aws_session_token`, with temporary ones.
    pub session_token: Option<Secret>,
}

impl AwsCredentials {
    /// Those of this process: from its environment, or from the file that the environment points at.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        Self::found(|name| std::env::var(name).ok(), |path| std::fs::read_to_string(path).ok())
    }

    /// Those that `variable` and `read` tell of, in the order in which AWS's own tools look.
    fn found(variable: impl Fn(&str) -> Option<String>, read: impl Fn(PathBuf) -> Option<String>) -> Option<Self> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let named = |name: &str| match name {
            "aws_access_key_id" => variable("AWS_ACCESS_KEY_ID"),
            "aws_secret_access_key" => variable("AWS_SECRET_ACCESS_KEY"),
            _ => variable("AWS_SESSION_TOKEN"),
        };
        if let Some(credentials) = Self::from_keys(named) {
            return Some(credentials);
        }
        let path = match variable("AWS_SHARED_CREDENTIALS_FILE") {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(variable("HOME")?).join(".aws/credentials"),
        };
        let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".into());
        let text = Secret::new(read(path)?);
        let section = section(text.expose(), &profile);
        Self::from_keys(|name| section.get(name).map(|value| (*value).to_owned()))
    }

    fn from_keys(value: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            access_key_id: value("aws_access_key_id")?,
            secret_access_key: Secret::new(value("aws_secret_access_key")?),
            session_token: value("aws_session_token").map(Secret::new),
        })
    }
}

/// The settings of one profile in a shared credentials file.
fn section<'a>(text: &'a str, profile: &str) -> HashMap<&'a str, &'a str> {
    let mut inside = false;
    let mut settings = HashMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split_once(']')) {
            inside = name.0.trim() == profile;
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
            && !value.trim().is_empty()
        {
            settings.insert(name.trim(), value.trim());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# comment
[default]
aws_access_key_id = AKIADEFAULT
aws_secret_access_key=default/secret=
[ work ]
aws_access_key_id=ASIAWORK
; aws_secret_access_key=no
aws_secret_access_key=work
aws_session_token = token
[half]
aws_access_key_id=AKIAHALF
aws_secret_access_key=
";

    fn found(variables: &[(&str, &str)]) -> Option<(String, String, Option<String>)> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let read = |path: PathBuf| {
            ["/home/a/.aws/credentials", "/elsewhere"].contains(&path.to_str().expect("text")).then(|| FILE.to_owned())
        };
        let found = AwsCredentials::found(variable, read)?;
        let session_token = found.session_token.map(|token| token.expose().to_owned());
        Some((found.access_key_id, found.secret_access_key.expose().to_owned(), session_token))
    }

    #[test]
    fn the_environment_goes_before_the_file_and_half_a_pair_is_none() {
        let of = |id: &str, secret: &str, token: Option<&str>| {
            Some((id.to_owned(), secret.to_owned(), token.map(str::to_owned)))
        };
        let home = ("HOME", "/home/a");
        let default = of("AKIADEFAULT", "default/secret=", None);
        for (variables, expected) in [
            (&[][..], None),
            (&[home], default.clone()),
            (&[home, ("AWS_PROFILE", "work")], of("ASIAWORK", "work", Some("token"))),
            (&[home, ("AWS_PROFILE", "half")], None),
            (&[home, ("AWS_PROFILE", "absent")], None),
            (&[("HOME", "/home/b")], None),
            (&[("AWS_SHARED_CREDENTIALS_FILE", "/elsewhere")], default.clone()),
            (&[home, ("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")], of("A", "s", None)),
            (&[home, ("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", " ")], default.clone()),
            (
                &[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_SESSION_TOKEN", "t")],
                of("A", "s", Some("t")),
            ),
        ] {
            assert_eq!(found(variables), expected, "{variables:?}");
        }
    }
}
