//! `login`: not there yet, and says what does the same today.

use std::ffi::OsString;

use clap::Args;

use super::{Exit, Global, output};

/// `login`'s options, which nothing looks at yet.
#[derive(Clone, Debug, Args)]
pub(super) struct LoginArgs {
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Points to `import`.
pub(super) fn run(global: &Global, args: &LoginArgs) -> Exit {
    let _ = &args.rest;
    output::error(
        global.is_styled(),
        "signing in by browser or password is not available yet",
        Some(
            "sign in with the AWS CLI, and hand the answer over:\n\
             aws cognito-idp initiate-auth --auth-flow USER_PASSWORD_AUTH --client-id ID \\\n\
             \x20   --auth-parameters file://credentials.json | cognito-proxy import -\n\
             or save a browser's Amplify local storage as JSON: cognito-proxy import FILE",
        ),
    );
    Exit::Other
}
