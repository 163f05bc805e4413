//! The mirror of `proxy.toml`: every section and key, with its type and its default. What was parsed, not yet judged.
//!
//! One line here makes a key known to the file, the environment, `check --explain` and the search for misspelt keys.

use std::time::Duration;

use super::{
    kinds::{Item, OffOr, OneOf, RawPath, Size, StoreKind, Switch, User},
    layers::Key,
    reader::{Reader, Scope, Setting},
};
use crate::{
    cognito::RefreshApi,
    config::{LogFormat, LogLevel},
    proxy::{ClientValue, Cookies, HttpVersion},
    session::{Mode, TokenKind},
};

/// Declares a section: its struct, its table of keys, and how it is read. A key without a default is an `Option`.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident $section:literal { $($field:ident: $type:ty $(= $default:tt)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(super) struct $name {
            $(pub(super) $field: Setting<$type>,)*
        }

        impl $name {
            pub(super) const SECTION: &'static str = $section;
            pub(super) const KEYS: &'static [Key] = &[
                $(Key { section: $section, name: stringify!($field), default: section!(@default $($default)?) },)*
            ];

            /// Reads every key of the section within `scope`.
            fn read(reader: &mut Reader<'_>, scope: &Scope) -> Self {
                Self {
                    $($field: reader.read::<$type>(
                        scope,
                        &Key { section: $section, name: stringify!($field), default: section!(@default $($default)?) },
                    ),)*
                }
            }
        }
    };
    (@default) => { None };
    (@default $default:tt) => { Some(stringify!($default)) };
}

type Words<T> = OneOf<T>;
type List<T> = Vec<Item<T>>;

section! {
    /// `[cognito]`.
    Cognito "cognito" {
        user_pool_id: Option<String>,
        client_id: Option<String>,
        client_secret_file: Option<RawPath>,
        region: Option<String>,
        endpoint: Option<String>,
        issuer: Option<String>,
        jwks_url: Option<String>,
        domain: Option<String>,
        redirect_uris: List<String> = ["http://localhost:8976/callback"],
        scopes: List<String> = ["openid", "email"],
        refresh_token_validity: Option<Duration>,
        allow_plaintext: bool = false,
        refresh_api: Words<RefreshApi> = "auto",
    }
}

section! {
    /// `[listen]`.
    Listen "listen" {
        proxy: List<String> = ["127.0.0.1:8900", "[::1]:8900"],
        admin: OffOr<String> = "127.0.0.1:8901",
        allow_remote: bool = false,
    }
}

section! {
    /// `[upstream]`.
    Upstream "upstream" {
        url: Option<String>,
        http: Words<HttpVersion> = "auto",
        preserve_host: bool = false,
        forwarded: bool = false,
        ca_file: Option<RawPath>,
        client_cert_file: Option<RawPath>,
        client_key_file: Option<RawPath>,
        allow_plaintext: bool = false,
        connect_timeout: Duration = "5s",
        response_header_timeout: Duration = "60s",
        idle_timeout: Duration = "90s",
        max_connections: u64 = 256,
        cookies: Words<Cookies> = "rewrite",
        rewrite_location: bool = true,
    }
}

section! {
    /// `[inject]`.
    Inject "inject" {
        token: Words<TokenKind> = "id",
        header: String = "authorization",
        format: String = "Bearer {token}",
        client_value: Words<ClientValue> = "replace",
        min_ttl: Duration = "60s",
    }
}

section! {
    /// One `[[route]]`. What it does not set falls back to `[upstream]` and `[inject]`.
    Route "route" {
        path: Option<String>,
        upstream: Option<String>,
        token: Option<Words<TokenKind>>,
        header: Option<String>,
        format: Option<String>,
        inject: bool = true,
        strip_prefix: bool = false,
    }
}

section! {
    /// `[refresh]`.
    Refresh "refresh" {
        lead: Duration = "5m",
        mode: Words<Mode> = "ahead",
        wait: Duration = "10s",
        last_chance: bool = true,
    }
}

section! {
    /// `[session]`.
    Session "session" {
        hold: OffOr<Duration> = "30s",
        max_held: u64 = 256,
        idle_lock: OffOr<Duration> = "off",
        min_remaining_at_start: OffOr<Duration> = "off",
    }
}

section! {
    /// `[warn]`.
    Warn "warn" {
        before: List<Duration> = ["7d", "1d", "4h", "1h", "10m"],
        desktop: bool = true,
        command: Option<List<String>>,
        webhook_url_file: Option<RawPath>,
        response_header: Words<Switch> = "off",
    }
}

section! {
    /// `[guard]`.
    Guard "guard" {
        hosts: List<String> = [],
        origins: List<String> = [],
        users: List<User> = ["self", "root"],
        client_key_file: Option<RawPath>,
        require_header: Option<String>,
    }
}

section! {
    /// `[store]`.
    Store "store" {
        kind: Words<StoreKind> = "file",
        path: Option<RawPath>,
    }
}

section! {
    /// `[verify]`.
    Verify "verify" {
        jwks: bool = true,
    }
}

section! {
    /// `[limits]`.
    Limits "limits" {
        header_timeout: Duration = "10s",
        first_byte_timeout: Duration = "10s",
        idle_timeout: Duration = "60s",
        body_idle_timeout: Duration = "60s",
        max_header_bytes: Size = "64KiB",
        max_connections: u64 = 4096,
    }
}

section! {
    /// `[runtime]`.
    Runtime "runtime" {
        workers: u64 = 0,
        drain_timeout: Duration = "20s",
    }
}

section! {
    /// `[log]`.
    Log "log" {
        level: Words<LogLevel> = "info",
        format: Words<LogFormat> = "auto",
        access: Words<Switch> = "off",
    }
}

/// The whole file.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) cognito: Cognito,
    pub(super) listen: Listen,
    pub(super) upstream: Upstream,
    pub(super) inject: Inject,
    pub(super) routes: Vec<Route>,
    pub(super) refresh: Refresh,
    pub(super) session: Session,
    pub(super) warn: Warn,
    pub(super) guard: Guard,
    pub(super) store: Store,
    pub(super) verify: Verify,
    pub(super) limits: Limits,
    pub(super) runtime: Runtime,
    pub(super) log: Log,
}

/// Every section with its keys, in the order in which they are documented and shown.
pub(super) const SECTIONS: [(&str, &[Key]); 14] = [
    (Cognito::SECTION, Cognito::KEYS),
    (Listen::SECTION, Listen::KEYS),
    (Upstream::SECTION, Upstream::KEYS),
    (Inject::SECTION, Inject::KEYS),
    (Route::SECTION, Route::KEYS),
    (Refresh::SECTION, Refresh::KEYS),
    (Session::SECTION, Session::KEYS),
    (Warn::SECTION, Warn::KEYS),
    (Guard::SECTION, Guard::KEYS),
    (Store::SECTION, Store::KEYS),
    (Verify::SECTION, Verify::KEYS),
    (Limits::SECTION, Limits::KEYS),
    (Runtime::SECTION, Runtime::KEYS),
    (Log::SECTION, Log::KEYS),
];

impl File {
    /// Reads every key of every layer.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let cognito = Cognito::read(reader, &Scope::Section(Cognito::SECTION));
        let listen = Listen::read(reader, &Scope::Section(Listen::SECTION));
        let upstream = Upstream::read(reader, &Scope::Section(Upstream::SECTION));
        let inject = Inject::read(reader, &Scope::Section(Inject::SECTION));
        let routes = reader.routes().iter().map(|scope| Route::read(reader, scope)).collect();
        Self {
            cognito,
            listen,
            upstream,
            inject,
            routes,
            refresh: Refresh::read(reader, &Scope::Section(Refresh::SECTION)),
            session: Session::read(reader, &Scope::Section(Session::SECTION)),
            warn: Warn::read(reader, &Scope::Section(Warn::SECTION)),
            guard: Guard::read(reader, &Scope::Section(Guard::SECTION)),
            store: Store::read(reader, &Scope::Section(Store::SECTION)),
            verify: Verify::read(reader, &Scope::Section(Verify::SECTION)),
            limits: Limits::read(reader, &Scope::Section(Limits::SECTION)),
            runtime: Runtime::read(reader, &Scope::Section(Runtime::SECTION)),
            log: Log::read(reader, &Scope::Section(Log::SECTION)),
        }
    }
}
