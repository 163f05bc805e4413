//! Any request that is accepted arrives as exactly one request, which is the same one: path and query byte for byte,
//! fields in their order, body and trailers.

use std::cell::RefCell;

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};

use super::scene::{OK, Scene, answer};
use crate::support::raw::{Client, Message, Role};

/// One request, as it is to be written.
#[derive(Clone, Debug)]
struct Given {
    method: String,
    target: String,
    fields: Vec<(String, Vec<u8>)>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Counted(Vec<u8>),
    /// Chunks, none of them empty.
    Chunked(Vec<Vec<u8>>),
}

/// Bytes of a target that need no escape, or look like one: anything that is visible, but for what ends a target or
/// what the `http` crate takes for no URI.
const TARGET: &str = "[!$-;=@-\\[\\]_a-z|~%&'()*+,/:]{0,60}(\\?[!$-;=?-\\[\\]_a-z|~%&'()*+,/:]{0,40})?";

fn given() -> impl Strategy<Value = Given> {
    const METHODS: [&str; 11] =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH", "get", "X!#$%"];
    let name = "[A-Za-z0-9!#$%&'*+.^`|~-]{1,20}".prop_map(|name| format!("X-{name}"));
    // Visible, spaces within, and bytes that are no text; not at the ends, where space does not count.
    let value = "[!-~\u{80}-\u{ff}]([ \t!-~\u{80}-\u{ff}]{0,40}[!-~\u{80}-\u{ff}])?|"
        .prop_map(|text| text.chars().map(|character| u8::try_from(character).expect("Latin-1")).collect());
    let body = prop_oneof![
        3 => Just(Body::None),
        2 => vec(any::<u8>(), 0..3000).prop_map(Body::Counted),
        2 => vec(vec(any::<u8>(), 1..800), 0..5).prop_map(Body::Chunked),
    ];
    (select(&METHODS[..]), TARGET, vec((name, value), 0..12), body).prop_map(|(method, target, fields, body)| Given {
        method: method.to_owned(),
        target: format!("/{target}"),
        fields,
        body,
    })
}

impl Given {
    fn written(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        match &self.body {
            Body::None => bytes.extend(b"\r\n"),
            Body::Counted(body) => {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                bytes.extend(body);
            }
            Body::Chunked(chunks) => {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in chunks {
                    bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    }

    /// What must arrive, but for the token, the host and our mark.
    fn expected(&self) -> Message {
        let (framing, body) = match &self.body {
            Body::None => (None, Vec::new()),
            Body::Counted(body) => {
                (Some(("content-length".to_owned(), body.len().to_string().into_bytes())), body.clone())
            }
            Body::Chunked(chunks) => (Some(("transfer-encoding".to_owned(), b"chunked".to_vec())), chunks.concat()),
        };
        let fields = self.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        let start = format!("{} {} HTTP/1.1", self.method, self.target);
        Message { start, fields: sorted(fields.chain(framing)), body, trailers: Vec::new() }
    }
}

/// By name; of one name, in their order.
fn sorted(fields: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields
}

#[test]
fn each_arrives_once_and_unchanged() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let scene = runtime.block_on(Scene::new());
    scene.upstream.does(&answer(OK.replace("Content-Length: 2\r\n\r\nhi", "Content-Length: 0\r\n\r\n")));
    let cases = if std::env::var_os("COGNITO_PROXY_LONG").is_some() { 10_000 } else { 500 };
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) });
    let kept = RefCell::new(None);
    let outcome = runner.run(&given(), |given| {
        // A connection that a failing case has left in the middle is of no use to the next.
        let mut client = kept.take().unwrap_or_else(|| runtime.block_on(scene.client()));
        let arrived = runtime.block_on(exchanged(&scene, &mut client, &given))?;
        prop_assert_eq!(arrived, given.expected());
        kept.replace(Some(client));
        Ok(())
    });
    outcome.unwrap_or_else(|failed| panic!("{failed}"));
    println!("{cases} requests arrived as they were sent, once each");
}

/// Sends a request and reads its answer; what arrived, without what is ours.
async fn exchanged(scene: &Scene, client: &mut Client, given: &Given) -> Result<Message, TestCaseError> {
    scene.upstream.take();
    client.send(given.written()).await;
    let role = if given.method == "HEAD" { Role::ToHead } else { Role::Response };
    let response = client.receive(role).await.map_err(|cut| TestCaseError::fail(format!("{cut:?}")))?;
    prop_assert_eq!(response.status(), 200, "{:?}", response);
    let seen = scene.upstream.take();
    prop_assert_eq!(seen.len(), 1);
    let mut message = seen[0].message().ok_or_else(|| TestCaseError::fail("half a request"))?;
    for ours in ["authorization", "host", "via"] {
        prop_assert_eq!(message.values(ours).len(), 1, "{}", ours);
        message.fields.retain(|(name, _)| name != ours);
    }
    message.fields = sorted(message.fields.into_iter());
    Ok(message)
}
