//! `[inject]` and `[[route]]`: what is injected, and which path leads where.

use http::{HeaderName, HeaderValue};

use super::{Context, placed, upstream};
use crate::{
    config::{
        file::{self, Route as FileRoute},
        problem::Problem,
        reader::Setting,
    },
    listen::Settings as Listeners,
    proxy::{Format, Inject, Route, Upstream},
};

/// Headers that belong to one connection (RFC 9110 §7.6.1), or that say where a message goes and ends.
const NOT_INJECTABLE: [&str; 13] = [
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
    "via",
    "cognito-proxy-key",
    "proxy-connection",
];

/// A mistake that has been reported.
struct Reported;

/// The place of the token in a format.
const PLACEHOLDER: &str = "{token}";

/// Resolves `[inject]`.
pub(in crate::config) fn inject(context: &mut Context<'_, '_>, file: &file::Inject) -> Option<Inject> {
    let header = header(context, &file.header, &file.header.value);
    let format = format(context, &file.format, &file.format.value);
    Some(Inject {
        token: file.token.value.0,
        header: header?,
        format: format?,
        client_value: file.client_value.value.0,
    })
}

/// Resolves every `[[route]]`, with what it does not set taken from `upstream` and `inject`.
pub(in crate::config) fn routes(
    context: &mut Context<'_, '_>,
    routes: &[FileRoute],
    section: &file::Upstream,
    listeners: &Listeners,
    defaults: Option<(&Upstream, &Inject)>,
) -> Option<Vec<Route>> {
    let mut resolved = Vec::new();
    let mut paths: Vec<&str> = Vec::new();
    for route in routes {
        let path = path(context, route, &paths);
        paths.extend(route.path.value.as_deref());
        let own = route
            .upstream
            .value
            .as_ref()
            .map(|text| upstream::address(context, &route.upstream, text, section, listeners));
        let inject = route_inject(context, route, defaults.map(|(_, inject)| inject));
        let Some((upstream, _)) = defaults else { continue };
        let url = own.unwrap_or_else(|| Some(upstream.url.clone()));
        if let (Some(path), Some(url), Ok(inject)) = (path, url, inject) {
            let upstream = Upstream { url, ..upstream.clone() };
            resolved.push(Route { path, upstream, inject, strip_prefix: route.strip_prefix.value });
        }
    }
    (resolved.len() == routes.len()).then_some(resolved)
}

/// What a route injects, or what it was going to is a mistake and has been reported.
fn route_inject(
    context: &mut Context<'_, '_>,
    route: &FileRoute,
    default: Option<&Inject>,
) -> Result<Option<Inject>, Reported> {
    let header = route.header.value.as_ref().map(|text| header(context, &route.header, text));
    let format = route.format.value.as_ref().map(|text| format(context, &route.format, text));
    if !route.inject.value {
        let set = [
            (route.token.is_set(), &route.token.key),
            (route.header.is_set(), &route.header.key),
            (route.format.is_set(), &route.format.key),
        ];
        if let Some((_, key)) = set.into_iter().find(|(is_set, _)| *is_set) {
            let problem = route.inject.problem(format!("is false, so `{key}` would do nothing"));
            context.push(problem.fix("remove one of the two"));
        }
        return Ok(None);
    }
    let default = default.ok_or(Reported)?;
    Ok(Some(Inject {
        token: route.token.value.map_or(default.token, |token| token.0),
        header: header.unwrap_or_else(|| Some(default.header.clone())).ok_or(Reported)?,
        format: format.unwrap_or_else(|| Some(default.format.clone())).ok_or(Reported)?,
        client_value: default.client_value,
    }))
}

fn path(context: &mut Context<'_, '_>, route: &FileRoute, before: &[&str]) -> Option<String> {
    let setting = &route.path;
    let Some(path) = &setting.value else {
        if setting.sound && !context.reader.is_misspelt("route.path") {
            let problem = setting.problem("is not set");
            context.push(problem.fix("say which paths the route is for: path = \"/mcp\""));
        }
        return None;
    };
    let problem = if !path.starts_with('/') {
        let bare = path.trim_start_matches(['*', '.']);
        setting.problem(format!("does not begin with /: {path:?}")).fix(format!("write \"/{bare}\""))
    } else if path.contains('*') {
        setting.problem(format!("is no pattern but a prefix: {path:?}")).fix(format!(
            "write \"{}\", which matches everything below it too",
            path.split('*').next().map(|prefix| prefix.trim_end_matches('/')).filter(|p| !p.is_empty()).unwrap_or("/")
        ))
    } else if path.len() > 1 && path.ends_with('/') {
        let bare = path.trim_end_matches('/');
        let bare = if bare.is_empty() { "/" } else { bare };
        setting
            .problem(format!("ends with /: {path:?}"))
            .fix(format!("write {bare:?}, which matches {bare:?} and everything below it"))
    } else if path.contains(['?', '#', ' ', '\\']) || !path.chars().all(|c| c.is_ascii_graphic()) {
        setting
            .problem(format!("is not the path of a URL: {path:?}"))
            .fix("write it as it stands in a request, percent-encoded")
    } else if before.contains(&path.as_str()) {
        setting.problem(format!("is {path:?}, which an earlier route has already")).fix("remove one of the two")
    } else {
        return Some(path.clone());
    };
    context.push(problem);
    None
}

fn header<T>(context: &mut Context<'_, '_>, setting: &Setting<T>, text: &str) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        let problem = setting.problem(format!("is not the name of a header: {text:?}"));
        context.push(problem.fix("write letters, digits and dashes: \"authorization\""));
        return None;
    };
    let lower = name.as_str();
    if NOT_INJECTABLE.contains(&lower) || (lower.starts_with("proxy-")) {
        let problem = setting.problem(format!("cannot be {text:?}, which HTTP or this proxy itself needs"));
        context.push(problem.fix("write \"authorization\", or a header of the service's own"));
        return None;
    }
    Some(name)
}

fn format<T>(context: &mut Context<'_, '_>, setting: &Setting<T>, text: &str) -> Option<Format> {
    let example = "write \"Bearer {token}\" or \"{token}\"";
    let parts: Vec<&str> = text.split(PLACEHOLDER).collect();
    let wrong = match parts[..] {
        [prefix, suffix] if [prefix, suffix].iter().any(|part| part.contains(['{', '}'])) => {
            Problem::new(format!("has braces that are not {PLACEHOLDER}: {text:?}"))
        }
        [prefix, suffix]
            if text.trim() == text && HeaderValue::from_str(&[prefix, suffix].concat()).is_ok() && text.is_ascii() =>
        {
            return Some(Format { prefix: prefix.to_owned(), suffix: suffix.to_owned() });
        }
        [_, _] => Problem::new(format!("cannot be a header's value: {text:?}")),
        [_] => Problem::new(format!("has no place for the token: {text:?}")),
        _ => Problem::new(format!("has more than one place for the token: {text:?}")),
    };
    context.push(placed(setting, wrong.fix(example)));
    None
}
