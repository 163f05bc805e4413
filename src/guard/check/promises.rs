//! Two promises that hold for every request, whatever it says.

use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::{
    tests::{guard, here, settings},
    *,
};

/// Texts that look like hosts, the good ones among them.
fn host_like() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "localhost",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "[::1]",
            "evil.example",
            "0.0.0.0",
            "",
            "127.1"
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9.:@,_\\[\\] -]{0,24}",
    ]
    .prop_flat_map(|host| {
        prop_oneof![Just(host.clone()), (0u32..70_000).prop_map(move |port| format!("{host}:{port}"))]
    })
}

/// Written anew, from the list of what may pass: the oracle of the property below.
fn is_on_the_list(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let name = host.strip_suffix(":8900").or_else(|| host.strip_suffix(':')).unwrap_or(&host);
    let leading_zeros = host.rsplit_once(':').is_some_and(|(_, port)| port.trim_start_matches('0') == "8900");
    let name = if leading_zeros { host.rsplit_once(':').map_or(name, |(name, _)| name) } else { name };
    let name = name.strip_suffix('.').unwrap_or(name);
    matches!(name, "localhost" | "127.0.0.1")
        || name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .is_some_and(|address| address.parse() == Ok(Ipv6Addr::LOCALHOST))
}

fn with_headers(fields: &[(HeaderName, String)]) -> Option<RequestHead> {
    let mut request = Request::builder().uri("/x");
    for (name, value) in fields {
        request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some(request.body(()).ok()?.into_parts().0.into())
}

proptest! {
    #[test]
    fn a_host_that_is_not_on_the_list_is_never_admitted(hosts in prop::collection::vec(host_like(), 0..3)) {
        let fields: Vec<_> = hosts.iter().map(|host| (HOST, host.trim().to_owned())).collect();
        let head = with_headers(&fields).expect("printable");
        let admitted = matches!(guard(&settings()).check(&here(), &head), Verdict::Admitted(_));
        let good = hosts.len() == 1 && is_on_the_list(hosts[0].trim());
        prop_assert_eq!(admitted, good, "{:?}", hosts);
    }

    #[test]
    fn whatever_is_admitted_with_an_origin_is_listed_or_our_own(
        origins in prop::collection::vec(
            prop_oneof![
                prop::sample::select(vec!["http://localhost:3000", "http://localhost:8900", "null", "https://localhost:8900"])
                    .prop_map(str::to_owned),
                host_like().prop_map(|host| format!("http://{}", host.trim())),
                "[ -~]{0,30}",
            ],
            1..3,
        ),
        site in prop::option::of(prop::sample::select(vec!["same-origin", "none", "cross-site", "same-site"])),
        method in prop::sample::select(vec![Method::GET, Method::POST, Method::OPTIONS]),
    ) {
        let mut fields = vec![(HOST, "localhost:8900".to_owned())];
        fields.extend(origins.iter().map(|origin| (ORIGIN, origin.clone())));
        fields.extend(site.map(|site| (SEC_FETCH_SITE, site.to_owned())));
        let mut head = with_headers(&fields).expect("printable");
        head.method = method;
        if let Verdict::Admitted(admitted) = guard(&settings()).check(&here(), &head) {
            prop_assert_eq!(origins.len(), 1);
            let listed = origins[0] == "http://localhost:3000";
            let own = origins[0].strip_prefix("http://").is_some_and(|host| {
                let host = host.to_ascii_lowercase();
                let (name, port) = host.rsplit_once(':').unwrap_or((&host, ""));
                name.strip_suffix('.').unwrap_or(name) == "localhost" && port.trim_start_matches('0') == "8900"
            });
            prop_assert!(listed || own, "{:?}", origins);
            prop_assert_eq!(admitted.cors.is_some(), listed);
        }
    }
}
