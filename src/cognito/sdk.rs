//! The AWS SDK, with everything switched off that would decide behind our back: credentials, retries, timeouts.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use aws_sdk_cognitoidentityprovider::{
    Client, Config,
    config::{
        BehaviorVersion, Builder, Credentials, Region, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::Headers,
};
use aws_smithy_types::{body::SdkBody, config_bag::ConfigBag};
use bytes::Bytes;
use jiff::fmt::rfc2822::DateTimeParser;

use super::{
    AwsCredentials, Settings,
    classify::{self, Refusal},
    transport::{Transport, TransportError},
    transport_error::chain,
};
use crate::{
    clock::UnixTime,
    session::{Failure, SettingAtFault, TransientKind},
};

/// The SDK's client for `settings`, over `transport`. It makes exactly one attempt, unsigned.
pub(super) fn client(settings: &Settings, transport: Transport) -> Client {
    Client::from_conf(config(settings, transport).build())
}

/// The same, signing where a call wants it (AWS Signature Version 4).
pub(super) fn signing_client(settings: &Settings, transport: Transport, credentials: &AwsCredentials) -> Client {
    let session_token = credentials.session_token.as_ref().map(|token| token.expose().to_owned());
    let secret = credentials.secret_access_key.expose();
    let credentials = Credentials::new(&credentials.access_key_id, secret, session_token, None, "environment");
    Client::from_conf(config(settings, transport).credentials_provider(credentials).build())
}

fn config(settings: &Settings, transport: Transport) -> Builder {
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(Connector(transport));
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint.to_string());
    }
    config
}

/// The transport as the SDK wants it.
#[derive(Clone, Debug)]
struct Connector(Transport);

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let transport = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            let Some(body) = body.bytes().map(Bytes::copy_from_slice) else {
                return Err(ConnectorError::user("the request's body is a stream".into()));
            };
            let response = transport.call(http::Request::from_parts(parts, body)).await;
            let response = response.map_err(|error| ConnectorError::other(error.into(), None))?;
            HttpResponse::try_from(response.map(SdkBody::from)).map_err(|error| ConnectorError::user(error.into()))
        })
    }
}

/// Keeps the `Date` of the answer to one call.
#[derive(Clone, Default)]
pub(super) struct DateWitness(Arc<OnceLock<UnixTime>>);

impl DateWitness {
    pub(super) fn date(&self) -> Option<UnixTime> {
        self.0.get().copied()
    }
}

impl fmt::Debug for DateWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DateWitness").field(&self.date()).finish()
    }
}

impl Intercept for DateWitness {
    fn name(&self) -> &'static str {
        "DateWitness"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = date(context.response().headers()) {
            // One call, one answer: there is nothing to overwrite.
            let _first = self.0.set(date);
        }
        Ok(())
    }
}

/// A call that brought no tokens.
#[derive(Debug)]
pub(super) struct Refused {
    /// What it means.
    pub(super) failure: Failure,
    /// Whether the endpoint does not know this call.
    pub(super) unknown_operation: bool,
    /// The exception, where Cognito answered with one.
    pub(super) exception: Option<Exception>,
}

/// Cognito's own words.
#[derive(Debug)]
pub(super) struct Exception {
    /// Its name, without namespace.
    pub(super) name: String,
    /// Its message, redacted.
    pub(super) message: String,
}

impl Refused {
    /// What an error of the SDK means; none of `secrets` is in it.
    pub(super) fn from_sdk<E>(error: &SdkError<E, HttpResponse>, secrets: &[&str]) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let redacted = |text: &str| classify::redact(text, secrets.iter().copied());
        match error {
            SdkError::ServiceError(refused) => {
                let headers = refused.raw().headers();
                let exception = refused.err().code().unwrap_or_default();
                let message = redacted(refused.err().message().unwrap_or_default());
                let refusal = Refusal {
                    exception,
                    message: &message,
                    status: refused.raw().status().as_u16(),
                    retry_after: retry_after(headers),
                };
                let unknown_operation = classify::is_unknown_operation(exception);
                let failure = classify::classify(&refusal);
                let exception = Some(Exception { name: classify::bare_name(exception).to_owned(), message });
                Self { failure, unknown_operation, exception }
            }
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                let kind = if status >= 500 { TransientKind::Server } else { TransientKind::Malformed };
                let detail = format!("an answer with status {status} that is no Cognito answer");
                Self::known(Failure::Transient { kind, sent: false, detail })
            }
            SdkError::ConstructionFailure(_) => Self::known(Failure::Setting {
                setting: SettingAtFault::UserPool,
                detail: redacted(&format!("the call cannot be made: {}", chain(error))),
            }),
            _ => Self::known(transport_failure(error).unwrap_or_else(|| Failure::Transient {
                kind: TransientKind::Disconnected,
                sent: true,
                detail: redacted(&chain(error)),
            })),
        }
    }

    const fn known(failure: Failure) -> Self {
        Self { failure, unknown_operation: false, exception: None }
    }
}

/// What our own transport said, from below the SDK's wrappings.
fn transport_failure(error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<TransportError>() {
            return Some(error.failure());
        }
        cause = error.source();
    }
    None
}

/// `Date` (RFC 9110 §6.6.1).
fn date(headers: &Headers) -> Option<UnixTime> {
    http_date(headers.get("date")?)
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a time that is reckoned from the answer's own `Date`.
fn retry_after(headers: &Headers) -> Option<Duration> {
    let value = headers.get("retry-after")?.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(http_date(value)?.since(date(headers)?)),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7, the form that is sent).
#[must_use]
pub fn http_date(value: &str) -> Option<UnixTime> {
    let timestamp = DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(UnixTime::from_secs(timestamp.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        headers
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (value, expected) in [
            ("7", Some(7)),
            ("Sun, 06 Nov 1994 08:49:49 GMT", Some(12)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let found = retry_after(&headers(&[now, ("retry-after", value)]));
            assert_eq!(found, expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(date(&headers(&[now])), Some(UnixTime::from_secs(784_111_777)));
        assert_eq!(date(&headers(&[("date", "yesterday")])), None);
    }
}
