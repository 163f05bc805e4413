//! What a row is, and how it is played.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::scene::{OK, Scene, answer, request, shown};
use crate::support::raw::{Client, Message, Role, Step, latin};

/// One case.
pub(super) struct Row {
    name: &'static str,
    sent: Vec<u8>,
    steps: Vec<Step>,
    upstream: Upstream,
    client: Answer,
    is_told_to_continue: bool,
    ends: bool,
}

/// What the upstream must see.
enum Upstream {
    /// Not one byte.
    Nothing,
    /// This request, once.
    Request(String),
    /// This request, so often.
    Requests(usize, String),
    /// A request that never becomes whole, and the end of its connection.
    Half,
}

/// What the client must see.
enum Answer {
    /// This response.
    Response(String),
    /// A refusal of ours.
    Refusal(u16, &'static str),
    /// A status alone, for what is no request.
    Bare(u16),
    /// A response that begins so, and is seen to be cut.
    Cut(&'static str),
}

/// A row that sends this, whose upstream answers [`OK`]. It must see nothing and the client be refused, until the row
/// says otherwise.
pub(super) fn row(name: &'static str, sent: impl AsRef<[u8]>) -> Row {
    Row {
        name,
        sent: sent.as_ref().to_vec(),
        steps: answer(OK),
        upstream: Upstream::Nothing,
        client: Answer::Bare(400),
        is_told_to_continue: false,
        ends: false,
    }
}

impl Row {
    /// What the upstream does once the head has come.
    pub(super) fn doing(mut self, steps: Vec<Step>) -> Self {
        self.steps = steps;
        self
    }

    /// What the upstream answers, and the connection goes on.
    pub(super) fn answered(self, reply: impl AsRef<[u8]>) -> Self {
        self.doing(answer(reply))
    }

    /// The request that the upstream must see; the client gets [`OK`], unless the row says otherwise.
    pub(super) fn arrives(mut self, line: &str, fields: &[&str], body: &str) -> Self {
        self.upstream = Upstream::Request(request(line, fields, body));
        self.client = Answer::Response(response("200 OK", &["content-length: 2"], "hi"));
        self
    }

    /// Nothing but `GET /x` as it was written.
    pub(super) fn arrives_plain(self) -> Self {
        self.arrives("GET /x", &[], "")
    }

    /// The request comes so often.
    pub(super) fn times(mut self, times: usize) -> Self {
        if let Upstream::Request(text) = self.upstream {
            self.upstream = Upstream::Requests(times, text);
        }
        self
    }

    /// The upstream must see no whole request.
    pub(super) fn never_whole(mut self) -> Self {
        self.upstream = Upstream::Half;
        self
    }

    /// The response that the client must see.
    pub(super) fn returns(mut self, status: &str, fields: &[&str], body: &str) -> Self {
        self.client = Answer::Response(response(status, fields, body));
        self
    }

    /// Before the response comes a 100.
    pub(super) fn after_100(mut self) -> Self {
        self.is_told_to_continue = true;
        self
    }

    /// The client speaks HTTP/1.0, and so do we to it.
    pub(super) fn old(mut self) -> Self {
        if let Answer::Response(text) = self.client {
            self.client = Answer::Response(text.replacen("HTTP/1.1", "HTTP/1.0", 1));
        }
        self
    }

    /// We refuse.
    pub(super) fn refused(mut self, status: u16, code: &'static str) -> Self {
        self.client = Answer::Refusal(status, code);
        self
    }

    /// hyper refuses, and ends the connection.
    pub(super) fn bare(mut self, status: u16) -> Self {
        (self.client, self.ends) = (Answer::Bare(status), true);
        self
    }

    /// The client gets a response that ends too early, and knows.
    pub(super) fn cut(mut self, start: &'static str) -> Self {
        (self.client, self.ends) = (Answer::Cut(start), true);
        self
    }

    /// The client's connection must end with the response; else it must go on.
    pub(super) fn ends(mut self) -> Self {
        self.ends = true;
        self
    }

    /// Plays this row, and does not look at how the connection goes on.
    pub(super) async fn alone(&self, scene: &Scene) {
        drop(self.exchange(scene).await);
    }

    async fn play(&self, scene: &Scene) {
        let client = self.exchange(scene).await;
        self.end(scene, client).await;
    }

    async fn exchange(&self, scene: &Scene) -> Client {
        let name = self.name;
        scene.upstream.does(&self.steps);
        scene.upstream.take();
        let mut client = scene.client().await;
        client.send(&self.sent).await;
        let role = if self.sent.starts_with(b"HEAD ") { Role::ToHead } else { Role::Response };
        if self.is_told_to_continue {
            assert_eq!(client.receive(role).await.expect("a 100").status(), 100, "{name}");
        }
        let received = client.receive(role).await;
        match (&self.client, received) {
            (Answer::Response(expected), Ok(found)) => assert_eq!(&shown(&found), expected, "{name}: the client"),
            (Answer::Refusal(status, code), Ok(found)) => refused(name, &found, *status, code),
            (Answer::Bare(status), Ok(found)) => assert_eq!(found.status(), *status, "{name}: {found:?}"),
            (Answer::Cut(start), Err(cut)) => {
                assert!(latin(&cut.received).starts_with(start), "{name}: {:?}", latin(&cut.received));
                // Where the end of the connection is the end of the body, only a reset says that it is not.
                assert!(cut.is_reset || !start.starts_with("HTTP/1.0"), "{name}: {cut:?}");
            }
            (_, found) => panic!("{name}: the client got {found:?}"),
        }
        self.arrived(scene).await;
        client
    }

    async fn arrived(&self, scene: &Scene) {
        let name = self.name;
        if matches!(self.upstream, Upstream::Half) {
            scene.upstream.sees("the end of a half", |seen| seen.iter().all(|seen| seen.is_over)).await;
        }
        let is_half = matches!(self.upstream, Upstream::Half);
        let mut seen = scene.upstream.take();
        if scene.follows_a_half.replace(is_half) {
            // That half may have been on its way when its row was over.
            seen.retain(|seen| seen.message().is_some());
        }
        let whole: Vec<_> = seen.iter().filter_map(|seen| Some(seen.message()?.shown(&scene.authority()))).collect();
        match &self.upstream {
            Upstream::Nothing => assert!(seen.is_empty(), "{name}: the upstream saw {seen:?}"),
            Upstream::Half => assert_eq!(whole, [""; 0], "{name}: the upstream"),
            Upstream::Request(text) => {
                assert_eq!((whole.as_slice(), seen.len()), ([text.clone()].as_slice(), 1), "{name}: the upstream");
            }
            Upstream::Requests(times, text) => {
                assert_eq!((whole, seen.len()), (vec![text.clone(); *times], *times), "{name}: the upstream");
            }
        }
    }

    async fn end(&self, scene: &Scene, mut client: Client) {
        if self.ends {
            assert_eq!(latin(&client.rest().await), "", "{}: after the response", self.name);
        } else {
            scene.goes_on(&mut client, self.name).await;
        }
    }
}

/// Plays rows one after the other, and says how many there were.
pub(super) async fn play(scene: &Scene, rows: &[Row]) {
    let mut failed = Vec::new();
    for row in rows {
        // The others are played all the same, so that one run shows all that is wrong.
        if AssertUnwindSafe(row.play(scene)).catch_unwind().await.is_err() {
            failed.push(row.name);
        }
    }
    assert!(failed.is_empty(), "{} of {} rows: {failed:#?}", failed.len(), rows.len());
    println!("{} rows", rows.len());
}

fn response(status: &str, fields: &[&str], body: &str) -> String {
    let mut fields = fields.to_vec();
    fields.sort_by_key(|field| field.split(':').next().map(str::to_owned));
    let fields: String = fields.iter().map(|field| format!("{field}\n")).collect();
    format!("HTTP/1.1 {status}\n{fields}\n{body}")
}

/// Whether a reply is a refusal of ours, whole and without anything of the inside.
pub(super) fn refused(name: &str, found: &Message, status: u16, code: &str) {
    let text = latin(&found.body);
    assert_eq!(found.status(), status, "{name}: {text}");
    assert_eq!(found.values("content-type"), ["application/problem+json"], "{name}");
    assert!(found.values("proxy-status")[0].ends_with(&format!("details=\"{code}\"")), "{name}: {found:?}");
    assert!(text.contains(&format!("\"code\":\"{code}\"")), "{name}: {text}");
    assert!(!text.contains("hyper") && !text.contains("127.0.0.1"), "{name}: {text}");
    assert_eq!(found.values("date").len(), 1, "{name}: a server with a clock says when (RFC 9110 §6.6.1)");
}
