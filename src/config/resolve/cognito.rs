//! `[cognito]` and `[verify]`: the pool, the app client, and where tokens come from.

use std::time::Duration;

use http::Uri;

use super::{Context, is_visible, placed};
use crate::{
    cognito,
    config::{
        file::{Cognito, Verify},
        problem::Problem,
        reader::Setting,
        url,
    },
    signin,
};

/// Cognito's bounds of `RefreshTokenValidity` (`CreateUserPoolClient`): 60 minutes to 10 years.
const VALIDITY: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(315_360_000));

/// An emulator's session may be over in a second.
const SHORTEST_WITH_ENDPOINT: Duration = Duration::from_secs(1);

/// The region that the SDK is told where an emulator's pool names none and its issuer is stated: nothing follows from it.
const NO_REGION: &str = "us-east-1";

/// Resolves the pool, the client, and everything that is reached.
pub(in crate::config) fn resolve(
    context: &mut Context<'_, '_>,
    file: &Cognito,
    verify: &Verify,
) -> Option<cognito::Settings> {
    let pool = context.required(&file.user_pool_id, "user_pool_id = \"eu-west-1_AbCdEfGhI\"");
    let client = context.required(&file.client_id, "client_id = \"1example23456789\"");
    let client_id = client.filter(|id| is_sound_id(context, &file.client_id, id));
    let user_pool_id = pool.filter(|id| is_sound_id(context, &file.user_pool_id, id));
    let endpoint = endpoint(context, file);
    let client_secret = context.secret(&file.client_secret_file);
    if file.issuer.is_set() && !file.endpoint.is_set() {
        context.push(
            file.issuer
                .problem("is only for an `endpoint`; AWS's own issuer follows from the pool id")
                .fix("remove it, or set `cognito.endpoint`"),
        );
    }
    if let Some(issuer) = &file.issuer.value
        && let Err(problem) = url::parse(issuer)
    {
        context.push(placed(&file.issuer, problem));
    }
    if !verify.jwks.value {
        context.notices.push("verify.jwks = false: the signatures of tokens are not checked".into());
    }
    let user_pool_id = user_pool_id?;
    let region = region(context, file, &user_pool_id)?;
    let issuer = file.issuer.value.clone().unwrap_or_else(|| aws_issuer(&region, &user_pool_id));
    context.reader.derive("cognito.region", format!("{region:?}"), "cognito.user_pool_id");
    context.reader.derive("cognito.issuer", format!("{issuer:?}"), "cognito.user_pool_id");
    let jwks_url = jwks_url(context, file, endpoint.as_ref(), &issuer, &user_pool_id)?;
    Some(cognito::Settings {
        user_pool_id,
        client_id: client_id?,
        client_secret,
        region,
        endpoint,
        issuer,
        jwks_url,
        refresh_api: file.refresh_api.value.0,
        verify_signature: verify.jwks.value,
    })
}

/// `cognito.refresh_token_validity`, within Cognito's bounds.
pub(in crate::config) fn validity(context: &mut Context<'_, '_>, file: &Cognito) -> Option<Duration> {
    let validity = file.refresh_token_validity.value?;
    let shortest = if file.endpoint.is_set() { SHORTEST_WITH_ENDPOINT } else { VALIDITY.0 };
    if validity < shortest || validity > VALIDITY.1 {
        let why = if file.endpoint.is_set() { "write \"1s\" to \"10y\"" } else { "Cognito allows \"60m\" to \"10y\"" };
        context.push(
            file.refresh_token_validity
                .problem(format!("is out of range: {}", file.refresh_token_validity.shown))
                .fix(format!("{why}; copy the app client's own setting")),
        );
    }
    Some(validity)
}

/// Managed login: `domain`, `redirect_uris`, `scopes`.
pub(in crate::config) fn signin(context: &mut Context<'_, '_>, file: &Cognito) -> signin::Settings {
    let domain = domain(context, file);
    let mut redirect_uris: Vec<String> = Vec::new();
    if file.redirect_uris.sound && file.redirect_uris.value.is_empty() {
        context
            .push(file.redirect_uris.problem("is empty").fix("list at least one, as registered with the app client"));
    }
    for item in &file.redirect_uris.value {
        let twice = redirect_uris.contains(&item.value).then(|| Problem::new(format!("lists {:?} twice", item.value)));
        if let Some(problem) = twice.or_else(|| redirect_problem(&item.value)) {
            context.push(placed(&file.redirect_uris, problem.at(item.node.place.clone())));
        }
        redirect_uris.push(item.value.clone());
    }
    let scopes: Vec<String> = file.scopes.value.iter().map(|item| item.value.clone()).collect();
    for item in &file.scopes.value {
        // RFC 6749 §3.3, scope-token.
        if !is_visible(&item.value) || item.value.contains(['"', '\\']) {
            let problem = Problem::new(format!("lists {:?}, which is no scope", item.value));
            context.push(placed(
                &file.scopes,
                problem.fix("write each scope as an item of its own").at(item.node.place.clone()),
            ));
        }
    }
    if file.scopes.sound && !scopes.iter().any(|scope| scope == "openid") {
        context.push(
            file.scopes
                .problem("lacks \"openid\", without which Cognito sends no ID token")
                .fix("write scopes = [\"openid\", …]"),
        );
    }
    signin::Settings { domain, redirect_uris, scopes }
}

/// Ids go into URLs and forms. Emulators have forms of their own, so AWS's exact pattern is not asked for.
fn is_sound_id(context: &mut Context<'_, '_>, setting: &Setting<Option<String>>, id: &str) -> bool {
    let is_sound = id.len() <= 128 && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'));
    if !is_sound {
        context.push(
            setting
                .problem(format!("is no id: {id:?}"))
                .fix("copy it from the Cognito console: letters, digits and _ - + alone"),
        );
    }
    is_sound
}

fn endpoint(context: &mut Context<'_, '_>, file: &Cognito) -> Option<Uri> {
    let text = file.endpoint.value.as_ref()?;
    let uri = parsed(context, &file.endpoint, text.trim_end_matches('/'))?;
    if !url::is_safe(&uri, file.allow_plaintext.value) {
        context.push(plaintext(&file.endpoint));
        return None;
    }
    if !url::is_safe(&uri, false) {
        context.notices.push(format!("cognito.allow_plaintext = true: refresh tokens go to {uri} in plain text"));
    }
    Some(uri)
}

fn domain(context: &mut Context<'_, '_>, file: &Cognito) -> Option<Uri> {
    let text = file.domain.value.as_ref()?;
    let uri = parsed(context, &file.domain, text.trim_end_matches('/'))?;
    if uri.path() != "/" {
        context.push(
            file.domain
                .problem("must not have a path")
                .fix("write the scheme and the host alone: \"https://login.example.com\""),
        );
    } else if !url::is_safe(&uri, file.allow_plaintext.value && file.endpoint.is_set()) {
        context.push(plaintext(&file.domain));
    }
    Some(uri)
}

fn jwks_url(
    context: &mut Context<'_, '_>,
    file: &Cognito,
    endpoint: Option<&Uri>,
    issuer: &str,
    pool: &str,
) -> Option<Uri> {
    let base = endpoint.map_or_else(
        || issuer.trim_end_matches('/').to_owned(),
        |endpoint| format!("{}/{pool}", endpoint.to_string().trim_end_matches('/')),
    );
    let text = file.jwks_url.value.clone().unwrap_or_else(|| format!("{base}/.well-known/jwks.json"));
    let uri = parsed(context, &file.jwks_url, &text)?;
    if file.jwks_url.is_set() && !url::is_safe(&uri, file.allow_plaintext.value && endpoint.is_some()) {
        context.push(plaintext(&file.jwks_url));
    }
    let from = if endpoint.is_some() { "cognito.endpoint" } else { "cognito.user_pool_id" };
    context.reader.derive("cognito.jwks_url", format!("{text:?}"), from);
    Some(uri)
}

fn parsed(context: &mut Context<'_, '_>, setting: &Setting<Option<String>>, text: &str) -> Option<Uri> {
    url::parse(text).map_err(|problem| context.push(placed(setting, problem))).ok()
}

fn plaintext(setting: &Setting<Option<String>>) -> Problem {
    setting
        .problem("is plain http:// to a host beyond this machine")
        .fix("write https://, or set `cognito.allow_plaintext = true` for an emulator in a container")
}

/// The region: as configured, else what the pool id begins with.
fn region(context: &mut Context<'_, '_>, file: &Cognito, pool: &str) -> Option<String> {
    let of_pool = pool.split_once('_').map(|(region, _)| region).filter(|region| is_region(region));
    match (&file.region.value, of_pool) {
        (Some(region), _) if !is_region(region) => {
            let problem = file.region.problem(format!("is no region: {region:?}"));
            context.push(problem.fix("write it as AWS does: \"eu-west-1\""));
            None
        }
        (Some(region), Some(of_pool)) if region != of_pool => {
            let problem = file.region.problem(format!("is {region:?}, but the pool id begins with {of_pool:?}"));
            context.push(problem.fix("remove it: the region follows from the pool id"));
            None
        }
        (Some(region), _) => Some(region.clone()),
        (None, Some(of_pool)) => Some(of_pool.to_owned()),
        (None, None) if file.region.sound => without_region(context, file, pool),
        (None, None) => None,
    }
}

/// A pool id that names no region: an emulator's is fine where its issuer is stated, since nothing else follows.
fn without_region(context: &mut Context<'_, '_>, file: &Cognito, pool: &str) -> Option<String> {
    if !file.endpoint.is_set() {
        context.push(
            file.user_pool_id
                .problem(format!("does not begin with a region: {pool:?}"))
                .fix("copy it whole, as in \"eu-west-1_AbCdEfGhI\", or set `cognito.region`"),
        );
        return None;
    }
    if !file.issuer.is_set() {
        context.push(file.user_pool_id.problem(format!("is {pool:?}, from which no issuer follows")).fix(
            "set `cognito.issuer` to what `iss` in the emulator's tokens says, as in \"http://127.0.0.1:9229/POOL\"",
        ));
        return None;
    }
    Some(NO_REGION.to_owned())
}

/// `eu-west-1`, `us-gov-east-1`, `eusc-de-east-1`: words and a number, joined by dashes.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
    is_number && words.len() >= 2 && words.iter().all(is_word)
}

/// What `iss` says in AWS's own tokens (Cognito developer guide, "Understanding user pool JSON web tokens"), by the
/// domain of the region's partition.
fn aws_issuer(region: &str, pool: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else if region.starts_with("eusc-") {
        "amazonaws.eu"
    } else {
        "amazonaws.com"
    };
    format!("https://cognito-idp.{region}.{domain}/{pool}")
}

/// A callback URL that this program can serve: plain HTTP on loopback with a port and a path. It is compared with what
/// was registered letter by letter, so nothing is normalised.
fn redirect_problem(text: &str) -> Option<Problem> {
    let example = "write it as registered with the app client: \"http://localhost:8976/callback\"";
    let wrong = |why: &str| Some(Problem::new(format!("lists {text:?}, {why}")).fix(example));
    let uri = match url::parse(text) {
        Ok(uri) => uri,
        Err(problem) => return Some(Problem { message: format!("has an item that {}", problem.message), ..problem }),
    };
    let is_known_host = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if uri.scheme_str() != Some("http") || !is_known_host {
        return wrong("where `login` cannot listen: it has to be http:// on localhost, 127.0.0.1 or [::1]");
    }
    if uri.port_u16().is_none() {
        return wrong("which names no port");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_told_from_other_prefixes() {
        for region in ["eu-west-1", "us-gov-east-1", "ap-southeast-10", "eusc-de-east-1", "cn-north-1"] {
            assert!(is_region(region), "{region}");
        }
        for other in ["local", "", "eu-west", "eu-1", "EU-WEST-1", "eu--1", "1-2-3"] {
            assert!(!is_region(other), "{other}");
        }
    }

    #[test]
    fn the_issuer_is_of_the_regions_partition() {
        assert_eq!(aws_issuer("eu-west-1", "eu-west-1_A"), "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A");
        assert_eq!(
            aws_issuer("cn-north-1", "cn-north-1_A"),
            "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_A"
        );
    }

    #[test]
    fn redirects_are_loopback_with_a_port() {
        for good in ["http://localhost:8976/callback", "http://127.0.0.1:80/", "http://[::1]:9/x"] {
            assert_eq!(redirect_problem(good), None, "{good}");
        }
        for bad in
            ["https://localhost:8976/x", "http://localhost/x", "http://example.com:80/", "myapp://x", "localhost:8976"]
        {
            assert!(redirect_problem(bad).is_some(), "{bad}");
        }
    }
}
