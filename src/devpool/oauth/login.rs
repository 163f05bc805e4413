//! `GET` and `POST /login`: the sign-in page, and what it submits.

use std::fmt::Write as _;

use http::{Response, StatusCode};
use serde_json::Value;

use super::{
    Refusal, authorize,
    refusal::{escape, page},
    text,
};
use crate::{
    clock::UnixTime,
    devpool::{settings::Standing, state::Pool, wire::Body},
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Response<Body>, Refusal> {
    authorize::checked(pool, request)?;
    let (Some(username), Some(password)) = (text(request, "username"), text(request, "password")) else {
        return Ok(form(request, None));
    };
    let known = pool
        .user(username)
        .filter(|user| user.standing == Standing::Enabled && user.password.expose() == password)
        .map(|user| user.username.clone());
    match known {
        Some(username) => authorize::issue(pool, now, request, &username),
        None => Ok(form(request, Some("Incorrect username or password."))),
    }
}

fn form(request: &Value, error: Option<&str>) -> Response<Body> {
    let mut html = String::from("<h1>Sign in</h1>");
    // Writing to a String cannot fail.
    if let Some(error) = error {
        let _ = write!(html, "<p role=\"alert\">{}</p>", escape(error));
    }
    html.push_str("<form method=\"post\" action=\"/login\">");
    for name in authorize::HANDED_ON {
        if let Some(value) = text(request, name) {
            let _ = write!(html, "<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value));
        }
    }
    let hint = escape(text(request, "login_hint").unwrap_or_default());
    let _ = write!(
        html,
        "<label>Username <input name=\"username\" value=\"{hint}\" autocomplete=\"username\" required></label> \
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label> \
         <button type=\"submit\">Sign in</button></form>"
    );
    page(StatusCode::OK, &html)
}
