//! Keys and sections that nobody knows, and what they were meant to be.

use super::{
    file::SECTIONS,
    layers::Key,
    node::{Entry, Node, Value},
    problem::{Problem, nearest},
};

/// Every name in the file and in `COGNITO_PROXY_ROUTE` that is no name of ours.
///
/// Asked of each layer by itself: a name that is wrong is wrong even where a layer above replaces what it names.
pub(super) fn problems(file: &[Entry], route_variable: Option<&Node>) -> Vec<Problem> {
    file.iter().flat_map(section).chain(route_variable.into_iter().flat_map(routes)).collect()
}

fn section(entry: &Entry) -> Vec<Problem> {
    let Some((section, _)) = SECTIONS.iter().find(|(section, _)| *section == entry.key) else {
        return vec![unknown_section(entry)];
    };
    let misshapen = |message: &str, fix: String| {
        let problem = Problem::new(message).fix(fix).at(entry.place.clone()).at(entry.node.place.clone());
        vec![problem.key(*section)]
    };
    match (&entry.node.value, *section == "route") {
        (Value::Table(entries), false) => keys(section, section, entries),
        (Value::Array(_), true) => routes(&entry.node),
        (_, true) => misshapen("is a list of tables", "write [[route]], in double brackets".into()),
        (_, false) => misshapen("is a section, not a value", format!("write [{section}], and its keys below")),
    }
}

fn routes(node: &Node) -> Vec<Problem> {
    let Value::Array(routes) = &node.value else { return Vec::new() };
    let tables = routes.iter().enumerate().filter_map(|(index, route)| match &route.value {
        Value::Table(entries) => Some((index, entries)),
        _ => None,
    });
    tables.flat_map(|(index, entries)| keys("route", &format!("route[{index}]"), entries)).collect()
}

fn keys(section: &str, prefix: &str, entries: &[Entry]) -> Vec<Problem> {
    let known = keys_of(section);
    let unknown = entries.iter().filter(|entry| known.iter().all(|key| key.name != entry.key));
    unknown
        .map(|entry| {
            let problem = unknown_key(section, &entry.key).key(format!("{prefix}.{}", entry.key));
            problem.at(entry.place.clone()).at(entry.node.place.clone())
        })
        .collect()
}

/// The keys of a section; none where there is no such section.
pub(super) fn keys_of(section: &str) -> &'static [Key] {
    SECTIONS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}

/// Why `name` is no key of `section`, and what it may have been meant to be.
pub(super) fn unknown_key(section: &str, name: &str) -> Problem {
    if section == "cognito" && name.eq_ignore_ascii_case("client_secret") {
        return Problem::new("cannot stand in the configuration, which others may read")
            .fix("put the secret alone into a file with mode 0600, and name that: client_secret_file = \"/path\"");
    }
    let problem = Problem::new("is not a key that this version knows");
    if let Some(near) = nearest(name, keys_of(section).iter().map(|key| key.name)) {
        return problem.fix(format!("did you mean `{near}`?")).meant(format!("{section}.{near}"));
    }
    let home = SECTIONS.iter().find(|(_, keys)| keys.iter().any(|key| key.name == name));
    let listed = || keys_of(section).iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
    match home {
        Some((home, _)) => problem.fix(format!("`{name}` belongs to [{home}]")),
        None => problem.fix(format!("the keys of [{section}] are {}", listed())),
    }
}

fn unknown_section(entry: &Entry) -> Problem {
    let name = entry.key.as_str();
    let names = || SECTIONS.iter().map(|(section, _)| *section);
    let problem = |message: &str| Problem::new(message).at(entry.place.clone()).at(entry.node.place.clone()).key(name);
    if !matches!(entry.node.value, Value::Table(_) | Value::Array(_))
        && let Some((home, _)) = SECTIONS.iter().find(|(_, keys)| keys.iter().any(|key| key.name == name))
    {
        return problem("stands outside of its section").fix(format!("put it below [{home}]"));
    }
    let unknown = problem("is not a section that this version knows");
    match nearest(name, names()) {
        Some("route") => unknown.fix("did you mean [[route]]?"),
        Some(near) => unknown.fix(format!("did you mean [{near}]?")).meant(near),
        None => unknown.fix(format!("the sections are {}", names().collect::<Vec<_>>().join(", "))),
    }
}
