//! What an OAuth endpoint says instead of an answer.

use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION},
};
use serde_json::{Value, json};

use crate::devpool::{
    exception::Exception,
    wire::{self, Body},
};

/// A refusal, and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::devpool) struct Refusal {
    /// The `error` code.
    pub(in crate::devpool) error: String,
    description: Option<String>,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// JSON, with 400.
    Body,
    /// A page of the domain itself: nobody to be sent back to is known.
    Page,
    /// The client's own redirect URI, with its `state`.
    Redirect { uri: String, state: Option<String> },
}

impl Refusal {
    /// `{"error": …}`.
    pub(super) fn new(error: &str) -> Self {
        Self { error: error.to_owned(), description: None, place: Place::Body }
    }

    /// The same with `error_description`.
    pub(super) fn described(mut self, description: &str) -> Self {
        self.description = Some(description.to_owned());
        self
    }

    /// The same as a page.
    pub(super) fn on_a_page(mut self) -> Self {
        self.place = Place::Page;
        self
    }

    /// The same, sent back to the client.
    pub(super) fn sent_to(mut self, uri: &str, state: Option<&str>) -> Self {
        self.place = Place::Redirect { uri: uri.to_owned(), state: state.map(str::to_owned) };
        self
    }

    /// An exception in the words of these endpoints, for faults.
    pub(in crate::devpool) fn of_fault(exception: &Exception) -> Self {
        let described = Some(exception.message.clone()).filter(|message| !message.is_empty());
        Self { error: exception.name.clone(), description: described, place: Place::Body }
    }

    pub(in crate::devpool) fn response(&self) -> Response<Body> {
        match &self.place {
            Place::Body => {
                let mut body = json!({"error": self.error});
                if let Some(description) = &self.description {
                    body["error_description"] = json!(description);
                }
                document(StatusCode::BAD_REQUEST, &body)
            }
            Place::Page => page(
                StatusCode::BAD_REQUEST,
                &format!("<h1>An error was encountered with the requested page.</h1><p>{}</p>", escape(&self.error)),
            ),
            Place::Redirect { uri, state } => {
                let fields = [("error_description", self.description.as_deref()), ("state", state.as_deref())];
                redirect(uri, &[("error", Some(self.error.as_str()))].into_iter().chain(fields).collect::<Vec<_>>())
            }
        }
    }
}

/// An answer in JSON that nobody may keep.
pub(super) fn document(status: StatusCode, body: &Value) -> Response<Body> {
    answer(status, "application/json", body.to_string())
}

/// An empty answer.
pub(super) fn nothing() -> Response<Body> {
    answer(StatusCode::OK, "application/json", String::new())
}

/// A page of the hosted sign-in.
pub(super) fn page(status: StatusCode, content: &str) -> Response<Body> {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sign in</title><body>{content}</body></html>\n"
    );
    answer(status, "text/html; charset=utf-8", page)
}

/// 302 to `uri`, with these fields added to its query.
pub(super) fn redirect(uri: &str, fields: &[(&str, Option<&str>)]) -> Response<Body> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(fields.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
    let sign = if uri.contains('?') { '&' } else { '?' };
    let mut response = answer(StatusCode::FOUND, "text/plain", String::new());
    if let Ok(location) = HeaderValue::try_from(format!("{uri}{sign}{}", query.finish())) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// Text for a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(wire::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
