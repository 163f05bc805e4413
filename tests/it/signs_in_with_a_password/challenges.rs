//! Every challenge that a pool can put, answered at a terminal.

use cognito_proxy::{
    devpool::{AppClient, Factor, Flow, Flows, SecondFactor, Settings, User, application_code},
    secret::Secret,
};

use super::{LOGIN, PASSWORD, asked, login, with_user};
use crate::support::{stage::Stage, terminal::AtTerminal};

#[tokio::test]
async fn an_applications_code_is_asked_for_until_it_is_right() {
    let stage = with_user(|user| user.with_factor(Factor::Application)).await;
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    terminal.answers("Code from your authenticator application: ", "000000").await;
    terminal.reads("wrong code; try again").await;
    let code = stage.pool.application_code("alice").expect("an application");
    terminal.answers("Code from your authenticator application: ", &format!("{} {}", &code[..3], &code[3..])).await;
    let (exit, screen) = terminal.finish().await;
    assert_eq!(exit, 0, "{screen}");
    assert!(screen.contains(&code[..3]), "codes are shown while they are typed");

    // The same code again, as somebody does who is quick.
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    terminal.answers("Code from your authenticator application: ", &code).await;
    terminal.reads("that code has expired, or was used before; wait for the next one").await;
    let next = stage.pool.application_code("alice").expect("an application");
    terminal.answers("Code from your authenticator application: ", &next).await;
    assert_eq!(terminal.finish().await.0, 0);
}

#[tokio::test]
async fn codes_that_are_sent_say_where_to() {
    for (factor, question) in [
        (Factor::TextMessage, "Code from the text message to +*******4242: "),
        (Factor::Email, "Code from the e-mail to a***@e***: "),
    ] {
        let stage = with_user(|user| user.with_factor(factor)).await;
        let mut terminal = login(&stage, &[]);
        terminal.answers("Password for alice: ", PASSWORD).await;
        terminal.reads(question).await;
        terminal.types(&stage.pool.sent_code("alice").expect("a code was sent"));
        let (code, screen) = terminal.finish().await;
        assert_eq!(code, 0, "{screen}");
    }
}

#[tokio::test]
async fn of_several_factors_one_is_chosen() {
    let factors = [Factor::Application, Factor::TextMessage, Factor::Email];
    let stage = with_user(|user| factors.into_iter().fold(user, User::with_factor)).await;
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    terminal.reads("How do you want to sign in?").await;
    terminal.reads("  1  authenticator application").await;
    terminal.reads("  2  text message").await;
    terminal.reads("  3  e-mail").await;
    terminal.answers("Number [1]: ", "4").await;
    terminal.answers("that is none of them", "3").await;
    terminal.reads("Code from the e-mail to a***@e***: ").await;
    terminal.types(&stage.pool.sent_code("alice").expect("a code was sent"));
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert_eq!(asked(&stage.pool)[1..], ["PASSWORD_VERIFIER", "SELECT_MFA_TYPE", "EMAIL_OTP"]);
}

#[tokio::test]
async fn a_temporary_password_is_replaced_and_required_attributes_are_given() {
    let stage = with_user(|user| user.with_temporary_password("Temporary-1", &["given_name"])).await;
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", "Temporary-1").await;
    terminal.reads("this password is temporary: choose a new one").await;
    terminal.answers("New password: ", "short").await;
    terminal.answers("The same again: ", "shirt").await;
    terminal.reads("these are not the same; try again").await;
    terminal.answers("New password: ", "short").await;
    terminal.answers("The same again: ", "short").await;
    terminal.answers("given_name: ", "Alice").await;
    terminal.reads("the pool does not take that password: ").await;
    terminal.reads("Password not long enough; try again").await;
    terminal.answers("New password: ", "Permanent-2").await;
    terminal.answers("The same again: ", "Permanent-2").await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("Permanent") && !screen.contains("Temporary-1"), "{screen}");
    let user = stage.pool.user("alice").expect("she is there");
    assert_eq!((user.password.expose(), user.is_password_temporary), ("Permanent-2", false));
}

#[tokio::test]
async fn an_application_is_set_up_where_the_pool_requires_one() {
    let stage = with_user(|user| user).await;
    stage.pool.change_rules(|rules| rules.second_factor = SecondFactor::Required);
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    terminal.reads("add this account to an authenticator application").await;
    terminal.reads("▀").await;
    terminal.reads("Code from your authenticator application: ").await;
    let screen = terminal.screen();
    let secret = screen.lines().map(str::trim).find(|line| line.len() == 32).expect("the secret as text").to_owned();
    terminal.types("000000");
    terminal.reads("wrong code; try again").await;
    let code = application_code(&Secret::new(secret), stage.pool.now());
    terminal.answers("Code from your authenticator application: ", &code).await;
    let (exit, screen) = terminal.finish().await;
    assert_eq!(exit, 0, "{screen}");
    let steps =
        ["PASSWORD_VERIFIER", "AssociateSoftwareToken", "VerifySoftwareToken", "VerifySoftwareToken", "MFA_SETUP"];
    assert_eq!(asked(&stage.pool)[1..], steps);
    assert_eq!(stage.pool.user("alice").expect("she is there").factors, [Factor::Application]);
}

async fn allowing(flows: Flows) -> Stage {
    let client = AppClient { flows, ..AppClient::public(Settings::CLIENT) };
    let stage = Stage::of(client).await;
    stage.pool.put_user(User::new("alice").with_password(PASSWORD));
    stage.configure("");
    stage
}

#[tokio::test]
async fn where_the_pool_lets_choose_the_person_does() {
    let stage = allowing(Flows { srp: Flow::Refused, choice: Flow::Allowed, ..Flows::default() }).await;
    let mut terminal = login(&stage, &[]);
    terminal.reads("  1  password").await;
    terminal.answers("Number [1]: ", "2").await;
    terminal.reads("Code from the e-mail to a***@e***: ").await;
    terminal.types(&stage.pool.sent_code("alice").expect("a code was sent"));
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("Password for"), "{screen}");

    let mut terminal = login(&stage, &[]);
    terminal.answers("Number [1]: ", "").await;
    terminal.answers("Password for alice: ", PASSWORD).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("the password itself is sent"), "{screen}");
    let asked = asked(&stage.pool);
    assert_eq!(asked[asked.len() - 2..], ["SELECT_CHALLENGE", "PASSWORD_VERIFIER"]);
}

#[tokio::test]
async fn a_passkey_is_left_out_with_a_word_and_alone_it_ends_the_sign_in() {
    let stage = allowing(Flows { srp: Flow::Refused, choice: Flow::Allowed, ..Flows::default() }).await;
    stage.pool.change_rules(|rules| rules.first_factors = vec!["WEB_AUTHN".into(), "PASSWORD".into()]);
    let mut terminal = login(&stage, &[]);
    terminal.reads("the pool also offers a passkey, which a terminal cannot use").await;
    terminal.reads("the password itself is sent to Cognito, in plain HTTP on this machine").await;
    terminal.answers("Password for alice: ", PASSWORD).await;
    assert_eq!(terminal.finish().await.0, 0);

    stage.pool.change_rules(|rules| rules.first_factors = vec!["WEB_AUTHN".into()]);
    let (code, screen) = login(&stage, &["--color", "never"]).finish().await;
    assert_eq!(code, 4, "{screen}");
    assert!(screen.contains("error: the pool wants a passkey (WEB_AUTHN), which a terminal cannot use"), "{screen}");
    assert!(screen.contains("cognito-proxy login --method browser"), "{screen}");
}

#[tokio::test]
async fn a_password_is_sent_only_where_it_cannot_be_proved_and_never_in_silence() {
    let stage = allowing(Flows { srp: Flow::Refused, ..Flows::default() }).await;
    let mut terminal = AtTerminal::start(&stage.home, &LOGIN);
    let words = "the app client does not allow ALLOW_USER_SRP_AUTH: the password itself is sent to Cognito, in plain HTTP on this machine";
    terminal.reads(words).await;
    terminal.answers("Password for alice: ", PASSWORD).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert_eq!(asked(&stage.pool), ["USER_SRP_AUTH", "USER_AUTH", "USER_PASSWORD_AUTH"]);

    let stage = allowing(Flows { srp: Flow::Refused, password: Flow::Refused, ..Flows::default() }).await;
    let mut terminal = AtTerminal::start(&stage.home, &LOGIN);
    terminal.answers("Password for alice: ", PASSWORD).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 78, "{screen}");
    let words = "the app client does not allow this way to sign in (USER_SRP_AUTH is not enabled for the client)";
    assert!(screen.contains(words), "{screen}");
}
