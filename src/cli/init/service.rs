//! The units that `init` installs: the shipped ones, with this program's place in them. Starts nothing.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::Manager;
use crate::{
    cli::{Exit, running},
    config::{Config, Destination, Environment, Request},
};

const USER_SERVICE: &str = include_str!("../../../systemd/user/cognito-proxy@.service");
const USER_SOCKET: &str = include_str!("../../../systemd/user/cognito-proxy@.socket");
const WITHOUT_NAMESPACES: &str = include_str!("../../../systemd/user/without-user-namespaces.conf");
const SYSTEM_SERVICE: &str = include_str!("../../../systemd/system/cognito-proxy@.service");
const SYSTEM_SOCKET: &str = include_str!("../../../systemd/system/cognito-proxy@.socket");

/// Where the Debian package puts the program; it brings its units along.
const PACKAGED: &str = "/usr/bin/cognito-proxy";

/// What `ProtectHome=yes` hides from a service of the system (systemd.exec(5)).
const HIDDEN: [&str; 3] = ["/home", "/root", "/run/user"];

/// Why no unit was installed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the unit of profile {profile} reads {}, and {} would not be read", reads.display(), file.display())]
    Elsewhere { profile: String, reads: PathBuf, file: PathBuf },
    #[error("{} is there already, and says something else", path.display())]
    Differs { path: PathBuf },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("a service of the system cannot see {}", program.display())]
    Hidden { program: PathBuf },
    #[error("it cannot be told where this program lies: {0}")]
    Program(#[source] io::Error),
    #[error("nobody's home is known: neither XDG_CONFIG_HOME nor HOME is set")]
    NoHome,
}

impl Error {
    /// The code to exit with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Elsewhere { .. } | Self::Differs { .. } | Self::Hidden { .. } => Exit::Config,
            Self::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::Refused,
            Self::Write { .. } | Self::Program(_) | Self::NoHome => Exit::Other,
        }
    }

    /// What mends it.
    pub(super) fn fix(&self) -> Option<String> {
        Some(match self {
            Self::Elsewhere { .. } => "leave --config out, and choose the file by -p NAME".into(),
            Self::Differs { path } => format!("remove it, or keep it and leave --systemd out: {}", path.display()),
            Self::Hidden { program } => {
                format!("sudo install -m755 {} /usr/local/bin/, and run this from there", program.display())
            }
            Self::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => running::with_sudo(),
            Self::Write { .. } | Self::Program(_) | Self::NoHome => return None,
        })
    }
}

/// Makes sure, before anything is written, that the unit of `profile` would read `file`, and could start this program.
pub(super) fn agrees(manager: Manager, profile: &str, file: &Path, environment: &Environment) -> Result<(), Error> {
    let destination = unnamed(profile, environment)?;
    let reads = match manager {
        Manager::User => destination.file,
        Manager::System => destination.system,
    };
    if reads != file {
        return Err(Error::Elsewhere { profile: profile.to_owned(), reads, file: file.to_owned() });
    }
    let program = program()?;
    let is_hidden = manager == Manager::System && HIDDEN.iter().any(|hidden| program.starts_with(hidden));
    if is_hidden { Err(Error::Hidden { program }) } else { Ok(()) }
}

/// Writes what is not there yet, and returns what was done and which commands come next.
pub(super) fn install(manager: Manager, config: &Config, environment: &Environment) -> Result<String, Error> {
    let program = program()?;
    let mut text = String::new();
    let units = match manager {
        Manager::User => user_units(&config.profile, environment)?,
        Manager::System => environment.etc.join("systemd/system"),
    };
    let (service, socket) = match manager {
        Manager::User => (USER_SERVICE, USER_SOCKET),
        Manager::System => (SYSTEM_SERVICE, SYSTEM_SOCKET),
    };
    if program != Path::new(PACKAGED) {
        let service = service.replace("%h/.local/bin/cognito-proxy", PACKAGED);
        let service = service.replace(PACKAGED, &program.display().to_string());
        for (name, content) in [("cognito-proxy@.service", service.as_str()), ("cognito-proxy@.socket", socket)] {
            keep(&units.join(name), content)?;
            let _ = writeln!(text, "installed {}", units.join(name).display());
        }
    }
    if manager == Manager::User {
        make_state_directory(config)?;
        if !has_user_namespaces() {
            let path = units.join("cognito-proxy@.service.d/without-user-namespaces.conf");
            keep(&path, WITHOUT_NAMESPACES)?;
            let _ = writeln!(text, "installed {}", path.display());
            text.push_str(
                "  since unprivileged user namespaces are forbidden here: the service can write where you can\n",
            );
        }
    }
    text.push_str(&steps(manager, config));
    Ok(text)
}

fn program() -> Result<PathBuf, Error> {
    std::env::current_exe().and_then(fs::canonicalize).map_err(Error::Program)
}

/// Where `profile` is looked for when nobody names a file, which is how a unit starts it.
fn unnamed(profile: &str, environment: &Environment) -> Result<Destination, Error> {
    let mut plain = environment.clone();
    plain.variables.retain(|name, _| name != "COGNITO_PROXY_CONFIG");
    let request = Request { profile: Some(profile.to_owned()), ..Request::default() };
    Destination::find(&request, &plain).map_err(|_| Error::NoHome)
}

/// The user's units lie beside the user's configurations.
fn user_units(profile: &str, environment: &Environment) -> Result<PathBuf, Error> {
    let own = unnamed(profile, environment)?.file;
    own.ancestors().nth(2).map(|directory| directory.join("systemd/user")).ok_or(Error::NoHome)
}

/// A file with this content; one that is there already with another is nobody's to change but the user's.
fn keep(path: &Path, content: &str) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Ok(mut file) => file.write_all(content.as_bytes()).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::read(path).map_err(failed)? {
            there if there == content.as_bytes() => Ok(()),
            _ => Err(Error::Differs { path: path.to_owned() }),
        },
        Err(error) => Err(failed(error)),
    }
}

/// The unit may write there and nowhere else, which takes that it is there.
fn make_state_directory(config: &Config) -> Result<(), Error> {
    let Some(directory) = config.store.path().parent() else { return Ok(()) };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| Error::Write { path: directory.to_owned(), source })
}

/// Whether this user may do what `PrivateUsers=` takes: a user namespace with a file system of its own.
fn has_user_namespaces() -> bool {
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let says = |name: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
    };
    let is_forbidden = || {
        says("kernel/apparmor_restrict_unprivileged_userns", "1")
            || says("kernel/unprivileged_userns_clone", "0")
            || says("user/max_user_namespaces", "0")
    };
    tried.map_or_else(|_| !is_forbidden(), |status| status.success())
}

fn steps(manager: Manager, config: &Config) -> String {
    let (systemctl, extra) = match manager {
        Manager::User => {
            ("systemctl --user", "  loginctl enable-linger        # to run without anybody being logged in\n")
        }
        Manager::System => ("sudo systemctl", ""),
    };
    let profile = &config.profile;
    // The socket unit holds the default port; another one is in the configuration alone.
    let socket =
        if config.listen.proxy_is_default { format!("cognito-proxy@{profile}.socket ") } else { String::new() };
    format!(
        "\nas a service:\n  {systemctl} daemon-reload\n  {systemctl} enable --now {socket}cognito-proxy@{profile}.service\n{extra}"
    )
}
