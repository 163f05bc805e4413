//! The admin listener's site: the pages, and what a person may do from the status page.
//!
//! What changes state is a POST that carries the page's token: a value of this process that only whoever could read
//! the page knows. A guard has stood before it already, so that neither comes from a foreign page.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};

use super::{
    Admin, Body, Problem, answer,
    control::{Control, Fault, read},
    page,
};
/// What every form of a page is sent as, with or without JavaScript (WHATWG URL §5).
const FORM: &str = "application/x-www-form-urlencoded";

/// What can be done from the status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Unlock,
    SignIn,
}

impl Deed {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/unlock" => Some(Self::Unlock),
            "/login" => Some(Self::SignIn),
            _ => None,
        }
    }
}

/// What the admin listener serves.
#[derive(Debug)]
pub struct Site {
    admin: Arc<Admin>,
    control: Arc<dyn Control>,
}

impl Site {
    /// The pages of `admin`, with the deeds of `control` that a page may ask for.
    #[must_use]
    pub fn new(admin: Arc<Admin>, control: Arc<dyn Control>) -> Self {
        Self { admin, control }
    }

    /// Answers one request that the guard has admitted.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let Some(deed) = Deed::at(head.uri.path()) else { return self.admin.answer(&head) };
        let response = if head.method == Method::POST {
            let is_script = prefers_json(&head.headers);
            match self.perform(deed, &head.headers, body).await {
                Ok(()) if is_script => answer::no_content(),
                // To be reloaded without sending the form again.
                Ok(()) => answer::to_the_page(StatusCode::SEE_OTHER),
                Err(problem) if is_script => answer::problem(&problem),
                Err(problem) => page::failed(&problem),
            }
        } else {
            answer::method_not_allowed("POST")
        };
        response.map(Body::from)
    }

    async fn perform<B>(&self, deed: Deed, headers: &HeaderMap, body: B) -> Result<(), Problem>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Read whatever it is: a client that is still sending would not hear the answer.
        let form = read(body).await.map_err(|fault| fault.problem())?;
        let is_form = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(FORM.as_bytes()));
        if !(is_form && self.admin.page_token.as_ref().is_some_and(|token| token.is_in(form.expose()))) {
            tracing::warn!(?deed, "refused: the request did not come from the status page");
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "page_token_required",
                "this is done by the buttons of the status page alone",
                "open /status again, and use its button",
            ));
        }
        let done = match deed {
            Deed::Unlock => self.control.unlock().await,
            Deed::SignIn => self.control.sign_in().await,
        };
        done.map_err(|fault: Fault| fault.problem())
    }
}

/// Whether the page's own script asks, which shows what went wrong in the page.
fn prefers_json(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"))
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;
    use http_body_util::Full;

    use super::*;
    use crate::admin::{
        fixtures::{Told, signed_out},
        page_token::TOKEN_FIELD,
    };

    fn post(path: &str, accept: &str, form: String) -> Request<Full<Bytes>> {
        Request::post(path).header(ACCEPT, accept).header(CONTENT_TYPE, FORM).body(Full::from(form)).unwrap()
    }

    #[tokio::test]
    async fn nothing_is_done_without_the_pages_token() {
        let (fixture, told) = (signed_out(), Arc::new(Told::default()));
        let site = Site::new(Arc::clone(&fixture.admin), Arc::<Told>::clone(&told));
        let token = fixture.admin.page_token.as_ref().expect("randomness").expose().to_owned();
        let right = format!("{TOKEN_FIELD}={token}");
        for request in [
            post("/unlock", "*/*", String::new()),
            post("/login", "*/*", format!("{TOKEN_FIELD}={}", "0".repeat(64))),
            // Not in the address, which is written to logs and histories.
            post(&format!("/unlock?{right}"), "*/*", String::new()),
            // A form that is sent as text goes anywhere without a question (Fetch, "CORS-safelisted").
            Request::post("/unlock").header(CONTENT_TYPE, "text/plain").body(Full::from(right.clone())).unwrap(),
            Request::post("/unlock").body(Full::from(right.clone())).unwrap(),
        ] {
            assert_eq!(site.answer(request).await.status(), 403);
        }
        let got = site.answer(Request::get("/unlock").body(Full::from("")).unwrap()).await;
        assert_eq!((got.status(), &got.headers()["allow"]), (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap()));
        assert_eq!(*told.deeds.lock().unwrap(), Vec::<String>::new());

        let by_script = site.answer(post("/unlock", "application/json", right.clone())).await;
        assert_eq!(by_script.status(), StatusCode::NO_CONTENT);
        let by_browser = site.answer(post("/login", "text/html,*/*", right)).await;
        assert_eq!(
            (by_browser.status(), &by_browser.headers()[LOCATION]),
            (StatusCode::SEE_OTHER, &"/status".parse().unwrap())
        );
        assert_eq!(*told.deeds.lock().unwrap(), ["unlock", "sign_in"]);
    }

    #[tokio::test]
    async fn what_went_wrong_is_said_to_scripts_and_to_people() {
        let fault = Some(Fault::Store("<the disk> is full".into()));
        let (fixture, told) = (signed_out(), Arc::new(Told { fault, ..Told::default() }));
        let site = Site::new(Arc::clone(&fixture.admin), told);
        let right = format!("{TOKEN_FIELD}={}", fixture.admin.page_token.as_ref().expect("randomness").expose());
        let by_script = site.answer(post("/unlock", "application/json", right.clone())).await;
        assert_eq!(by_script.status(), StatusCode::INSUFFICIENT_STORAGE);
        let problem: serde_json::Value = serde_json::from_slice(&by_script.into_body().into_bytes()).unwrap();
        assert_eq!(problem["detail"], "<the disk> is full");
        let page = site.answer(post("/unlock", "text/html", right)).await.into_body().into_bytes();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(page.contains("&lt;the disk&gt; is full.") && page.contains("href=\"/status\""), "{page}");
    }
}
