//! Other people's Cognito: independent implementations that keep the tests honest about the wire.
//!
//! They are installed by `tests/run` below `target/emulators`; a test that needs one which is not there fails and says
//! so. Each [`Emulator`] is a process of its own on a free port, with a pool, four app clients and one user, and ends
//! with the value. What no emulator models (the refresh token's end, rotation) is `devpool`'s affair.

mod cognito_local;
mod ministack;
mod pool;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(crate) use cognito_local::CognitoLocal;
pub(crate) use ministack::MiniStack;
pub(crate) use pool::{AppClient, Refusal};
use serde_json::Value;
use tempfile::TempDir;

use super::{http, process::Process, proxy::Home, wait};

/// How often an emulator is started again when another process took its port first.
const ATTEMPTS: usize = 5;

/// A running emulator with a seeded pool.
pub(crate) struct Emulator {
    /// What `cognito.endpoint` is set to.
    pub(crate) endpoint: String,
    pub(crate) pool_id: String,
    pub(crate) clients: Clients,
    pub(crate) jwks_url: String,
    /// What its tokens name as `iss`.
    pub(crate) issuer: String,
    pub(crate) username: String,
    pub(crate) password: String,
    address: SocketAddr,
    // In this order: the process ends before the directory goes that it writes to.
    _process: Process,
    _directory: TempDir,
}

/// The app clients that every emulator has.
pub(crate) struct Clients {
    /// Without a secret; ID and access tokens live an hour.
    pub(crate) public: AppClient,
    /// With a secret.
    pub(crate) secret: AppClient,
    /// Without a secret; ID and access tokens live ten seconds, the refresh token is issued for a minute.
    pub(crate) short: AppClient,
    /// Without a secret; created with refresh-token rotation and without `ALLOW_REFRESH_TOKEN_AUTH`.
    pub(crate) rotating: AppClient,
}

impl Emulator {
    /// Signs the user in with `USER_PASSWORD_AUTH` and returns the answer as it came, which is what
    /// `aws cognito-idp initiate-auth` prints.
    pub(crate) async fn sign_in(&self, client: &AppClient) -> Value {
        pool::sign_in(self.address, client, &self.username, &self.password)
            .await
            .unwrap_or_else(|refusal| panic!("sign-in refused: {refusal:?}"))
    }

    /// The section of `proxy.toml` for one of its clients. A client secret is written to a file in `home`.
    pub(crate) fn section(&self, client: &AppClient, home: &Home) -> String {
        let Self { endpoint, pool_id, issuer, .. } = self;
        let secret_file = client.secret.as_ref().map_or_else(String::new, |secret| {
            let path = home.write("client-secret", secret).display().to_string();
            format!("client_secret_file = {path:?}\n")
        });
        format!(
            "[cognito]\nuser_pool_id = {pool_id:?}\nclient_id = {:?}\nregion = \"us-east-1\"\n\
             endpoint = {endpoint:?}\nissuer = {issuer:?}\n{secret_file}",
            client.id
        )
    }

    /// One call of the Cognito API, as the AWS CLI makes it with IAM credentials.
    pub(crate) async fn call(&self, operation: &str, body: &Value) -> Result<Value, Refusal> {
        pool::call(self.address, operation, body).await
    }
}

/// What an emulator is, beside its command line.
struct Kind {
    name: &'static str,
    /// The program that must be there, below `target/emulators`.
    program: &'static str,
    /// Where it answers 200 once it can serve.
    health: &'static str,
    /// How it is started on a port, in a directory of its own.
    command: fn(program: &Path, port: u16, directory: &Path) -> Command,
    /// What its tokens name as `iss`.
    issuer: fn(endpoint: &str, pool_id: &str) -> String,
}

impl Kind {
    async fn start(&self) -> Emulator {
        let program = installed(self.program);
        for _ in 0..ATTEMPTS {
            let directory = tempfile::tempdir().expect("a directory");
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let mut command = (self.command)(&program, address.port(), directory.path());
            let mut process = Process::spawn(self.name, isolated(&mut command, directory.path()))
                .unwrap_or_else(|| not_installed(&program));
            if self.is_serving(address, &mut process).await {
                return self.seeded(address, process, directory).await;
            }
        }
        panic!("{} found no port in {ATTEMPTS} attempts", self.name);
    }

    /// Whether it serves; false where it ended because its port was taken between the choice and the bind.
    async fn is_serving(&self, address: SocketAddr, process: &mut Process) -> bool {
        let serves = wait::until(&format!("{} to serve", self.name), async || {
            if process.ended().is_some() {
                return Some(false);
            }
            // Only a listener that is there is asked; the answer, not the open port, says that it can serve.
            tokio::net::TcpStream::connect(address).await.ok()?;
            (http::get(address, self.health).await.status() == 200).then_some(true)
        })
        .await;
        let printed = process.printed();
        assert!(
            serves || ["EADDRINUSE", "in use"].iter().any(|sign| printed.contains(sign)),
            "{} ended at once; if its installation is broken, remove target/emulators and run tests/run\n{printed}",
            self.name
        );
        serves
    }

    async fn seeded(&self, address: SocketAddr, process: Process, directory: TempDir) -> Emulator {
        let endpoint = format!("http://{address}");
        let (pool_id, clients) = pool::seed(address).await;
        Emulator {
            jwks_url: format!("{endpoint}/{pool_id}/.well-known/jwks.json"),
            issuer: (self.issuer)(&endpoint, &pool_id),
            endpoint,
            pool_id,
            clients,
            username: pool::USERNAME.to_owned(),
            password: pool::PASSWORD.to_owned(),
            address,
            _process: process,
            _directory: directory,
        }
    }
}

/// The environment of the test would decide about regions, credentials and proxies; the emulator gets none of it.
fn isolated<'a>(command: &'a mut Command, directory: &Path) -> &'a mut Command {
    let explicit: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", directory)
        .envs(explicit)
        .current_dir(directory)
        .stdin(Stdio::null())
}

fn installed(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/emulators").join(program);
    if !path.exists() {
        not_installed(&path);
    }
    path
}

fn not_installed(program: &Path) -> ! {
    panic!("{} is not installed: run tests/run", program.display())
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

#[test]
#[should_panic(expected = "is not installed: run tests/run")]
fn an_emulator_that_is_not_installed_fails_the_test() {
    installed("no-such-emulator/bin/start");
}
