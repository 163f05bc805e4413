//! Scripts: a password from a file or a pipe, and never a prompt that nobody sees.

use std::{
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use cognito_proxy::devpool::Factor;

use super::{LOGIN, PASSWORD, stage, with_user};
use crate::support::{
    process::{Finished, Process},
    proxy::{Home, holds_no_token},
    stage::Stage,
    wait::BOUND,
};

/// Runs in a session of its own, so that the terminal of whoever runs the tests is out of reach.
async fn run(home: &Home, script: &str, arguments: &[&str]) -> Finished {
    let inner = home.command(arguments);
    let mut command = Command::new("setsid");
    command.args(["--wait", "sh", "-c", script]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(home.path("")).stdin(Stdio::null());
    let finished = Process::spawn("cognito-proxy", &mut command).expect("setsid").finish(BOUND).await;
    holds_no_token(&finished.stderr);
    assert!(!finished.stderr.contains(PASSWORD), "{}", finished.stderr);
    finished
}

async fn login(stage: &Stage, more: &[&str]) -> Finished {
    run(&stage.home, "exec \"$0\" \"$@\"", &[&LOGIN[..], more, &["--color", "never"]].concat()).await
}

#[tokio::test]
async fn a_password_comes_from_a_file_a_descriptor_or_standard_input() {
    let stage = stage().await;
    let path = stage.home.write("password", &format!("{PASSWORD}\nanother line\n")).display().to_string();
    let from_file = login(&stage, &["--password-file", &path]).await;
    assert_eq!(from_file.code(), 0, "{}", from_file.stderr);
    let more = [&LOGIN[..], &["--log-level", "trace", "--password-file"]].concat();
    for (script, place) in [
        (format!("exec \"$0\" \"$@\" < {path}"), "-"),
        (format!("cat {path} | \"$0\" \"$@\""), "-"),
        (format!("exec 7< {path}; exec \"$0\" \"$@\""), "/dev/fd/7"),
    ] {
        let finished = run(&stage.home, &script, &[&more[..], &[place]].concat()).await;
        assert_eq!(finished.code(), 0, "{script}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_wrong_password_from_a_file_is_not_tried_again() {
    let stage = stage().await;
    let path = stage.home.write("password", "wrong\n").display().to_string();
    let finished = login(&stage, &["--password-file", &path]).await;
    assert_eq!(
        (finished.code(), finished.stderr.as_str()),
        (
            4,
            "error: incorrect username or password\nhelp: run the command again; where the password is forgotten, use \
             \"forgot password\" in your application\n"
        )
    );
    assert_eq!(stage.pool.calls().count(|call| call.is_refused("NotAuthorizedException")), 1);
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused() {
    let stage = stage().await;
    let path = stage.home.write("password", PASSWORD);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let shown = path.display().to_string();
    let finished = login(&stage, &["--password-file", &shown]).await;
    assert_eq!(finished.code(), 77, "{}", finished.stderr);
    assert!(finished.stderr.contains(&format!("chmod 600 {shown}")), "{}", finished.stderr);
    assert_eq!(stage.pool.calls().total(), 0, "it was not sent anywhere");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let stage = with_user(|user| user.with_factor(Factor::Application)).await;
    let path = stage.home.write("password", PASSWORD).display().to_string();
    let empty = stage.home.write("empty", "\n").display().to_string();
    let absent = stage.home.path("absent").display().to_string();
    for (arguments, code, words) in [
        (
            vec!["login", "--method", "password"],
            2,
            "error: there is no terminal to ask for the user name\nhelp: say who signs in: --user NAME\n".to_owned(),
        ),
        (
            LOGIN.to_vec(),
            2,
            "error: there is no terminal to ask for the password\nhelp: give it in a file of your own, or on standard \
             input: --password-file FILE\n"
                .to_owned(),
        ),
        (
            [&LOGIN[..], &["--password-file", &empty]].concat(),
            2,
            format!(
                "error: {empty} has no password in its first line\nhelp: write the password, and nothing else, into the \
                 first line\n"
            ),
        ),
        (
            [&LOGIN[..], &["--password-file", &absent]].concat(),
            1,
            format!(
                "error: {absent} cannot be read: No such file or directory (os error 2)\nhelp: name a file that is \
                 there, or - for standard input: --password-file FILE\n"
            ),
        ),
        (
            [&LOGIN[..], &["--password-file", &path]].concat(),
            4,
            "error: the pool asks for a code (authenticator application), and there is no terminal to ask on\nhelp: run \
             the command in a terminal; a code is good for one sign-in, so none is read from a file\n"
                .to_owned(),
        ),
    ] {
        let arguments = [&arguments[..], &["--color", "never"]].concat();
        let finished = run(&stage.home, "exec \"$0\" \"$@\"", &arguments).await;
        assert_eq!((finished.stderr.as_str(), finished.code()), (words.as_str(), code), "{arguments:?}");
    }
}
