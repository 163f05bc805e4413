//! Dialogues, step by step. What the answers mean to Cognito is tried against a pool; here it is what is asked, said,
//! and given up.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{super::Turn, *};
use crate::{
    clock::Now,
    cognito::challenge::NewDevice,
    session::{Claims, Grant, SettingAtFault, Token, TokenKind},
};

const NOW: UnixTime = UnixTime::from_secs(1_739_212_212);

fn terms() -> Terms {
    Terms {
        user_pool_id: "eu-west-1_AbC".into(),
        username: "alice@example.com".into(),
        password: None,
        passwords: 3,
        wire: Wire::Tls,
        device: None,
        device_name: "cognito-proxy on host".into(),
    }
}

fn known(username: &str) -> KnownDevice {
    let device = Device { key: "k".into(), group_key: Some("g".into()), password: Some(Secret::from("p")) };
    KnownDevice { username: username.into(), device }
}

/// A dialogue that has begun, and what it does next.
struct Scene {
    dialogue: Dialogue,
    turn: Turn,
}

impl Scene {
    fn of(terms: Terms) -> Self {
        let mut dialogue = Dialogue::new(terms);
        let turn = dialogue.step(Event::Begin, NOW, Chance::draw());
        Self { dialogue, turn }
    }

    fn hears(mut self, event: Event) -> Self {
        self.turn = self.dialogue.step(event, NOW, Chance::draw());
        self
    }

    fn challenge(self, name: &str, parameters: &[(&str, &str)]) -> Self {
        let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let session = Some(Secret::new(format!("session of {name}")));
        self.hears(Event::Heard(Reply::Challenge(Challenge {
            name: name.into(),
            session,
            parameters,
            available: Vec::new(),
        })))
    }

    fn offer(self, available: &[&str]) -> Self {
        let available = available.iter().map(|name| (*name).to_owned()).collect();
        let challenge = Challenge { name: "SELECT_CHALLENGE".into(), available, ..Challenge::default() };
        self.hears(Event::Heard(Reply::Challenge(challenge)))
    }

    fn verifier(self, user_id: &str) -> Self {
        let numbers = [("SALT", "ab"), ("SRP_B", "2"), ("SECRET_BLOCK", "YmxvY2s="), ("USER_ID_FOR_SRP", user_id)];
        self.challenge("PASSWORD_VERIFIER", &numbers)
    }

    fn refused(self, refusal: Refusal) -> Self {
        self.hears(Event::Refused(refusal))
    }

    fn answers(self, text: &str) -> Self {
        self.hears(Event::Answered(Secret::from(text)))
    }

    fn asked(&self) -> &Question {
        match &self.turn.step {
            Step::Ask(question) => question,
            other => panic!("a question: {other:?}"),
        }
    }

    fn sent(&self) -> &Call {
        match &self.turn.step {
            Step::Send(call) => call,
            other => panic!("a call: {other:?}"),
        }
    }

    fn failed(&self) -> &Failed {
        match &self.turn.step {
            Step::Failed(failed) => failed,
            other => panic!("the end: {other:?}"),
        }
    }

    /// The flow or the challenge of the call, and one of its parameters.
    fn parameter(&self, name: &str) -> (String, Option<String>) {
        let (what, parameters) = match self.sent() {
            Call::Begin { flow, parameters } => (flow.as_str().to_owned(), parameters),
            Call::Respond { challenge, responses, .. } => (challenge.clone(), responses),
            other => panic!("a call with parameters: {other:?}"),
        };
        (what, parameters.get(name).map(|value| value.expose().to_owned()))
    }
}

fn tokens(new_device: Option<NewDevice>) -> Event {
    let token = |kind, jwt: &str| Token {
        jwt: Secret::from(jwt),
        claims: Claims {
            kind,
            subject: "s".into(),
            username: "alice".into(),
            issuer: "i".into(),
            client_id: "c".into(),
            issued_at: NOW,
            expires_at: NOW,
            auth_time: Some(NOW),
        },
        received: Now { wall: NOW, boot: Duration::ZERO },
    };
    let grant = Grant {
        id_token: token(TokenKind::Id, "id"),
        access_token: Some(token(TokenKind::Access, "access")),
        refresh_token: None,
        date: None,
        jwks: None,
    };
    Event::Heard(Reply::Tokens(Box::new(SignedIn { grant, refresh_token: Secret::from("r"), new_device })))
}

#[test]
fn the_alias_begins_and_the_username_behind_it_responds() {
    let scene = Scene::of(terms());
    assert_eq!(scene.parameter("USERNAME"), ("USER_SRP_AUTH".into(), Some("alice@example.com".into())));
    let scene = scene.verifier("8c1b-sub");
    assert_eq!(scene.asked(), &Question::Password { username: "alice@example.com".into() });
    let scene = scene.answers("secret");
    assert_eq!(scene.parameter("USERNAME"), ("PASSWORD_VERIFIER".into(), Some("8c1b-sub".into())));
    assert_eq!(scene.parameter("TIMESTAMP").1.as_deref(), Some("Mon Feb 10 18:30:12 UTC 2025"));
    assert_eq!(scene.parameter("PASSWORD_CLAIM_SECRET_BLOCK").1.as_deref(), Some("YmxvY2s="));
    assert!(!format!("{:?}", scene.turn).contains("secret\""), "nothing of the password is in a call");
    let Step::Done(obtained) = scene.hears(tokens(None)).turn.step else { panic!("signed in") };
    assert_eq!((obtained.refresh_token.expose(), obtained.device), ("r", None));
}

#[test]
fn a_challenge_that_waited_too_long_for_the_person_is_not_answered() {
    for (later, sent) in [(0, "PASSWORD_VERIFIER"), (90, "PASSWORD_VERIFIER"), (91, "USER_SRP_AUTH")] {
        let mut scene = Scene::of(terms()).verifier("alice");
        let now = NOW.shifted(later * 1000);
        scene.turn = scene.dialogue.step(Event::Answered(Secret::from("secret")), now, Chance::draw());
        assert_eq!(scene.parameter("USERNAME").0, sent, "{later}");
        if later > 90 {
            assert_eq!(scene.verifier("alice").parameter("USERNAME").0, "PASSWORD_VERIFIER", "without asking again");
        }
    }
}

#[test]
fn a_wrong_password_is_asked_for_again_as_often_as_the_terms_say() {
    let mut scene = Scene::of(terms()).verifier("alice").answers("wrong");
    for attempt in [2, 3] {
        scene = scene.refused(Refusal::WrongPassword);
        assert_eq!(scene.turn.notices, [Notice::Again(Refusal::WrongPassword)], "before attempt {attempt}");
        assert!(matches!(scene.asked(), Question::Password { .. }));
        // An exponent proves once: each attempt begins anew.
        scene = scene.answers("wrong again");
        assert_eq!(scene.parameter("USERNAME").0, "USER_SRP_AUTH");
        scene = scene.verifier("alice");
        assert_eq!(scene.parameter("USERNAME").0, "PASSWORD_VERIFIER", "the password is known already");
    }
    assert_eq!(scene.refused(Refusal::WrongPassword).failed(), &Failed::Refused(Refusal::WrongPassword));

    let given = Terms { password: Some(Secret::from("wrong")), passwords: 1, ..terms() };
    let scene = Scene::of(given).verifier("alice").refused(Refusal::WrongPassword);
    assert_eq!(scene.failed(), &Failed::Refused(Refusal::WrongPassword));
}

#[test]
fn flows_that_are_not_allowed_are_left_for_the_next_and_the_first_refusal_is_told() {
    let closed = |flow: &str| Refusal::FlowNotAllowed { detail: format!("{flow} is not enabled") };
    let scene = Scene::of(terms()).refused(closed("SRP"));
    assert_eq!(scene.parameter("SRP_A"), ("USER_AUTH".into(), None));
    // An endpoint that does not know the flow at all has no one word for that.
    let unknown = Failure::Setting { setting: SettingAtFault::Parameter, detail: "AuthFlow".into() };
    let scene = scene.refused(Refusal::Other(unknown));
    assert_eq!(scene.turn.notices, [Notice::PasswordIsSent(Wire::Tls)]);
    let scene = scene.answers("secret");
    assert_eq!(scene.parameter("PASSWORD"), ("USER_PASSWORD_AUTH".into(), Some("secret".into())));
    assert_eq!(scene.refused(closed("PASSWORD")).failed(), &Failed::Refused(closed("SRP")));

    // A setting that is wrong is wrong in every flow.
    let secret = Failure::Setting { setting: SettingAtFault::ClientSecret, detail: "hash".into() };
    let scene = Scene::of(terms()).refused(Refusal::Other(secret.clone()));
    assert_eq!(scene.failed(), &Failed::Refused(Refusal::Other(secret)));
}

#[test]
fn a_password_is_never_sent_in_the_clear_over_a_network() {
    let closed = || Refusal::FlowNotAllowed { detail: String::new() };
    for (wire, is_sent) in [(Wire::Tls, true), (Wire::Loopback, true), (Wire::Open, false)] {
        let terms = || Terms { wire, password: Some(Secret::from("secret")), ..terms() };
        let by_flow = Scene::of(terms()).refused(closed()).refused(closed());
        let by_choice = Scene::of(terms()).refused(closed()).offer(&["PASSWORD"]);
        for scene in [by_flow, by_choice] {
            if is_sent {
                assert_eq!(scene.turn.notices, [Notice::PasswordIsSent(wire)]);
                assert_eq!(scene.parameter("PASSWORD").1.as_deref(), Some("secret"));
            } else {
                assert_eq!(scene.failed(), &Failed::PasswordInTheClear);
            }
        }
        // A proof gives nothing away.
        assert_eq!(Scene::of(terms()).verifier("alice").parameter("USERNAME").0, "PASSWORD_VERIFIER");
    }
}

#[test]
fn codes_have_the_names_of_their_challenges() {
    for (challenge, parameter, way) in [
        ("SOFTWARE_TOKEN_MFA", "SOFTWARE_TOKEN_MFA_CODE", Way::Application),
        ("SMS_MFA", "SMS_MFA_CODE", Way::TextMessage),
        ("SMS_OTP", "SMS_OTP_CODE", Way::TextMessage),
        ("EMAIL_OTP", "EMAIL_OTP_CODE", Way::Email),
        ("EMAIL_MFA", "EMAIL_MFA_CODE", Way::Email),
    ] {
        let scene = Scene::of(terms()).challenge(challenge, &[("CODE_DELIVERY_DESTINATION", "a***")]);
        assert_eq!(scene.asked(), &Question::Code { way, destination: Some("a***".into()) });
        let scene = scene.answers(" 123 456 ");
        assert_eq!(scene.parameter(parameter), (challenge.into(), Some("123456".into())));
        let scene = scene.refused(Refusal::WrongCode);
        assert_eq!(scene.turn.notices, [Notice::Again(Refusal::WrongCode)]);
        let Call::Respond { session, .. } = scene.answers("654321").sent().clone() else { panic!("a response") };
        assert_eq!(session.map(|session| session.expose().to_owned()), Some(format!("session of {challenge}")));
    }
}

#[test]
fn a_sign_in_that_cognito_closed_begins_again_once() {
    let scene = Scene::of(terms()).verifier("alice").answers("secret").challenge("SMS_MFA", &[]).answers("1");
    let scene = scene.refused(Refusal::SessionOver);
    assert_eq!(scene.turn.notices, [Notice::Restarted(Refusal::SessionOver)]);
    assert_eq!(scene.parameter("USERNAME"), ("USER_SRP_AUTH".into(), Some("alice@example.com".into())));
    let scene = scene.verifier("alice").challenge("SMS_MFA", &[]).answers("2").refused(Refusal::SessionOver);
    assert_eq!(scene.failed(), &Failed::Refused(Refusal::SessionOver));
}

#[test]
fn one_way_is_taken_and_of_several_the_person_chooses() {
    let scene = Scene::of(terms()).challenge("SELECT_MFA_TYPE", &[("MFAS_CAN_CHOOSE", "[\"SMS_MFA\"]")]);
    assert_eq!(scene.parameter("ANSWER"), ("SELECT_MFA_TYPE".into(), Some("SMS_MFA".into())));

    let offered = "[\"EMAIL_OTP\",\"NEW_KIND\",\"SOFTWARE_TOKEN_MFA\"]";
    let scene = Scene::of(terms()).challenge("SELECT_MFA_TYPE", &[("MFAS_CAN_CHOOSE", offered)]);
    assert_eq!(scene.asked(), &Question::Choice(vec![Way::Email, Way::Application]));
    let scene = scene.hears(Event::Chosen(1));
    assert_eq!(scene.parameter("ANSWER").1.as_deref(), Some("SOFTWARE_TOKEN_MFA"));
    // A new beginning does not ask again.
    let scene = scene.refused(Refusal::SessionOver).challenge("SELECT_MFA_TYPE", &[("MFAS_CAN_CHOOSE", offered)]);
    assert_eq!(scene.parameter("ANSWER").1.as_deref(), Some("SOFTWARE_TOKEN_MFA"));

    let scene = Scene::of(terms()).challenge("SELECT_MFA_TYPE", &[("MFAS_CAN_CHOOSE", "[\"NEW_KIND\"]")]);
    assert_eq!(scene.failed(), &Failed::UnknownChallenge { challenge: "one of NEW_KIND".into() });
}

#[test]
fn the_choice_based_flow_prefers_the_proof_and_leaves_passkeys_out() {
    let begun = || Scene::of(terms()).refused(Refusal::FlowNotAllowed { detail: String::new() });
    let scene = begun().offer(&["PASSWORD", "PASSWORD_SRP", "WEB_AUTHN"]);
    assert_eq!(scene.turn.notices, [Notice::PasskeyLeftOut]);
    assert_eq!(scene.parameter("ANSWER"), ("SELECT_CHALLENGE".into(), Some("PASSWORD_SRP".into())));
    assert!(scene.parameter("SRP_A").1.is_some());

    let scene = begun().offer(&["PASSWORD"]);
    assert_eq!(scene.turn.notices, [Notice::PasswordIsSent(Wire::Tls)]);
    let scene = scene.answers("secret");
    assert_eq!(scene.parameter("PASSWORD"), ("SELECT_CHALLENGE".into(), Some("secret".into())));

    let scene = begun().offer(&["EMAIL_OTP", "PASSWORD_SRP", "SMS_OTP"]);
    assert_eq!(scene.asked(), &Question::Choice(vec![Way::Email, Way::Password, Way::TextMessage]));
    assert_eq!(scene.hears(Event::Chosen(2)).parameter("ANSWER").1.as_deref(), Some("SMS_OTP"));

    let given = Terms { password: Some(Secret::from("secret")), ..terms() };
    let scene = Scene::of(given).refused(Refusal::FlowNotAllowed { detail: String::new() });
    let scene = scene.offer(&["EMAIL_OTP", "PASSWORD_SRP"]);
    assert_eq!(scene.parameter("ANSWER").1.as_deref(), Some("PASSWORD_SRP"), "whoever gave a password has chosen");
    assert_eq!(begun().offer(&["WEB_AUTHN"]).failed(), &Failed::PasskeyOnly);
}

#[test]
fn a_new_password_comes_with_the_attributes_that_have_no_value() {
    let parameters = [
        ("requiredAttributes", "[\"userAttributes.given_name\",\"email\",\"locale\"]"),
        ("userAttributes", "{\"email\":\"a@b.c\",\"locale\":\"\"}"),
    ];
    let scene = Scene::of(terms()).challenge("NEW_PASSWORD_REQUIRED", &parameters);
    assert_eq!(
        (scene.turn.notices.as_slice(), scene.asked()),
        (&[Notice::NewPasswordWanted][..], &Question::NewPassword)
    );
    let scene = scene.answers("short");
    assert_eq!(scene.asked(), &Question::Attribute { name: "given_name".into() });
    let scene = scene.answers("Alice");
    assert_eq!(scene.asked(), &Question::Attribute { name: "locale".into() });
    let scene = scene.answers("en");
    assert_eq!(scene.parameter("userAttributes.given_name"), ("NEW_PASSWORD_REQUIRED".into(), Some("Alice".into())));
    let refusal = Refusal::NewPasswordRefused { detail: "too short".into() };
    let scene = scene.refused(refusal.clone());
    assert_eq!((scene.turn.notices.as_slice(), scene.asked()), (&[Notice::Again(refusal)][..], &Question::NewPassword));
    let scene = scene.answers("long enough");
    assert_eq!(scene.parameter("NEW_PASSWORD").1.as_deref(), Some("long enough"));
    assert_eq!(scene.parameter("userAttributes.locale").1.as_deref(), Some("en"), "the attributes are not asked again");
}

#[test]
fn an_application_is_set_up_with_a_picture_and_its_first_code() {
    let scene = Scene::of(terms()).challenge("MFA_SETUP", &[("MFAS_CAN_SETUP", "[\"SOFTWARE_TOKEN_MFA\"]")]);
    assert!(matches!(scene.sent(), Call::AssociateSoftwareToken { .. }));
    let reply = Reply::SoftwareToken { secret: Secret::from("ABC234"), session: Secret::from("s2") };
    let scene = scene.hears(Event::Heard(reply));
    let [Notice::NewApplication { uri, .. }] = scene.turn.notices.as_slice() else { panic!("{:?}", scene.turn) };
    assert_eq!(uri.expose(), "otpauth://totp/eu-west-1_AbC%3Aalice%40example.com?secret=ABC234&issuer=eu-west-1_AbC");
    let scene = scene.answers("000000").refused(Refusal::WrongCode).answers("123456");
    let (session, code) = (Secret::from("s2"), Secret::from("123456"));
    assert_eq!(scene.sent(), &Call::VerifySoftwareToken { session, code });
    let session = Some(Secret::from("s3"));
    let scene = scene.hears(Event::Heard(Reply::SoftwareTokenVerified { session: session.clone() }));
    let Call::Respond { challenge, session: sent, .. } = scene.sent() else { panic!("a response") };
    assert_eq!((challenge.as_str(), sent), ("MFA_SETUP", &session));

    let scene = Scene::of(terms()).challenge("MFA_SETUP", &[("MFAS_CAN_SETUP", "[\"SMS_MFA\"]")]);
    assert_eq!(scene.failed(), &Failed::SetupElsewhere { offered: "SMS_MFA".into() });
}

#[test]
fn a_new_device_is_confirmed_with_a_verifier_of_its_own_password() {
    let new = NewDevice { key: "key".into(), group_key: "group".into() };
    let scene = Scene::of(terms()).verifier("alice").answers("secret").hears(tokens(Some(new)));
    let Call::ConfirmDevice { access_token, key, salt, verifier, name } = scene.sent().clone() else { panic!("no") };
    assert_eq!((access_token.expose(), key.as_str(), name.as_str()), ("access", "key", "cognito-proxy on host"));
    let Step::Done(obtained) = scene.hears(Event::Heard(Reply::DeviceConfirmed)).turn.step else { panic!("no end") };
    let device = obtained.device.expect("a device");
    let expected = crate::cognito::srp::Verifier::from_base64(&salt, &verifier).expect("a verifier");
    let password = device.password.expect("a password");
    let salt = STANDARD.decode(salt).expect("base64");
    assert_eq!(Identity::device("group", "key", &password).verifier(&salt), expected);

    let new = NewDevice { key: "key".into(), group_key: "group".into() };
    let scene = Scene::of(terms()).hears(tokens(Some(new))).refused(Refusal::WrongCode);
    assert_eq!(scene.failed(), &Failed::Device(Refusal::WrongCode));
}

#[test]
fn a_known_device_is_named_to_its_own_user_alone_and_forgotten_when_cognito_has() {
    let with = |username: &str| Terms { device: Some(known(username)), ..terms() };
    // The alias does not say whose it is; the challenge does.
    let scene = Scene::of(with("8c1b-sub"));
    assert_eq!(scene.parameter("DEVICE_KEY").1, None);
    let scene = scene.verifier("8c1b-sub").answers("secret");
    assert_eq!(scene.parameter("DEVICE_KEY").1.as_deref(), Some("k"));
    let scene = scene.challenge("DEVICE_SRP_AUTH", &[]);
    assert_eq!(scene.parameter("DEVICE_KEY"), ("DEVICE_SRP_AUTH".into(), Some("k".into())));
    let numbers = [("SALT", "ab"), ("SRP_B", "2"), ("SECRET_BLOCK", "YmxvY2s=")];
    let scene = scene.challenge("DEVICE_PASSWORD_VERIFIER", &numbers);
    assert_eq!(scene.parameter("DEVICE_KEY"), ("DEVICE_PASSWORD_VERIFIER".into(), Some("k".into())));
    let Step::Done(obtained) = scene.hears(tokens(None)).turn.step else { panic!("signed in") };
    assert_eq!(obtained.device, Some(known("8c1b-sub").device), "it is kept for the next time");

    let scene = Scene::of(with("somebody else")).verifier("8c1b-sub").answers("secret");
    assert_eq!(scene.parameter("DEVICE_KEY").1, None);

    for refusal in [Refusal::UnknownDevice, Refusal::WrongPassword] {
        let scene = Scene::of(with("8c1b-sub")).verifier("8c1b-sub").answers("secret");
        let scene = scene.challenge("DEVICE_SRP_AUTH", &[]).refused(refusal);
        assert_eq!(scene.turn.notices, [Notice::DeviceForgotten]);
        let scene = scene.verifier("8c1b-sub");
        assert_eq!(scene.parameter("DEVICE_KEY"), ("PASSWORD_VERIFIER".into(), None), "without asking again");
    }
}

#[test]
fn what_a_terminal_cannot_answer_ends_with_words() {
    for (challenge, parameters, failed) in [
        ("CUSTOM_CHALLENGE", &[][..], Failed::CustomChallenge),
        ("WEB_AUTHN", &[], Failed::PasskeyOnly),
        ("NEW_KIND", &[], Failed::UnknownChallenge { challenge: "NEW_KIND".into() }),
    ] {
        let scene = Scene::of(terms()).challenge(challenge, parameters);
        assert_eq!(scene.failed(), &failed);
        assert!(failed.fix().is_some_and(|fix| fix.contains("--method browser")), "{failed}");
    }
    let given = || Terms { password: Some(Secret::from("secret")), ..terms() };
    let scene = Scene::of(given()).challenge("PASSWORD_VERIFIER", &[("SALT", "ab"), ("SRP_B", "2")]);
    assert_eq!(
        scene.failed(),
        &Failed::Incomplete { challenge: "PASSWORD_VERIFIER".into(), parameter: "SECRET_BLOCK" }
    );
    let numbers = [("SALT", "ab"), ("SRP_B", "0"), ("SECRET_BLOCK", "YmxvY2s=")];
    let scene = Scene::of(given()).challenge("PASSWORD_VERIFIER", &numbers);
    assert!(matches!(scene.failed(), Failed::Proof(_)));
    // A device that was never sent.
    let scene = Scene::of(terms()).challenge("DEVICE_SRP_AUTH", &[]);
    assert!(matches!(scene.failed(), Failed::Incomplete { .. }));
}

#[test]
fn an_answer_that_belongs_to_no_question_ends_the_dialogue() {
    let reply = || Event::Heard(Reply::DeviceConfirmed);
    assert_eq!(Scene::of(terms()).hears(reply()).failed(), &Failed::OutOfOrder);
    assert_eq!(Scene::of(terms()).answers("unasked").failed(), &Failed::OutOfOrder);
    assert_eq!(Scene::of(terms()).hears(Event::Chosen(0)).failed(), &Failed::OutOfOrder);
    let ended = Scene::of(terms()).challenge("CUSTOM_CHALLENGE", &[]);
    assert_eq!(ended.hears(tokens(None)).failed(), &Failed::OutOfOrder);
}
