//! Where things lie: the file, the profile's name, the store and the runtime directory.

use std::{
    fs::File,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use super::{environment::Environment, place::Place, problem::Problem, reader::Reader};
use crate::shell;

/// The default profile.
const DEFAULT_PROFILE: &str = "proxy";

/// No configuration is longer; what is longer was named by mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file that was chosen, and the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) profile: String,
    /// The file, absolute; `None` where none was named and none was found.
    pub(super) file: Option<PathBuf>,
    /// Whether a person named it, so that it has to be there.
    pub(super) named: bool,
    /// Where it was looked for.
    pub(super) searched: Vec<PathBuf>,
    /// What leads a command line of another directory and environment here, each option with a space before it: empty
    /// for the default profile where the search finds its file.
    pub(super) options: String,
}

/// Finds the file by the order of `interface.md`: `--config`, `$COGNITO_PROXY_CONFIG`, the user's, the machine's.
pub(super) fn locate(
    config: Option<&Path>,
    profile: Option<&str>,
    environment: &Environment,
) -> Result<Located, Problem> {
    let from_variable = environment.text("COGNITO_PROXY_CONFIG")?.map(PathBuf::from);
    let config_place = match config {
        Some(_) => Place::Flag("--config".into()),
        None => Place::Environment("COGNITO_PROXY_CONFIG".into()),
    };
    let named = config.map(Path::to_owned).or(from_variable);
    if named.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        return Err(Problem::new("no file is named").fix("write --config FILE").at(config_place));
    }
    let profile = match (profile, environment.text("COGNITO_PROXY_PROFILE")?) {
        (Some(name), _) => valid_profile(name, Place::Flag("--profile".into()))?,
        (None, Some(name)) => valid_profile(&name, Place::Environment("COGNITO_PROXY_PROFILE".into()))?,
        (None, None) => match &named {
            Some(path) => stem(path, config_place)?,
            None => DEFAULT_PROFILE.into(),
        },
    };
    let (searched, found) = search(&profile, environment);
    let Some(path) = named else {
        let options = options(&profile, None);
        return Ok(Located { profile, file: found, named: false, searched, options });
    };
    let file = absolute(&environment.directory, &path);
    let options = options(&profile, Some(&file).filter(|file| found.as_ref() != Some(file)));
    Ok(Located { profile, file: Some(file), named: true, searched: Vec::new(), options })
}

/// Where the file of `profile` is looked for, and the first that is there.
fn search(profile: &str, environment: &Environment) -> (Vec<PathBuf>, Option<PathBuf>) {
    let below = Path::new("cognito-proxy").join(format!("{profile}.toml"));
    let searched: Vec<PathBuf> = environment
        .xdg("XDG_CONFIG_HOME", ".config")
        .into_iter()
        .chain([environment.etc.clone()])
        .map(|directory| directory.join(&below))
        .collect();
    // A file that is there but may not be looked at must be an error when it is read, not a search that goes on.
    let is_there = |path: &&PathBuf| !matches!(path.symlink_metadata(), Err(error) if is_absence(&error));
    let found = searched.iter().find(is_there).cloned();
    (searched, found)
}

/// The options for `profile`, and for the `file` that no search finds.
fn options(profile: &str, file: Option<&PathBuf>) -> String {
    // A file that is named without a profile names that as well.
    let is_implied = file.is_none_or(|file| file.file_stem().is_some_and(|stem| stem == DEFAULT_PROFILE));
    let profile = if profile == DEFAULT_PROFILE && is_implied { String::new() } else { format!(" -p {profile}") };
    let file = file.map(|file| format!(" -c {}", shell::quoted(&file.to_string_lossy())));
    profile + &file.unwrap_or_default()
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A profile names files, sockets and a unit instance, so it is a plain word.
fn valid_profile(name: &str, place: Place) -> Result<String, Problem> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) && !name.starts_with(['.', '-']) {
        return Ok(name.to_owned());
    }
    Err(Problem::new(format!("{name:?} cannot be a profile's name"))
        .fix("use letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first: -p NAME")
        .at(place))
}

fn stem(path: &Path, place: Place) -> Result<String, Problem> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    valid_profile(stem, place).map_err(|problem| Problem {
        message: format!("{:?} gives no name for a profile", path.display().to_string()),
        ..problem
    })
}

/// `path` from `directory`, without `.` and `..`. Links stay: what `/etc` links to is still a configuration of `/etc`.
pub(super) fn absolute(directory: &Path, path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in directory.join(path).components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// A path of the configuration: `~/` is the user's home, others are relative to `base`.
pub(super) fn resolve(base: &Path, path: &Path, environment: &Environment) -> PathBuf {
    match (path.strip_prefix("~"), environment.directory_in("HOME")) {
        (Ok(rest), Some(home)) => absolute(&home, rest),
        _ => absolute(base, path),
    }
}

/// Reads the file, or says why not.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: &io::Error| {
        let problem = Problem::new(format!("the configuration cannot be read: {}", reason(error)));
        match error.kind() {
            io::ErrorKind::NotFound => problem.fix("name a file that exists with --config FILE"),
            io::ErrorKind::PermissionDenied => problem.fix("let this user read it, or name another with --config FILE"),
            io::ErrorKind::IsADirectory => problem.fix("name a file in it: --config FILE"),
            _ => problem,
        }
    };
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Problem::new("the file is longer than 1 MiB, which no configuration is")
            .fix("name the right file with --config FILE"));
    }
    Ok(bytes)
}

/// What the operating system says, without its number.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        _ => error.to_string(),
    }
}

/// The directory of sockets and locks, and the record's path, by the table "Where things lie".
pub(super) fn places(located: &Located, environment: &Environment) -> (Option<PathBuf>, Option<PathBuf>) {
    let is_machines = located.file.as_ref().is_some_and(|file| file.starts_with(&environment.etc));
    let directory = if is_machines {
        Some(PathBuf::from("/var/lib/cognito-proxy"))
    } else {
        environment.xdg("XDG_STATE_HOME", ".local/state").map(|state| state.join("cognito-proxy"))
    };
    let runtime = if is_machines {
        environment.directory_in("RUNTIME_DIRECTORY").or_else(|| Some(PathBuf::from("/run/cognito-proxy")))
    } else {
        let of_user = PathBuf::from(format!("/run/user/{}", environment.uid));
        environment
            .directory_in("XDG_RUNTIME_DIR")
            .map(|runtime| runtime.join("cognito-proxy"))
            .or_else(|| environment.directory_in("RUNTIME_DIRECTORY"))
            .or_else(|| of_user.is_dir().then(|| of_user.join("cognito-proxy")))
            .or_else(|| directory.clone())
    };
    let store = directory.map(|directory| directory.join(format!("{}.json", located.profile)));
    (store, runtime)
}

/// Says that no file was found, where the environment and the flags do not make up for it.
pub(super) fn missing(reader: &mut Reader<'_>, file: &super::file::File, located: &Located, environment: &Environment) {
    let required = [&file.cognito.user_pool_id, &file.cognito.client_id, &file.upstream.url];
    let missing: Vec<_> = required.iter().filter(|key| !key.is_set()).map(|key| format!("`{}`", key.key)).collect();
    if missing.is_empty() {
        return;
    }
    let searched: Vec<_> = located.searched.iter().map(|path| path.display().to_string()).collect();
    let neither = if searched.len() > 1 { "neither" } else { "not at" };
    let problem = Problem::new(format!(
        "no configuration was found, {neither} {}; and nothing else sets {}",
        searched.join(" nor "),
        missing.join(", ")
    ));
    let here = ["proxy", located.profile.as_str()].map(|name| format!("{name}.toml"));
    let fix = match here.iter().find(|name| environment.directory.join(name).is_file()) {
        Some(name) => format!(
            "./{name} lies here, but is never read by itself, since it could be another's: name it with -c ./{name}"
        ),
        None => format!("cognito-proxy init{} writes one; or name a file with -c FILE", located.options),
    };
    reader.push(problem.fix(fix));
}
