//! What `/metrics` says is read by Prometheus's own parser; every metric of the interface is there from the start; and
//! the alerts and the dashboard that come with the program ask for nothing that is not.

use std::{collections::BTreeSet, fs, path::Path};

use cognito_proxy::{
    devpool::{Fault, Scope, Settings},
    reply::Code,
};
use serde_json::Value;

use crate::support::{clients::python, http as wire, proxy::Proxy, stage::Stage};

const PREFIX: &str = "cognito_proxy_";

/// Every sample's name, with the label that it is told apart by, as in the interface.
const METRICS: [(&str, Option<&str>); 16] = [
    ("id_token_expiry_timestamp_seconds", None),
    ("refresh_token_expiry_timestamp_seconds", None),
    ("next_refresh_timestamp_seconds", None),
    ("last_refresh_success_timestamp_seconds", None),
    ("refresh_attempts_total", Some("outcome")),
    ("consecutive_refresh_failures", None),
    ("session_warning_level", None),
    ("held_requests", None),
    ("unpersisted_rotation", None),
    ("requests_total", Some("code")),
    ("refused_total", Some("reason")),
    ("upstream_connections", Some("state")),
    ("request_duration_seconds_bucket", Some("le")),
    ("request_duration_seconds_count", None),
    ("request_duration_seconds_sum", None),
    ("build_info", Some("version")),
];

/// The families of `/metrics`, as Prometheus's parser reads them; it refuses what is no OpenMetrics.
async fn families(proxy: &Proxy) -> Vec<Value> {
    let answer = wire::get(proxy.admin(), "/metrics").await;
    let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metrics");
    fs::write(&path, answer.body()).expect("room");
    let read = python("openmetrics.py", &[]).reading(&path).succeeds().await;
    serde_json::from_str(&read.stdout).expect("JSON")
}

fn samples(families: &[Value]) -> impl Iterator<Item = &Value> {
    families.iter().flat_map(|family| family["samples"].as_array().expect("samples"))
}

/// The value of a sample with this label, or of the only one.
fn value(families: &[Value], name: &str, label: Option<(&str, &str)>) -> f64 {
    let named = samples(families).filter(|sample| sample["name"] == format!("{PREFIX}{name}"));
    let mut found = named.filter(|sample| label.is_none_or(|(label, value)| sample["labels"][label] == value));
    let sample = found.next().unwrap_or_else(|| panic!("no {name} {label:?}"));
    sample["value"].as_str().expect("text").parse().expect("a number")
}

fn names(families: &[Value]) -> BTreeSet<String> {
    samples(families).map(|sample| sample["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn every_metric_is_there_from_the_start_and_follows_what_happens() {
    let stage = Stage::lasting(600).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"");
    let proxy = stage.home.serve_with(&[]).await;
    let first = families(&proxy).await;
    for (name, label) in METRICS {
        let of = |sample: &&Value| sample["name"] == format!("{PREFIX}{name}");
        let found: Vec<_> = samples(&first).filter(of).collect();
        assert!(!found.is_empty(), "{name} is missing");
        assert!(label.is_none_or(|label| found.iter().all(|sample| sample["labels"][label].is_string())), "{name}");
    }
    let interface: BTreeSet<_> = METRICS.iter().map(|(name, _)| format!("{PREFIX}{name}")).collect();
    assert_eq!(names(&first), interface, "nothing else");
    for code in Code::ALL {
        assert_eq!(value(&first, "refused_total", Some(("reason", code.as_str()))).to_string(), "0");
    }
    assert!(value(&first, "id_token_expiry_timestamp_seconds", None).is_nan(), "nobody has signed in");
    assert!(first.iter().all(|family| family["help"].as_str().is_some_and(|help| !help.is_empty())));

    stage.signed_in().await;
    assert_eq!(wire::get(proxy.address(), "/status/418").await.status(), 418);
    stage.pool.fail_always(Scope::Refresh, Fault::status(500));
    drop(stage.home.run(&["token", "--min-ttl", "10m"]).await);
    stage.pool.sign_out(Settings::USER);
    let status = proxy
        .status_that("a failure", |status| (status["consecutive_failures"].as_u64() > Some(0)).then(|| status.clone()));
    let (status, then) = (status.await, families(&proxy).await);
    assert!(value(&then, "refresh_attempts_total", Some(("outcome", "transient"))) >= 1.0);
    assert!(value(&then, "consecutive_refresh_failures", None) >= 1.0);
    assert_eq!(value(&then, "requests_total", Some(("code", "418"))).to_string(), "1");
    assert_eq!(value(&then, "request_duration_seconds_count", None).to_string(), "1");
    for (name, moment) in [
        ("id_token_expiry_timestamp_seconds", &status["id_token"]["expires_at"]),
        ("refresh_token_expiry_timestamp_seconds", &status["refresh_token"]["expires_at"]),
    ] {
        let moment: jiff::Timestamp = moment.as_str().expect("a moment").parse().expect("RFC 3339");
        assert_eq!(value(&then, name, None).to_string(), moment.as_second().to_string(), "{name}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn the_alerts_and_the_dashboard_name_nothing_that_is_not_there() {
    let stage = Stage::new().await;
    stage.configure("");
    let proxy = stage.home.serve_with(&[]).await;
    let families = families(&proxy).await;
    let there = names(&families);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    for file in ["alerts.yml", "grafana.json", "README.md"] {
        let text = fs::read_to_string(directory.join(file)).expect("a file that comes with the program");
        let named: BTreeSet<_> = text
            .match_indices(PREFIX)
            .map(|(at, _)| text[at..].split(|c: char| !(c.is_ascii_lowercase() || c == '_')).next().expect("a name"))
            .collect();
        assert!(named.len() >= 10 || file == "alerts.yml" && named.len() >= 7, "{file}: {named:?}");
        for name in named {
            // The README names the histogram as a whole.
            assert!(there.contains(name) || there.contains(&format!("{name}_count")), "{file}: {name}");
        }
        // Label values, too.
        for value in text.split("=~\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(values, _)| values) {
            for value in value.split('|').filter(|value| !value.starts_with('$')) {
                let known = |sample: &Value| {
                    sample["labels"].as_object().is_some_and(|labels| labels.values().any(|known| known == value))
                };
                assert!(samples(&families).any(known), "{file}: {value}");
            }
        }
    }
    let dashboard = fs::read_to_string(directory.join("grafana.json")).expect("a file");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.iter().all(|panel| panel["title"].is_string() && panel["targets"][0]["expr"].is_string()));
    proxy.stop().await;
}
