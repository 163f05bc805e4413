//! `run`: serves until SIGTERM.

use std::io;

use clap::Args;
use tokio::{
    runtime::LocalRuntime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{Exit, Global, output, running};
use crate::{
    app::{self, App},
    clock::SystemClock,
    config::{Config, Environment, Override, Request},
    store::LoadError,
};

/// `run`'s own options, each of which sets a key.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// Listen here instead of at `listen.proxy`; may be given more than once
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Send requests here instead of to `upstream.url`
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// How many worker threads; 0 for one per core, at most 4
    #[arg(long, value_name = "N")]
    workers: Option<String>,
}

impl RunArgs {
    /// The keys that these options set.
    fn overrides(&self) -> Vec<Override> {
        let mut overrides = Vec::new();
        if !self.listen.is_empty() {
            overrides.push(Override::list("--listen", "listen.proxy", self.listen.iter().cloned()));
        }
        if let Some(url) = &self.upstream {
            overrides.push(Override::text("--upstream", "upstream.url", url));
        }
        if let Some(workers) = &self.workers {
            overrides.push(Override::text("--workers", "runtime.workers", workers));
        }
        overrides
    }
}

/// Loads the configuration and serves.
pub(super) fn run(global: &Global, args: &RunArgs) -> Exit {
    // Before anything secret is read. Neither is worth refusing to serve for.
    let (sealed, raised) = (app::process::seal(), app::process::raise_open_files());
    let config = match global.load(args.overrides()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let logging = global.start_logging(config.log);
    if let Err(error) = sealed {
        tracing::warn!(%error, "the memory of this process may end up in a core file, and its user's processes may read it");
    }
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let request = global.request(args.overrides());
    let reload = Box::new(move || {
        let config = load_again(&request)?;
        logging.set_level(config.log.level);
        Ok(config)
    });
    match serve(config, reload) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            output::error(global.is_styled(), &error.to_string(), None);
            exit_of(&error)
        }
    }
}

/// Builds, then serves until a signal. A second one does not wait for the drain.
fn serve(config: Config, reload: app::Reload) -> Result<(), app::Error> {
    let refused = |source: io::Error| app::Error::System { what: "a runtime", source };
    let runtime = LocalRuntime::new().map_err(refused)?;
    let served = runtime.block_on(async {
        // Before anybody can connect: whoever sees the socket may send a signal.
        let mut signals = Signals::new().map_err(refused)?;
        let ignored = Ignored::new().map_err(refused)?;
        let app = App::build(config, std::sync::Arc::new(SystemClock))?;
        let (shutdown, hurry) = (CancellationToken::new(), CancellationToken::new());
        let (ended, hurried) = (shutdown.clone(), hurry.clone());
        let listening = tokio::spawn(async move {
            signals.next().await;
            ended.cancel();
            signals.next().await;
            hurried.cancel();
        });
        let ignoring = tokio::spawn(ignored.tell());
        let served = app.run(reload, shutdown, hurry).await;
        listening.abort();
        ignoring.abort();
        served
    });
    // All that matters has ended. What may still block is a lookup of a name that nobody answers, for half a minute.
    runtime.shutdown_background();
    served
}

/// SIGTERM and SIGINT. None that comes between two questions is lost.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes at the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGUSR1 and SIGUSR2 mean nothing here. What rotates logs sends them to every server alike, and a process that says
/// nothing of them ends.
struct Ignored {
    first: Signal,
    second: Signal,
}

impl Ignored {
    fn new() -> io::Result<Self> {
        Ok(Self { first: signal(SignalKind::user_defined1())?, second: signal(SignalKind::user_defined2())? })
    }

    /// Says so at each. Never completes.
    async fn tell(mut self) {
        loop {
            let signal = tokio::select! {
                _ = self.first.recv() => "SIGUSR1",
                _ = self.second.recv() => "SIGUSR2",
            };
            tracing::warn!(signal, "signal ignored: SIGHUP reloads, SIGTERM stops");
        }
    }
}

/// The same configuration once more; where it is wrong, every mistake as text.
fn load_again(request: &Request) -> Result<Config, String> {
    Config::load(request, &Environment::current()).map_err(|error| error.render(false, output::width()))
}

fn exit_of(error: &app::Error) -> Exit {
    match error {
        app::Error::Store(LoadError::Untrusted(_) | LoadError::Denied { .. }) => Exit::Refused,
        app::Error::Running(error) => running::exit_of_unknown(error),
        app::Error::Upstream(_) | app::Error::Users(_) => Exit::Config,
        app::Error::Store(_)
        | app::Error::Listen(_)
        | app::Error::Passed(_)
        | app::Error::Control(_)
        | app::Error::System { .. } => Exit::Other,
    }
}
