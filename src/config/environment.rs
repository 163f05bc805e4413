//! What the process was started in: its variables, its directory, its user. A value, so that tests need no real one.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    file::SECTIONS,
    node::{Node, Value},
    place::Place,
    problem::{Problem, nearest},
    unknown::{keys_of, unknown_key},
};

/// The prefix of every variable of ours.
const PREFIX: &str = "COGNITO_PROXY_";

/// The process's surroundings, as far as the configuration depends on them.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Every environment variable.
    pub variables: BTreeMap<OsString, OsString>,
    /// The working directory; empty where it is gone.
    pub directory: PathBuf,
    /// The effective user id.
    pub uid: u32,
    /// Where the machine's configurations lie, `/etc`.
    pub etc: PathBuf,
}

impl Environment {
    /// The real one.
    #[must_use]
    pub fn current() -> Self {
        Self {
            variables: env::vars_os().collect(),
            // Where it was removed, nothing is found from it; what lies in `/` is not what was meant.
            directory: env::current_dir().unwrap_or_default(),
            uid: rustix::process::geteuid().as_raw(),
            etc: PathBuf::from("/etc"),
        }
    }

    /// A directory that a variable names: absolute (XDG Base Directory Specification: others are ignored), first of
    /// the list where there are several (`$RUNTIME_DIRECTORY`, systemd.exec(5)).
    pub(super) fn directory_in(&self, name: &str) -> Option<PathBuf> {
        let value = self.variables.get(&OsString::from(name))?.to_str()?;
        let first = if name.ends_with("_DIRECTORY") { value.split(':').next()? } else { value };
        Path::new(first).is_absolute().then(|| PathBuf::from(first))
    }

    /// `$XDG_…`, or its default below `$HOME`.
    pub(super) fn xdg(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        self.directory_in(name).or_else(|| Some(self.directory_in("HOME")?.join(below_home)))
    }

    /// A variable that holds text; one that is set but empty is a mistake.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        let Some(value) = self.variables.get(&OsString::from(name)) else { return Ok(None) };
        let place = || Place::Environment(name.to_owned());
        let text = value.to_str().ok_or_else(|| not_utf8(name))?;
        if text.trim().is_empty() {
            return Err(Problem::new("is set, but empty").fix("unset it, or give it a value").at(place()).key(name));
        }
        Ok(Some(text.to_owned()))
    }

    /// Every `COGNITO_PROXY_SECTION__KEY` and `COGNITO_PROXY_ROUTE`, by `section.key`, with what is wrong among them.
    ///
    /// Other variables of that prefix are not ours: Kubernetes injects `COGNITO_PROXY_PORT=tcp://…` beside a service
    /// of that name.
    pub(super) fn settings(&self) -> (BTreeMap<String, Node>, Vec<Problem>) {
        let mut settings = BTreeMap::new();
        let mut problems = Vec::new();
        for name in self.variables.keys().filter_map(|name| name.to_str()) {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let setting = match rest.split_once("__") {
                Some(_) if is_service_link(rest) => continue,
                Some((section, key)) => self.setting(name, section, key),
                None if rest == "ROUTE" => self.route(name),
                None => continue,
            };
            match setting {
                Ok((key, node)) => drop(settings.insert(key, node)),
                Err(problem) => problems.push(problem.at(Place::Environment(name.to_owned()))),
            }
        }
        (settings, problems)
    }

    fn setting(&self, name: &str, section: &str, key: &str) -> Result<(String, Node), Problem> {
        let upper = |text: &str| text.to_ascii_uppercase();
        let sections = || SECTIONS.iter().map(|(name, _)| *name).filter(|name| *name != "route");
        let Some(known) = sections().find(|name| upper(name) == section) else {
            let problem = Problem::new(format!("there is no section [{}]", section.to_lowercase()));
            return Err(match nearest(section, sections()) {
                Some(near) => problem.fix(format!("did you mean {PREFIX}{}__{}?", upper(near), upper(key))).meant(near),
                None if section == "ROUTE" => problem.fix(format!("set all routes in one, {PREFIX}ROUTE, as in TOML")),
                None => problem.fix(format!("the sections are {}", sections().collect::<Vec<_>>().join(", "))),
            });
        };
        let Some(known_key) = keys_of(known).iter().find(|known| upper(known.name) == key) else {
            let lower = key.to_lowercase();
            let problem = unknown_key(known, &lower).key(format!("{known}.{lower}"));
            return Err(match nearest(key, keys_of(known).iter().map(|key| key.name)) {
                Some(near) if lower != "client_secret" => {
                    problem.fix(format!("did you mean {PREFIX}{}__{}?", upper(known), upper(near)))
                }
                _ => problem,
            });
        };
        let full = format!("{known}.{}", known_key.name);
        let text = self.text(name).map_err(|problem| problem.key(full.clone()))?.unwrap_or_default();
        Ok((full, Node { value: Value::Bare(text), place: Place::Environment(name.to_owned()) }))
    }

    fn route(&self, name: &str) -> Result<(String, Node), Problem> {
        let text = self.text(name)?.unwrap_or_default();
        let bare = Node { value: Value::Bare(text), place: Place::Environment(name.to_owned()) };
        match bare.as_toml() {
            Some(node) if matches!(node.value, Value::Array(_)) => Ok(("route".into(), node)),
            _ => Err(Problem::new("must be a TOML array of tables")
                .fix(r#"write [{ path = "/mcp", token = "access" }]"#)
                .key("route")),
        }
    }
}

fn not_utf8(name: &str) -> Problem {
    Problem::new("is not valid UTF-8").fix("set it to text").at(Place::Environment(name.to_owned())).key(name)
}

/// Whether Kubernetes may have made this variable for a service named `cognito-proxy-…` ("Discovering services",
/// environment variables): a service's name may hold two dashes in a row, which become two underscores.
fn is_service_link(rest: &str) -> bool {
    let known = SECTIONS.iter().any(|(section, _)| rest.starts_with(&format!("{}__", section.to_ascii_uppercase())));
    let is_link = rest.ends_with("_SERVICE_HOST")
        || rest.contains("_SERVICE_PORT")
        || rest.ends_with("_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| rest.contains("_PORT_") && rest.contains(protocol));
    is_link && !known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            directory: "/".into(),
            uid: 1000,
            etc: "/etc".into(),
        }
    }

    #[test]
    fn only_two_underscores_make_a_setting() {
        let (settings, problems) = environment(&[
            ("COGNITO_PROXY_PORT", "tcp://10.0.0.1:80"),
            ("COGNITO_PROXY_PORT_8900_TCP_ADDR", "10.0.0.1"),
            ("COGNITO_PROXY_SERVICE_HOST", "10.0.0.1"),
            ("COGNITO_PROXY_A__B_SERVICE_HOST", "10.0.0.1"),
            ("COGNITO_PROXY_A__B_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("COGNITO_PROXY_UPSTREAM__URL", "https://api.example"),
            ("PATH", "/bin"),
        ])
        .settings();
        assert_eq!(problems, []);
        assert_eq!(settings.keys().collect::<Vec<_>>(), ["upstream.url"]);
    }

    #[test]
    fn a_misspelt_variable_is_told_its_name() {
        for (name, fix) in [
            ("COGNITO_PROXY_UPSTREAM__ULR", "did you mean COGNITO_PROXY_UPSTREAM__URL?"),
            ("COGNITO_PROXY_UPSTREM__URL", "did you mean COGNITO_PROXY_UPSTREAM__URL?"),
            ("COGNITO_PROXY_upstream__url", "did you mean COGNITO_PROXY_UPSTREAM__URL?"),
        ] {
            let (settings, problems) = environment(&[(name, "x")]).settings();
            assert!(settings.is_empty(), "{name}");
            assert_eq!(problems[0].fix.as_deref(), Some(fix), "{name}");
        }
    }
}
