//! A scripted user agent: follows redirects, fills in the form that it is shown, and submits it.

use http::Uri;

use crate::support::http::{Connection, RawResponse};

/// Somebody at a browser.
pub(super) struct Agent {
    username: String,
    password: String,
}

impl Agent {
    pub(super) fn new(username: &str, password: &str) -> Self {
        Self { username: username.to_owned(), password: password.to_owned() }
    }

    /// Signs in at `address` and comes back: the last page.
    pub(super) async fn signs_in(&self, address: &str) -> RawResponse {
        page_of(self.is_sent_to(address).await).await
    }

    /// Signs in at `address`; the address that the pages send back to, not visited yet.
    pub(super) async fn is_sent_to(&self, address: &str) -> String {
        let form = self.form(address).await;
        let pairs: Vec<_> = hidden(&form)
            .into_iter()
            .chain([("username".to_owned(), self.username.clone()), ("password".to_owned(), self.password.clone())])
            .collect();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let uri: Uri = address.parse().expect("a URI");
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            uri.authority().expect("a host"),
            body.len()
        );
        let response = send(&uri, request).await;
        assert_eq!(response.status, 302, "{}", response.text());
        response.header("location").expect("a redirect").to_owned()
    }

    /// The sign-in page that `address` leads to.
    async fn form(&self, address: &str) -> String {
        let response = visit(address).await;
        assert_eq!(response.status, 302, "{}", response.text());
        let location = response.header("location").expect("a redirect");
        assert!(location.starts_with("/login?"), "{location}");
        let uri: Uri = address.parse().expect("a URI");
        let page = visit(&format!("http://{}{location}", uri.authority().expect("a host"))).await;
        assert_eq!(page.status, 200, "{}", page.text());
        page.text()
    }
}

/// The page at `address`; a redirect is not followed.
pub(super) async fn page_of(address: String) -> RawResponse {
    visit(&address).await
}

/// What `address` answers.
pub(super) async fn visit(address: &str) -> RawResponse {
    let uri: Uri = address.parse().expect("a URI");
    let path = uri.path_and_query().expect("a path");
    send(&uri, format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", uri.authority().expect("a host"))).await
}

async fn send(uri: &Uri, request: String) -> RawResponse {
    let name = uri.authority().expect("a host").as_str().to_owned();
    let address = tokio::net::lookup_host(name).await.expect("it resolves").next().expect("an address");
    let mut connection = Connection::to(address).await;
    connection.send(request).await;
    connection.receive().await
}

/// The hidden fields of a form.
fn hidden(html: &str) -> Vec<(String, String)> {
    let value = |field: &str, name: &str| {
        let (_, rest) = field.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.replace("&quot;", "\"").replace("&amp;", "&"))
    };
    let fields = html.split("<input type=\"hidden\"").skip(1);
    fields.filter_map(|field| Some((value(field, "name")?, value(field, "value")?))).collect()
}
