//! What the pure parts of a request's way cost, each by itself: the guard, the passes over the header, the metrics; and
//! a step of the session's machine, which no request waits for.
//!
//! `cargo bench --bench micro`. What they cost together, with everything between them, `benches/count` counts.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark fails loudly, and its harness documents nothing")]

use std::{hint::black_box, sync::Arc, time::Duration};

use cognito_proxy::{
    clock::{Now, UnixTime},
    cognito::egress::Egress,
    guard::{self, Guard, HostPattern, Post, UserSpec, Users, Verdict},
    listen,
    message::{Fields, RequestHead},
    metrics::Metrics,
    proxy::{ClientValue, Cookies, Format, HttpVersion, Inject, Plan, Rehearsal, Route, Settings, Upstream, pseudonym},
    secret::Secret,
    session::{
        self, Claims, Grant, Mode, Notes, Origin, Session, Token, TokenKind,
        snapshot::Snapshot,
        state::{Action, Event, State},
    },
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};

/// As long as an ID token usually is.
const TOKEN_BYTES: usize = 1200;

const LISTENER: &str = "127.0.0.1:8900";

const CURL: &[(&str, &str)] = &[("host", "localhost:8900"), ("user-agent", "curl/8.5.0"), ("accept", "*/*")];

/// A page at a listed origin that fetches; the fields of its connection are those that a proxy has to take out.
const BROWSER: &[(&str, &str)] = &[
    ("host", "localhost:8900"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "application/json"),
    ("accept-language", "en-GB,en;q=0.7"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "http://localhost:3000/orders"),
    ("origin", "http://localhost:3000"),
    ("connection", "keep-alive"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    ("authorization", "Bearer of-the-client"),
];

/// A page at an origin that nobody listed.
const FOREIGN: &[(&str, &str)] = &[
    ("host", "localhost:8900"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "*/*"),
    ("origin", "https://evil.example"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "cross-site"),
];

const RESPONSE: &[(&str, &str)] = &[
    ("server", "nginx"),
    ("date", "Tue, 24 Nov 2026 12:00:00 GMT"),
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("connection", "keep-alive"),
    ("cache-control", "no-cache"),
    ("x-amzn-requestid", "3f7f3f6a-0c1b-4a53-8f4b-2f1f0b8f2d11"),
    ("x-amz-apigw-id", "ABCDEFGHIJKLMNO="),
];

fn headers(fields: &[(&str, &str)]) -> Fields {
    let pairs = fields.iter().map(|(name, value)| {
        (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
    });
    pairs.collect()
}

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let request = Request::get("/orders?page=2").body(()).expect("a request");
    let mut head = RequestHead::from(request.into_parts().0);
    head.fields = headers(fields);
    head
}

fn guards(criterion: &mut Criterion) {
    let settings = guard::Settings {
        hosts: vec![],
        origins: vec![guard::Origin::parse("http://localhost:3000").expect("an origin")],
        users: vec![UserSpec::Uid(1000), UserSpec::Uid(0)],
        client_key: None,
        require_header: None,
    };
    let users = Users::resolve(&settings.users).expect("numbers need no look-up");
    let own = [LISTENER, "[::1]:8900"].map(|own| HostPattern::of_address(own.parse().expect("an address")));
    let guard = Guard::new(Post::Proxy, &settings, users, own.to_vec());
    let connection = guard::Connection {
        local: guard::Local::Tcp(LISTENER.parse().expect("an address")),
        peer: guard::Peer::Uid(1000),
    };
    let mut group = criterion.benchmark_group("guard");
    for (name, fields, admitted) in [("curl", CURL, true), ("browser", BROWSER, true), ("refused", FOREIGN, false)] {
        let head = head(fields);
        assert_eq!(matches!(guard.check(&connection, &head), Verdict::Admitted(_)), admitted, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| guard.check(black_box(&connection), black_box(&head))));
    }
    group.finish();
}

/// `[upstream]` and `[inject]` at their defaults.
fn plan() -> Plan {
    let route = Route {
        path: "/".into(),
        upstream: Upstream {
            url: "http://127.0.0.1:9000/prod".parse().expect("a URL"),
            http: HttpVersion::Auto,
            preserve_host: false,
            forwarded: false,
            ca_file: None,
            client_certificate: None,
            connect_timeout: Duration::from_secs(5),
            response_header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(90),
            max_connections: 256,
            cookies: Cookies::Rewrite,
            rewrite_location: true,
        },
        inject: Some(Inject {
            token: TokenKind::Id,
            header: header::AUTHORIZATION,
            format: Format { prefix: "Bearer ".into(), suffix: String::new() },
            client_value: ClientValue::Replace,
        }),
        strip_prefix: false,
    };
    let settings = Settings { routes: vec![], default_route: route, session_header: false };
    Plan::new(&settings, Duration::from_secs(60), &Egress::new("", "")).expect("a plan")
}

fn passes(criterion: &mut Criterion) {
    let rehearsal = Rehearsal::new(&plan(), &pseudonym()).expect("a default route");
    let address = LISTENER.parse().expect("an address");
    let connection = listen::Connection { local: listen::Local::Tcp(address), peer: listen::Peer::Tcp(address) };
    let (_, snapshot) = signed_in();
    let mut group = criterion.benchmark_group("header");
    for (name, fields) in [("curl", CURL), ("browser", BROWSER)] {
        let client = head(fields);
        let mut upstream = client.clone();
        rehearsal.request(&mut upstream, &connection, &snapshot).expect("a request that is sent on");
        assert!(upstream.fields.get(header::AUTHORIZATION).is_some_and(|token| token.len() > TOKEN_BYTES), "{name}");
        assert!(!upstream.fields.contains(header::CONNECTION), "{name}");
        group.bench_function(format!("inject/{name}"), |bencher| {
            bencher.iter_batched(
                || client.clone(),
                |mut head| {
                    rehearsal.request(&mut head, &connection, &snapshot).expect("as before");
                    head
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("hop-by-hop/{name}"), |bencher| {
            bencher.iter_batched(
                || client.fields.clone(),
                |mut headers| {
                    rehearsal.strip(&mut headers);
                    headers
                },
                BatchSize::SmallInput,
            );
        });
    }
    let response = headers(RESPONSE);
    group.bench_function("respond", |bencher| {
        bencher.iter_batched(
            || response.clone(),
            |mut headers| {
                rehearsal.response(&mut headers);
                headers
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn metrics(criterion: &mut Criterion) {
    let shard = Metrics::default().shard();
    let mut group = criterion.benchmark_group("metrics");
    for (name, took) in [("fast", Duration::from_micros(180)), ("slow", Duration::from_secs(7))] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| shard.responded(black_box(StatusCode::OK), black_box(took)));
        });
    }
    group.finish();
}

/// When the session began.
fn start() -> Now {
    Now { wall: UnixTime::from_secs(1_795_000_000), boot: Duration::from_secs(100_000) }
}

fn token(now: Now) -> Token {
    Token {
        jwt: Secret::new("x".repeat(TOKEN_BYTES)),
        claims: Claims {
            kind: TokenKind::Id,
            subject: "sub".into(),
            username: "alice".into(),
            issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example".into(),
            client_id: "client".into(),
            issued_at: now.wall,
            expires_at: now.wall + Duration::from_secs(3600),
            auth_time: Some(start().wall),
        },
        received: now,
    }
}

/// A machine that has a session in it, and what it published.
fn signed_in() -> (State, Arc<Snapshot>) {
    let session = Session {
        user_pool_id: "eu-west-1_Example".into(),
        client_id: "client".into(),
        subject: "sub".into(),
        username: "alice".into(),
        refresh_token: Secret::new("refresh".into()),
        id_token: token(start()),
        access_token: None,
        auth_time: Some(start().wall),
        origin: Origin::Login,
        device: None,
        generation: 1,
        notes: Notes::default(),
        jwks: None,
    };
    let settings = session::Settings {
        lead: Duration::from_secs(300),
        min_ttl: Duration::from_secs(60),
        mode: Mode::Ahead,
        last_chance: true,
        kinds: vec![TokenKind::Id],
        validity: None,
        warn_before: [7 * 86_400, 86_400, 4 * 3600, 3600, 600].map(Duration::from_secs).to_vec(),
        idle_lock: None,
        min_remaining_at_start: None,
        user_pool_id: "eu-west-1_Example".into(),
        client_id: "client".into(),
    };
    let state = State::new(settings, "cognito-proxy".into(), 1);
    let (state, actions) = state.step(start(), Event::Loaded(Ok(Some(Box::new(session)))));
    let published = actions.into_iter().find_map(|action| match action {
        Action::Publish(snapshot) => Some(Arc::from(snapshot)),
        _ => None,
    });
    (state, published.expect("a session is published"))
}

fn steps(criterion: &mut Criterion) {
    let (idle, _) = signed_in();
    let due = start().after(Duration::from_secs(3400));
    let (refreshing, actions) = idle.clone().step(due, Event::Tick);
    assert!(actions.contains(&Action::Refresh), "{actions:?}");
    let granted = Event::Granted {
        generation: 1,
        grant: Box::new(Grant {
            id_token: token(due),
            access_token: None,
            refresh_token: None,
            date: Some(due.wall),
            jwks: None,
        }),
    };
    let mut group = criterion.benchmark_group("session");
    for (name, state, now, event) in [
        ("tick, nothing due", &idle, start().after(Duration::from_secs(60)), Event::Tick),
        ("tick, refresh due", &idle, due, Event::Tick),
        ("granted", &refreshing, due, granted),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (state.clone(), event.clone()),
                |(state, event)| state.step(now, event),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, guards, passes, metrics, steps);
criterion_main!(benches);
