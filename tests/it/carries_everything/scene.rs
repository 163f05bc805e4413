//! The built binary before an upstream that does what a row says.

use std::cell::Cell;

use crate::support::{
    proxy::Proxy,
    raw::{Client, Message, Role, Step, Upstream},
    stage::Stage,
};

/// What an upstream answers where a row says nothing else. Its date is its own.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

pub(super) struct Scene {
    pub(super) upstream: Upstream,
    pub(super) proxy: Proxy,
    pub(super) stage: Stage,
    /// Whether the row before sent what never becomes a whole request.
    pub(super) follows_a_half: Cell<bool>,
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self::with("", "").await
    }

    /// With `more` configuration, before the upstream's `base` path. One worker, so that it is known which of the
    /// upstream's connections comes next.
    pub(super) async fn with(base: &str, more: &str) -> Self {
        let upstream = Upstream::doing(|_| answer(OK)).await;
        let stage = Stage::new().await;
        let proxy =
            stage.serve_before(&format!("{}{base}", upstream.url()), &format!("runtime.workers = 1\n{more}")).await;
        Self { upstream, proxy, stage, follows_a_half: Cell::new(false) }
    }

    pub(super) async fn client(&self) -> Client {
        Client::to(self.proxy.address()).await
    }

    /// What the upstream calls itself.
    pub(super) fn authority(&self) -> String {
        self.upstream.address.to_string()
    }

    /// The one request that the upstream has seen, as text.
    pub(super) fn only(&self) -> String {
        let seen = self.upstream.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].message().unwrap_or_else(|| panic!("half a request: {seen:?}")).shown(&self.authority())
    }

    /// Whether a connection that is said to go on does: one more request, answered, and seen as it is.
    pub(super) async fn goes_on(&self, client: &mut Client, name: &str) {
        self.upstream.does(&answer(OK));
        client.send("GET /after HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let response = client.receive(Role::Response).await.unwrap_or_else(|cut| panic!("{name}: then {cut:?}"));
        assert_eq!(shown(&response), "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", "{name}: the next response");
        assert_eq!(self.only(), request("GET /after", &[], ""), "{name}: the next request");
    }
}

/// Reads the request and answers so.
pub(super) fn answer(bytes: impl AsRef<[u8]>) -> Vec<Step> {
    vec![Step::Whole, Step::Say(bytes.as_ref().to_vec())]
}

/// Reads the request, answers so, and ends the connection.
pub(super) fn last_answer(bytes: impl AsRef<[u8]>) -> Vec<Step> {
    vec![Step::Whole, Step::Say(bytes.as_ref().to_vec()), Step::Close]
}

/// A request as an upstream must see it: with a token, its own name, a mark of ours, these fields, and no other.
pub(super) fn request(line: &str, fields: &[&str], body: &str) -> String {
    let mut all = vec!["authorization: Bearer TOKEN", "host: UPSTREAM", "via: 1.1 PROXY"];
    // A row that names one of them says what it is instead.
    all.retain(|own| !fields.iter().any(|field| field.split(':').next() == own.split(':').next()));
    all.extend(fields);
    all.sort_by_key(|field| field.split(':').next().map(str::to_owned));
    format!("{line} HTTP/1.1\n{}\n\n{body}", all.join("\n"))
}

/// A response as a client must see it. Each says when it was made (RFC 9110 §6.6.1); a date of the upstream's own is
/// shown, since it is not ours to change.
pub(super) fn shown(response: &Message) -> String {
    let dates = response.values("date");
    assert!(response.status() < 200 || dates.len() == 1, "{} dates in {response:?}", dates.len());
    let mut response = response.clone();
    response.fields.retain(|(name, _)| name != "date" || dates[0] == UPSTREAMS_DATE);
    response.shown("")
}

/// The date of an upstream that has one.
pub(super) const UPSTREAMS_DATE: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
