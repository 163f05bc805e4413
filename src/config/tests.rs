//! Whole configurations: what is read from where, and what a person is shown when it is wrong.

mod errors;
mod layering;
mod shipped;

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{Config, Environment, Error, Override, Request};

/// The least that is a configuration.
const MINIMAL: &str = r#"
[cognito]
user_pool_id = "eu-west-1_AbCdEfGhI"
client_id = "1example23456789"

[upstream]
url = "https://api.example.com"
"#;

/// A directory with a configuration in it, and an environment that knows nothing else.
struct Bench {
    directory: tempfile::TempDir,
    environment: Environment,
    request: Request,
}

impl Bench {
    /// Nothing but a home.
    fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let home = directory.path().as_os_str().to_owned();
        let environment = Environment {
            variables: BTreeMap::from([("HOME".into(), home)]),
            directory: directory.path().to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            etc: directory.path().join("etc"),
        };
        Self { directory, environment, request: Request::default() }
    }

    /// A file of that text, named with `--config`.
    fn with(text: &str) -> Self {
        let mut bench = Self::empty();
        bench.request.config = Some(bench.write("proxy.toml", text));
        bench
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, text).expect("a file");
        path
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.variables.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, flag: Override) -> Self {
        self.request.overrides.push(flag);
        self
    }

    fn load(&self) -> Result<Config, Error> {
        Config::load(&self.request, &self.environment)
    }

    /// What a person is shown, without the name of the directory.
    fn shown(&self) -> String {
        let error = self.load().expect_err("a mistake");
        error.render(false, 200).replace(&self.directory.path().display().to_string(), "/DIR")
    }
}

/// Sets `key` of `section` in a configuration that is sound otherwise.
fn setting(section: &str, line: &str) -> String {
    match section {
        "cognito" => MINIMAL.replace("[cognito]\n", &format!("[cognito]\n{line}\n")),
        "upstream" => format!("{MINIMAL}{line}\n"),
        _ => format!("{MINIMAL}\n[{section}]\n{line}\n"),
    }
}
