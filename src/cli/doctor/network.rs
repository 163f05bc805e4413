//! What has to be asked for: the pool's keys and its clock, the app client, the upstream, and which token it takes.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};

use super::finding::Finding;
use crate::{
    cli::{Exit, cognito, keeping, running, verdict},
    clock::{Clock as _, Span, SystemClock},
    cognito::{
        AppClient, AwsCredentials, CognitoIssuer, Issuer as _, RefreshRequest, Transport, http_date, jwks::KeySet,
        transport::TransportError,
    },
    config::Config,
    proxy::{HttpVersion, Inject, Route},
    secret::Secret,
    session::{Failure, TokenKind, state::State},
    tls,
};

/// Skew below this is told to nobody: what is beyond it makes tokens look expired, or not yet valid, to somebody.
const SKEW: Duration = Duration::from_secs(60);

/// What API Gateway admits of all headers together (its quotas page), less room for the other headers.
const GATEWAY_HEADERS: usize = 10_240 - 1_024;

/// Where many servers draw the line for one header: nginx's `large_client_header_buffers`.
const USUAL_HEADER: usize = 8 * 1024;

/// Everything, side by side.
pub(super) async fn findings(config: &Config) -> Vec<Finding> {
    let (transport, issuer) = match (cognito::transport(), cognito::issuer(config)) {
        (Ok(transport), Ok(issuer)) => (transport, issuer.with_aws_credentials(AwsCredentials::of_this_process())),
        (Err(error), _) | (_, Err(error)) => return vec![of_keeping(&error)],
    };
    let (pool, client, settings, domain, upstreams) = tokio::join!(
        pool(config, &transport),
        client(&issuer),
        settings(&issuer),
        domain(config, &transport),
        upstreams(config),
    );
    [pool, client, settings, domain, upstreams].concat()
}

fn of_keeping(error: &keeping::Error) -> Finding {
    Finding::wrong("tls", error.exit(), error.to_string(), error.fix().unwrap_or_default())
}

/// The keys that tokens are verified with, and what the clock of whoever serves them says.
async fn pool(config: &Config, transport: &Transport) -> Vec<Finding> {
    let url = &config.cognito.jwks_url;
    match get(transport, url, None).await {
        Ok(answer) => {
            let keys = KeySet::parse(answer.body()).is_ok();
            let found = if answer.status() == StatusCode::OK && keys {
                Finding::sound("keys", format!("{url}"))
            } else {
                let said = format!("{url} answers {} and no key set", answer.status());
                Finding::wrong(
                    "keys",
                    Exit::Config,
                    said,
                    "compare cognito.user_pool_id and cognito.region with the pool",
                )
            };
            [Some(found), skew(&answer)].into_iter().flatten().collect()
        }
        Err(error) => vec![unreachable("keys", &error)],
    }
}

/// How far this machine's clock is from the one that stamps tokens.
fn skew(answer: &Response<Bytes>) -> Option<Finding> {
    let theirs = http_date(answer.headers().get(header::DATE)?.to_str().ok()?)?;
    let ours = SystemClock.now().wall;
    let (off, which) = if ours > theirs { (ours.since(theirs), "fast") } else { (theirs.since(ours), "slow") };
    Some(if off < SKEW {
        Finding::sound("clock", "agrees with Cognito's")
    } else {
        let said = format!("this machine's clock is {} {which}", Span(off));
        Finding::wrong("clock", Exit::Other, said, "set it: sudo timedatectl set-ntp true")
    })
}

/// Whether the pool knows the app client and admits the calls that a session lives by. A refresh token that nobody ever
/// had is refused by a client that is set up well.
async fn client(issuer: &CognitoIssuer) -> Vec<Finding> {
    let request = RefreshRequest {
        refresh_token: Secret::new("not-a-token".into()),
        username: Some("nobody".into()),
        subject: None,
        device: None,
        jwks: None,
    };
    let refused = match issuer.refresh(request).await {
        Ok(_) => {
            return vec![Finding::wrong(
                "app client",
                Exit::Other,
                "a made-up refresh token was accepted",
                "check that cognito.endpoint leads to a user pool: whatever answers there believes anybody",
            )];
        }
        Err(failure) => failure.split().1,
    };
    vec![match &refused {
        Failure::Terminal { .. } | Failure::Ambiguous { .. } => {
            Finding::sound("app client", "known to the pool, and may refresh")
        }
        Failure::Setting { setting, .. } => {
            Finding::wrong("app client", Exit::Config, refused.to_string(), setting.fix())
        }
        failure => {
            let fix = "see `keys`, and look at the network";
            Finding::wrong("app client", verdict::of_failure(failure), failure.to_string(), fix)
        }
    }]
}

/// What only somebody with AWS credentials may ask.
async fn settings(issuer: &CognitoIssuer) -> Vec<Finding> {
    match issuer.app_client().await {
        None => vec![],
        Some(Err(failure)) => {
            let better = Some("allow cognito-idp:DescribeUserPoolClient, or do without");
            vec![Finding::notable("app client", format!("its settings may not be read: {failure}"), better)]
        }
        Some(Ok(client)) => described(&client),
    }
}

fn described(client: &AppClient) -> Vec<Finding> {
    let mut all = Vec::new();
    match client.rotation_grace {
        Some(Duration::ZERO) => all.push(Finding::wrong(
            "rotation",
            Exit::Other,
            "refresh tokens rotate without a grace period: an answer that is lost on the way ends the session",
            "set RetryGracePeriodSeconds of the app client to 60",
        )),
        Some(grace) => all.push(Finding::sound("rotation", format!("on, with a grace period of {}", Span(grace)))),
        None => all.push(Finding::sound("rotation", "off")),
    }
    let allows = |flow: &str| client.flows.iter().any(|allowed| allowed == flow);
    if client.rotation_grace.is_none() && !client.flows.is_empty() && !allows("ALLOW_REFRESH_TOKEN_AUTH") {
        let fix = "add ALLOW_REFRESH_TOKEN_AUTH to the app client";
        all.push(Finding::wrong("app client", Exit::Config, "it does not allow refresh tokens", fix));
    }
    all
}

/// Whether the pages to sign in at are there.
async fn domain(config: &Config, transport: &Transport) -> Vec<Finding> {
    let Some(domain) = &config.signin.domain else { return vec![] };
    match get(transport, domain, None).await {
        Ok(_) => vec![Finding::sound("sign-in pages", domain.to_string())],
        Err(error) if has_answered(&error) => vec![Finding::sound("sign-in pages", domain.to_string())],
        Err(error) => vec![unreachable("sign-in pages", &error)],
    }
}

/// Each upstream once, by the first route that leads there.
async fn upstreams(config: &Config) -> Vec<Finding> {
    let mut routes: BTreeMap<String, &Route> = BTreeMap::new();
    for route in std::iter::once(&config.proxy.default_route).chain(&config.proxy.routes) {
        routes.entry(route.upstream.url.to_string()).or_insert(route);
    }
    let tokens = Tokens::at_hand(config).await;
    futures_util::future::join_all(routes.values().map(|route| upstream(route, &tokens))).await.concat()
}

/// Whether it answers, and whether it takes the token that it would get.
async fn upstream(route: &Route, tokens: &Tokens) -> Vec<Finding> {
    let upstream = &route.upstream;
    let identity =
        upstream.client_certificate.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let transport = match tls::client_config(upstream.ca_file.as_deref(), identity) {
        Ok(tls) => Transport::new(tls),
        Err(error) => {
            return vec![Finding::wrong("upstream", Exit::Config, error.to_string(), "name files that are sound")];
        }
    };
    let token = route.inject.as_ref().and_then(|inject| Some((inject, tokens.of(inject.token)?)));
    let mut all: Vec<Finding> = token.iter().filter_map(|(_, token)| size(token, &upstream.url)).collect();
    let credential = token.as_ref().and_then(|(inject, token)| credential(inject, token));
    match get(&transport, &upstream.url, credential).await {
        Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED && token.is_some() => {
            all.push(refused(route, tokens, &transport).await);
        }
        Ok(answer) => all.push(Finding::sound("upstream", format!("{} answers {}", upstream.url, answer.status()))),
        Err(error) if has_answered(&error) || upstream.http == HttpVersion::H2 => {
            all.push(Finding::sound("upstream", format!("{} answers", upstream.url)));
        }
        Err(error) => all.push(unreachable("upstream", &error)),
    }
    all
}

/// It does not take the token: perhaps it would take the other kind.
async fn refused(route: &Route, tokens: &Tokens, transport: &Transport) -> Finding {
    let url = &route.upstream.url;
    let Some(inject) = &route.inject else { return Finding::sound("upstream", url.to_string()) };
    let other = match inject.token {
        TokenKind::Id => TokenKind::Access,
        TokenKind::Access => TokenKind::Id,
    };
    let credential = tokens.of(other).and_then(|token| credential(inject, token));
    let takes_other = match credential {
        Some(credential) => {
            let answer = get(transport, url, Some(credential)).await;
            answer.is_ok_and(|answer| answer.status() != StatusCode::UNAUTHORIZED)
        }
        None => false,
    };
    let (kind, other) = (inject.token.as_str(), other.as_str());
    if takes_other {
        let said = format!("{url} refuses the {kind} token, and takes the {other} token");
        return Finding::wrong("upstream", Exit::Config, said, format!("set token = \"{other}\" for this upstream"));
    }
    let fix = "compare token, header and format with what it wants; its root may be refused where its paths are not";
    Finding::notable("upstream", format!("{url} answers 401 at its root to the {kind} token"), Some(fix))
}

/// A token that is too long for whoever reads it.
fn size(token: &Secret, upstream: &Uri) -> Option<Finding> {
    let length = token.expose().len();
    let host = upstream.host().unwrap_or_default();
    if host.contains(".execute-api.") && length > GATEWAY_HEADERS {
        let said = format!("the token has {length} bytes, and API Gateway takes 10,240 of all headers together");
        return Some(Finding::wrong("token size", Exit::Other, said, "give the user fewer groups or claims"));
    }
    (length > USUAL_HEADER).then(|| {
        let said = format!("the token has {length} bytes, which many servers refuse as a header");
        Finding::notable("token size", said, Some("give the user fewer groups or claims"))
    })
}

/// Tokens that are good now, and cost no call to have.
#[derive(Default)]
struct Tokens {
    id: Option<Secret>,
    access: Option<Secret>,
}

impl Tokens {
    async fn at_hand(config: &Config) -> Self {
        let now = SystemClock.now();
        if let Ok(Some(client)) = running::client(config) {
            let of = async |kind| client.token(kind, Some(Duration::ZERO)).await.ok().map(|issued| issued.jwt);
            return Self { id: of(TokenKind::Id).await, access: of(TokenKind::Access).await };
        }
        let Ok(Some(session)) = config.store.open_unattended().load(now) else { return Self::default() };
        let Ok(issuer) = cognito::issuer(config) else { return Self::default() };
        let state = State::new(config.session.clone(), config.command("login"), 0);
        let snapshot = state.at_rest(Ok(Some(Box::new(issuer.reverify(session, now))))).snapshot(now);
        let of = |kind| snapshot.token(kind).filter(|token| token.is_usable(now)).map(|token| token.jwt.clone());
        Self { id: of(TokenKind::Id), access: of(TokenKind::Access) }
    }

    const fn of(&self, kind: TokenKind) -> Option<&Secret> {
        match kind {
            TokenKind::Id => self.id.as_ref(),
            TokenKind::Access => self.access.as_ref(),
        }
    }
}

/// The header as the proxy would set it.
fn credential(inject: &Inject, token: &Secret) -> Option<(header::HeaderName, HeaderValue)> {
    let text = [inject.format.prefix.as_str(), token.expose(), inject.format.suffix.as_str()].concat();
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some((inject.header.clone(), value))
}

async fn get(
    transport: &Transport,
    url: &Uri,
    credential: Option<(header::HeaderName, HeaderValue)>,
) -> Result<Response<Bytes>, TransportError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.clone();
    request.headers_mut().extend(credential);
    transport.call(request).await
}

/// Whether somebody speaks HTTP there, though not as an API does.
fn has_answered(error: &TransportError) -> bool {
    matches!(error, TransportError::Page { .. } | TransportError::Malformed { .. })
}

fn unreachable(check: &'static str, error: &TransportError) -> Finding {
    let fix = match error {
        TransportError::Dns { .. } => "look at the name and at this machine's DNS (a VPN may be missing)",
        TransportError::Tls { .. } => "set upstream.ca_file, or add the certificate to the system's trust store",
        TransportError::Proxy { .. } => "look at HTTPS_PROXY and NO_PROXY",
        TransportError::Page { .. } => "sign in to the network first: somebody else answered",
        _ => "look at the address, and at what stands between",
    };
    Finding::wrong(check, Exit::Unreachable, error.to_string(), fix)
}
