//! What goes wrong, as the person reads it.

use cognito_proxy::devpool::{Factor, Fault, Operation, Scope, Standing};

use super::{PASSWORD, asked, login, stage, with_user};

#[tokio::test]
async fn a_wrong_password_is_asked_for_three_times() {
    let stage = stage().await;
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", "wrong-one").await;
    terminal.reads("incorrect username or password; try again").await;
    terminal.answers("Password for alice: ", PASSWORD).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");

    let mut terminal = login(&stage, &["--color", "never", "--log-level", "trace"]);
    for attempt in ["wrong-one", "wrong-two", "wrong-three"] {
        terminal.answers("Password for alice: ", attempt).await;
    }
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 4, "{screen}");
    assert!(screen.contains("error: incorrect username or password"), "{screen}");
    assert!(!screen.contains("wrong-"), "{screen}");
}

/// What is said, to the letter, and the exit code.
#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let verifier = || Scope::Only(Operation::RespondToAuthChallenge("PASSWORD_VERIFIER".into()));
    let refusals = [
        (
            Fault::throttled(None),
            75,
            "error: Cognito is asked too often just now (TooManyRequestsException: Rate exceeded)\nhelp: try again in a minute\n",
        ),
        (
            Fault::exception("NotAuthorizedException", "Password attempts exceeded"),
            75,
            "error: too many wrong passwords: Cognito takes none from this user for a while\nhelp: wait some minutes before you try again\n",
        ),
        (
            Fault::exception(
                "NotAuthorizedException",
                "Temporary password has expired and must be reset by an administrator.",
            ),
            4,
            "error: the temporary password has expired\nhelp: ask an administrator to set a new one\n",
        ),
        (
            Fault::exception("UserNotFoundException", "User does not exist."),
            4,
            "error: there is no such user\nhelp: name the user as the pool knows it: --user NAME\n",
        ),
        (Fault::status(503), 69, "error: server_error: an answer with status 503 that is no Cognito answer\n"),
    ];
    let stage = stage().await;
    for (fault, expected, words) in refusals {
        stage.pool.fail_next(1, verifier(), fault);
        let mut terminal = login(&stage, &["--color", "never"]);
        terminal.answers("Password for alice: ", PASSWORD).await;
        let (code, screen) = terminal.finish().await;
        assert_eq!(screen, format!("Password for alice: \n{words}"));
        assert_eq!(code, expected, "{screen}");
    }
    for (standing, words) in [
        (
            Standing::Unconfirmed,
            "error: the user is not confirmed yet\nhelp: enter the code that Cognito sent when the user was made, or ask an administrator\n",
        ),
        (
            Standing::ResetRequired,
            "error: the password has to be reset first\nhelp: use \"forgot password\" in your application, or ask an administrator for a new one\n",
        ),
        (Standing::Disabled, "error: the user is disabled\nhelp: ask an administrator to enable it\n"),
    ] {
        stage.pool.set_standing("alice", standing);
        let mut terminal = login(&stage, &["--color", "never"]);
        terminal.answers("Password for alice: ", PASSWORD).await;
        let (code, screen) = terminal.finish().await;
        assert_eq!((code, screen), (4, format!("Password for alice: \n{words}")));
    }
    assert!(!stage.home.store().exists(), "nothing was stored");
}

#[tokio::test]
async fn a_sign_in_that_cognito_closed_is_begun_again_once() {
    let stage = with_user(|user| user.with_factor(Factor::Email)).await;
    let question = "Code from the e-mail to a***@e***: ";
    let mut terminal = login(&stage, &["--color", "never"]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    terminal.reads(question).await;
    stage.pool.close_challenges();
    terminal.types("123456");
    let closed = "the sign-in took too long, or saw too many wrong codes, and Cognito has closed it";
    terminal.reads(&format!("{closed}; beginning again")).await;
    terminal.reads(question).await;
    stage.pool.close_challenges();
    terminal.types("123456");
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 4, "{screen}");
    let end = format!("error: {closed}\nhelp: run the command again, and answer sooner\n");
    assert!(screen.ends_with(&end), "{screen}");
    assert_eq!(screen.matches("Password for").count(), 1, "the password is not asked for again: {screen}");
    assert_eq!(asked(&stage.pool).iter().filter(|call| *call == "USER_SRP_AUTH").count(), 2);
}

#[tokio::test]
async fn too_many_wrong_codes_close_the_sign_in() {
    let stage = with_user(|user| user.with_factor(Factor::Application)).await;
    stage.pool.change_rules(|rules| rules.wrong_codes = 2);
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    for _ in 0..2 {
        terminal.answers("Code from your authenticator application: ", "000000").await;
        terminal.reads("wrong code; try again").await;
    }
    terminal.answers("Code from your authenticator application: ", "000000").await;
    terminal.reads("beginning again").await;
    let code = stage.pool.application_code("alice").expect("an application");
    terminal.answers("Code from your authenticator application: ", &code).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
}

#[tokio::test]
async fn whoever_leaves_gets_the_terminal_back_and_nothing_is_stored() {
    let stage = with_user(|user| user.with_factor(Factor::Application)).await;
    for keys in ["\x03", "half-a-pass\x03", "\x04"] {
        let mut terminal = login(&stage, &["--color", "never"]);
        terminal.reads("Password for alice: ").await;
        terminal.presses(keys);
        let (code, screen) = terminal.finish().await;
        assert_eq!(code, 1, "{screen}");
        assert_eq!(screen, "Password for alice: \nerror: stopped; nobody is signed in\n");
    }
    let mut terminal = login(&stage, &["--color", "never"]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    terminal.reads("Code from your authenticator application: ").await;
    terminal.presses("\x03");
    assert_eq!(terminal.finish().await.0, 1);

    let mut terminal = login(&stage, &["--color", "never", "--timeout", "1s"]);
    terminal.reads("Password for alice: ").await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 75, "{screen}");
    assert!(
        screen
            .contains("error: nobody signed in within 1s\nhelp: run the command again, with --timeout for more time\n"),
        "{screen}"
    );
    assert!(!stage.home.store().exists());
}
