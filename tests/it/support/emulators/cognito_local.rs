//! cognito-local: Node.js; `REFRESH_TOKEN_AUTH` and PKCE, no secret checks, no `GetTokensFromRefreshToken`.

use std::{fs, path::Path, process::Command};

use super::{Emulator, Kind};

/// Starts [cognito-local](https://github.com/jagregory/cognito-local).
pub(crate) struct CognitoLocal;

const KIND: Kind = Kind {
    name: "cognito-local",
    program: "cognito-local/node_modules/cognito-local/lib/bin/start.js",
    health: "/health",
    command,
    issuer: |endpoint, pool_id| format!("{endpoint}/{pool_id}"),
};

impl CognitoLocal {
    pub(crate) async fn start() -> Emulator {
        KIND.start().await
    }
}

fn command(program: &Path, port: u16, directory: &Path) -> Command {
    // Its pools want e-mail addresses as user names unless the defaults say otherwise; CreateUserPool cannot.
    let settings = directory.join(".cognito");
    fs::create_dir(&settings).expect("a directory of our own");
    fs::write(settings.join("config.json"), r#"{"UserPoolDefaults":{"UsernameAttributes":[]}}"#).expect("a file");
    let mut command = Command::new("node");
    // HOST is part of `iss`, and "localhost", its default, may be bound on ::1 alone.
    command.arg(program).env("HOST", "127.0.0.1").env("PORT", port.to_string());
    command
}
