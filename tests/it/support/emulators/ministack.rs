//! MiniStack: Python; SRP, `SECRET_HASH`, revocation, sign-out and `GetTokensFromRefreshToken`.

use std::{path::Path, process::Command};

use super::{Emulator, Kind};

/// Starts [MiniStack](https://pypi.org/project/ministack/), with Cognito alone.
pub(crate) struct MiniStack;

const KIND: Kind = Kind {
    name: "MiniStack",
    program: "ministack/bin/ministack",
    health: "/_ministack/health",
    command,
    issuer: |_endpoint, pool_id| format!("https://cognito-idp.us-east-1.amazonaws.com/{pool_id}"),
};

impl MiniStack {
    pub(crate) async fn start() -> Emulator {
        KIND.start().await
    }
}

fn command(program: &Path, port: u16, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("GATEWAY_PORT", port.to_string())
        // Its default is every interface.
        .env("BIND_HOST", "127.0.0.1")
        .env("MINISTACK_HOST", "127.0.0.1")
        // Without it neither secrets nor flows nor tokens are checked.
        .env("AUTH", "true")
        .env("SERVICES", "cognito-idp")
        // An MQTT listener on a fixed port, over which two of them would fight.
        .env("IOT_MTLS_ENABLED", "0")
        .env("STATE_DIR", directory.join("state"));
    command
}
