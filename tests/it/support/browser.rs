//! A real browser: which one is installed, and a headless one that is driven by its own debugging protocol.
//!
//! The protocol runs over a pair of pipes (`--remote-debugging-pipe`), so no port is fought over.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    process::{Process, not_shown},
    wait,
};

/// Where it is called what.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "chromium-headless-shell"];

/// What keeps a headless browser to itself.
pub(crate) const QUIET: [&str; 8] = [
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
pub(crate) fn installed(what: &str) -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = BROWSERS.into_iter().find(|name| std::env::split_paths(&path).any(|place| place.join(name).is_file()));
    if found.is_none() {
        not_shown(&format!("{what}: install chromium"));
    }
    found
}

/// A browser with one tab, closed when dropped.
pub(crate) struct Browser {
    orders: File,
    answers: mpsc::UnboundedReceiver<Value>,
    tab: Option<String>,
    last: u64,
    // In this order: the process ends before the directory goes that it writes to.
    _process: Process,
    _directory: TempDir,
}

impl Browser {
    /// Starts `program`.
    pub(crate) async fn start(program: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let pipe = |name: &str| {
            let path = directory.path().join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
            // For both, so that neither end waits for the other to open it.
            let file = OpenOptions::new().read(true).write(true).open(&path).expect("a pipe");
            (path, file)
        };
        let ((orders_path, orders), (answers_path, answers)) = (pipe("orders"), pipe("answers"));
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$ORDERS\" 4>\"$ANSWERS\"", program])
            .args(QUIET)
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
            .arg("about:blank")
            .env("ORDERS", orders_path)
            .env("ANSWERS", answers_path)
            .stdin(Stdio::null());
        let process = Process::spawn(program, &mut command).expect("a shell");
        let (tell, heard) = mpsc::unbounded_channel();
        // Reading a pipe blocks; the thread ends with the test's process at the latest.
        thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let parsed = serde_json::from_slice(&message).unwrap_or(Value::Null);
                if tell.send(parsed).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { orders, answers: heard, tab: None, last: 0, _process: process, _directory: directory };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"})).await;
        let attached = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", attached).await;
        browser.tab = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Goes to `address`.
    pub(crate) async fn visit(&mut self, address: &str) {
        let gone = self.ask("Page.navigate", json!({"url": address})).await;
        assert_eq!(gone["errorText"], Value::Null, "{address}");
    }

    /// Waits until `script` is true in the page.
    pub(crate) async fn until(&mut self, script: &str) {
        wait::until(script, async || (self.run(script).await == Value::Bool(true)).then_some(())).await;
    }

    /// The value of `script` in the page; null while one page takes another's place.
    pub(crate) async fn run(&mut self, script: &str) -> Value {
        let told = self.ask("Runtime.evaluate", json!({"expression": script, "returnByValue": true})).await;
        told["result"]["value"].clone()
    }

    /// A picture of the page as a PNG, at this width and in the dark or the light scheme.
    pub(crate) async fn picture(&mut self, width: u32, scheme: &str) -> Vec<u8> {
        let screen = json!({"width": width, "height": 640, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", screen).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features).await;
        let picture = self.ask("Page.captureScreenshot", json!({"format": "png"})).await;
        STANDARD.decode(picture["data"].as_str().expect("a picture")).expect("base64")
    }

    /// One call; null where the browser refuses it.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut order = json!({"id": self.last, "method": method, "params": params});
        if let Some(tab) = &self.tab {
            order["sessionId"] = json!(tab);
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).expect("the browser reads");
        let last = self.last;
        let answer = async {
            loop {
                let message = self.answers.recv().await.expect("the thread reads");
                if message["id"] == last {
                    return message["result"].clone();
                }
            }
        };
        wait::bounded(method, answer).await
    }
}
