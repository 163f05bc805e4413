//! What has to be known, and asking for what is not.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use super::{Error, Manager, annotate::Chosen};
use crate::{cli::output, config::Override};

/// What is used where nobody registers anything else: the default of `cognito.redirect_uris`.
const REDIRECT: &str = "http://localhost:8976/callback";

/// What the file will say. The first three it cannot do without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) user_pool_id: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) client_secret_file: Option<PathBuf>,
    pub(super) endpoint: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) refresh_token_validity: Option<String>,
    pub(super) access_token: bool,
    /// Beside whoever the default admits.
    pub(super) users: Vec<String>,
}

/// Asks for what is missing. Whoever gave all that is needed is asked nothing, and neither is a script.
pub(super) fn complete(mut answers: Answers, manager: Option<Manager>) -> Result<Answers, Error> {
    let missing = answers.missing();
    let wants_users = manager == Some(Manager::System) && answers.users.is_empty();
    if missing.is_empty() && !wants_users {
        return Ok(answers);
    }
    if !io::stdin().is_terminal() {
        return if missing.is_empty() { Ok(answers) } else { Err(Error::Missing(missing.join(", "))) };
    }
    let asks_all = !missing.is_empty();
    required(&mut answers.user_pool_id, "user pool (such as eu-west-1_AbCdEfGhI)")?;
    required(&mut answers.client_id, "app client id")?;
    required(&mut answers.upstream, "address of the API (https://…)")?;
    if asks_all && answers.domain.is_none() {
        let question =
            "managed login for signing in by browser (https://….amazoncognito.com), or nothing for a password";
        answers.domain = Some(ask(question)?).filter(|answer| !answer.is_empty());
    }
    if wants_users {
        let question = "local users who may use it, separated by spaces, or nothing for root alone";
        answers.users = ask(question)?.split_whitespace().map(str::to_owned).collect();
    }
    Ok(answers)
}

impl Answers {
    /// The flags that have to be given.
    fn missing(&self) -> Vec<&'static str> {
        let all =
            [("--user-pool-id", &self.user_pool_id), ("--client-id", &self.client_id), ("--upstream", &self.upstream)];
        all.into_iter().filter(|(_, answer)| answer.is_none()).map(|(flag, _)| flag).collect()
    }

    /// Where a browser will come back to.
    pub(super) fn effective_redirects(&self) -> Vec<String> {
        if self.redirect_uris.is_empty() { vec![REDIRECT.to_owned()] } else { self.redirect_uris.clone() }
    }

    /// `guard.users`, where anybody beside the default is to be admitted.
    fn admitted(&self) -> Option<Vec<String>> {
        let named = !self.users.is_empty();
        named.then(|| ["self", "root"].map(str::to_owned).into_iter().chain(self.users.clone()).collect())
    }

    /// Every single value with its flag and its key.
    fn texts(&self) -> Vec<(&'static str, &'static str, String)> {
        let secret = self.client_secret_file.as_ref().map(|path| path.display().to_string());
        let token = self.access_token.then(|| "access".to_owned());
        [
            ("--user-pool-id", "cognito.user_pool_id", self.user_pool_id.clone()),
            ("--client-id", "cognito.client_id", self.client_id.clone()),
            ("--client-secret-file", "cognito.client_secret_file", secret),
            ("--endpoint", "cognito.endpoint", self.endpoint.clone()),
            ("--issuer", "cognito.issuer", self.issuer.clone()),
            ("--domain", "cognito.domain", self.domain.clone()),
            ("--refresh-token-validity", "cognito.refresh_token_validity", self.refresh_token_validity.clone()),
            ("--upstream", "upstream.url", self.upstream.clone()),
            ("--token", "inject.token", token),
        ]
        .into_iter()
        .filter_map(|(flag, key, value)| value.map(|value| (flag, key, value)))
        .collect()
    }

    /// The answers as flags, to be judged.
    pub(super) fn overrides(&self) -> Vec<Override> {
        let mut all: Vec<Override> =
            self.texts().into_iter().map(|(flag, key, value)| Override::text(flag, key, value)).collect();
        if !self.redirect_uris.is_empty() {
            all.push(Override::list("--redirect-uri", "cognito.redirect_uris", self.redirect_uris.clone()));
        }
        all.extend(self.admitted().map(|users| Override::list("--allow-user", "guard.users", users)));
        all
    }

    /// The answers as lines of the file.
    pub(super) fn chosen(&self) -> Vec<Chosen> {
        let mut all: Vec<Chosen> = self.texts().iter().map(|(_, key, value)| Chosen::text(key, value)).collect();
        if !self.redirect_uris.is_empty() {
            all.push(Chosen::list("cognito.redirect_uris", &self.redirect_uris));
        }
        all.extend(self.admitted().map(|users| Chosen::list("guard.users", &users)));
        all
    }
}

fn required(answer: &mut Option<String>, question: &str) -> Result<(), Error> {
    while answer.is_none() {
        *answer = Some(ask(question)?).filter(|answer| !answer.is_empty());
    }
    Ok(())
}

/// One line from the terminal. Whoever ends the input wants no more of this.
fn ask(question: &str) -> Result<String, Error> {
    output::to_stderr_unfinished(&format!("{question}: "));
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) => Err(Error::Ask(io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(line.trim().to_owned()),
        Err(error) => Err(Error::Ask(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers {
            user_pool_id: Some("eu-west-1_A".into()),
            client_id: Some("c".into()),
            upstream: Some("https://api.example.com".into()),
            ..Answers::default()
        }
    }

    #[test]
    fn whoever_gave_all_is_asked_nothing() {
        assert_eq!(complete(answers(), Some(Manager::User)).expect("complete"), answers());
        assert_eq!(Answers::default().missing(), ["--user-pool-id", "--client-id", "--upstream"]);
    }

    #[test]
    fn only_what_was_said_is_written() {
        let keys = |answers: &Answers| answers.chosen().iter().map(|one| one.key).collect::<Vec<_>>();
        assert_eq!(keys(&answers()), ["cognito.user_pool_id", "cognito.client_id", "upstream.url"]);
        let more = Answers { users: vec!["alice".into()], access_token: true, ..answers() };
        assert_eq!(keys(&more)[3..], ["inject.token", "guard.users"]);
        assert_eq!(more.chosen().last().expect("users").value, r#"["self", "root", "alice"]"#);
        assert_eq!(answers().effective_redirects(), [REDIRECT]);
    }
}
