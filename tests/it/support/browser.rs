//! A real browser, Chromium without a window, told what to do over the `DevTools` protocol on a pair of pipes.
//!
//! Chromium reads commands from descriptor 3 and writes to 4 (`--remote-debugging-pipe`), each message ended by a NUL.
//! A shell opens both, since this program may not touch descriptors by number.
#![allow(dead_code, reason = "what a test may ask of a browser, whether or not one asks yet")]

use std::{
    collections::VecDeque,
    path::Path,
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    time::timeout,
};

use super::{
    process::{Process, not_shown},
    wait::{self, BOUND},
};

/// Where it is called what.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "chromium-headless-shell"];

/// What keeps a headless browser to itself.
const QUIET: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-proxy-server",
];

/// The browser that is installed. Where none is, it is said that `what` was not shown.
fn installed(what: &str) -> Option<&'static str> {
    let found = first_on_path(&BROWSERS);
    if found.is_none() {
        not_shown(&format!("{what}: install chromium"));
    }
    found
}

/// The first of these programs that is installed.
pub(crate) fn first_on_path(names: &[&'static str]) -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&str| std::env::split_paths(&path).any(|place| place.join(name).is_file());
    names.iter().copied().find(is_there)
}

/// One browser with one page.
pub(crate) struct Browser {
    commands: pipe::Sender,
    answers: BufReader<pipe::Receiver>,
    /// What the page said that nobody has asked for yet.
    events: VecDeque<Value>,
    session: Option<String>,
    last: u64,
    process: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with an empty page. Where there is none, it is said that `what` was not shown.
    pub(crate) async fn start(what: &str) -> Option<Self> {
        let name = installed(what)?;
        let profile = tempfile::tempdir().expect("a directory");
        let [to, from] = ["commands", "answers"].map(|name| profile.path().join(name));
        for path in [&to, &from] {
            rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
                .expect("a named pipe");
        }
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"in=$1 out=$2; shift 2; exec "$@" 3<"$in" 4>"$out""#, "sh"])
            .args([&to, &from])
            .args([name, "--remote-debugging-pipe", "--hide-scrollbars"])
            .args(QUIET)
            .arg("--host-resolver-rules=MAP evil.test 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .arg("about:blank")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        // Its receiving end first: a pipe cannot be opened for writing that nobody reads.
        let answers = BufReader::new(pipe::OpenOptions::new().open_receiver(&from).expect("a pipe"));
        let process = Process::spawn(name, &mut command).expect("a shell");
        let commands = wait::until("the browser", async || pipe::OpenOptions::new().open_sender(&to).ok()).await;
        let mut browser =
            Self { commands, answers, events: VecDeque::new(), session: None, last: 0, process, _profile: profile };
        let target = browser.command("Target.createTarget", json!({"url": "about:blank"})).await;
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.command("Target.attachToTarget", attached).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Security.enable"] {
            browser.command(domain, json!({})).await;
        }
        Some(browser)
    }

    /// Tells the browser something, and returns what it answers.
    pub(crate) async fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.try_command(method, parameters).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same where it may be refused.
    async fn try_command(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last += 1;
        let id = self.last;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&message).expect("JSON");
        bytes.push(0);
        self.commands.write_all(&bytes).await.expect("the browser reads");
        loop {
            let message = self.message(method).await;
            if message["id"] == id {
                let (result, error) = (message["result"].clone(), message["error"].clone());
                return if error.is_null() { Ok(result) } else { Err(error) };
            }
            self.events.push_back(message);
        }
    }

    async fn message(&mut self, waits_for: &str) -> Value {
        let mut bytes = Vec::new();
        let read = timeout(BOUND, self.answers.read_until(0, &mut bytes)).await;
        let Ok(Ok(1..)) = read else { panic!("{waits_for}: the browser says no more:\n{}", self.process.printed()) };
        bytes.pop();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Goes to `url`, and returns once it has loaded.
    pub(crate) async fn open(&mut self, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let gone = self.command("Page.navigate", json!({"url": url})).await;
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.event("Page.loadEventFired").await;
    }

    /// The next event of this kind, past or to come.
    pub(crate) async fn event(&mut self, method: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["method"] == method) {
                return self.events.remove(at).expect("found")["params"].clone();
            }
            let message = self.message(method).await;
            self.events.push_back(message);
        }
    }

    /// What an expression of JavaScript comes to, in the page; promises are awaited.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.command("Runtime.evaluate", asked).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true. While one page takes another's place there is nothing to look at.
    pub(crate) async fn until(&mut self, expression: &str) {
        let looked = format!("(() => {{ try {{ return {expression}; }} catch {{ return null; }} }})()");
        let asked = json!({"expression": looked, "returnByValue": true});
        let mut seen = Value::Null;
        let is_so = async || {
            seen = self.try_command("Runtime.evaluate", asked.clone()).await.unwrap_or_default()["result"]["value"]
                .clone();
            (seen == true).then_some(())
        };
        if wait::within(BOUND, is_so).await.is_none() {
            let text = self.evaluate("document.body.innerText").await;
            panic!("waited in vain for {expression} ({seen}) in\n{}", text.as_str().unwrap_or_default());
        }
    }

    /// Everything that the page was refused or that failed in it since this was asked last: violations of its policy,
    /// errors of its script.
    pub(crate) async fn complaints(&mut self) -> Vec<String> {
        // An answer comes after every event before it.
        self.evaluate("1").await;
        let bad = |event: &Value| match event["method"].as_str() {
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            _ => false,
        };
        self.events.drain(..).filter(|event| bad(event)).map(|event| event["params"].to_string()).collect()
    }

    /// How large the page's window is, and whether it is dark.
    pub(crate) async fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.command("Emulation.setDeviceMetricsOverride", size).await;
        // Without motion: a colour on its way to another is no colour to judge.
        let features = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")]
            .map(|(name, value)| json!({"name": name, "value": value}));
        self.command("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Writes a picture of the whole page.
    pub(crate) async fn picture(&mut self, path: &Path) {
        let asked = json!({"format": "png", "captureBeyondViewport": true});
        let taken = self.command("Page.captureScreenshot", asked).await;
        let picture = STANDARD.decode(taken["data"].as_str().expect("data")).expect("base64");
        std::fs::write(path, picture).expect("room for a picture");
    }
}
