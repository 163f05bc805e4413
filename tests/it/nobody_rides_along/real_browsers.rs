//! The same with real browsers, which send what they send and not what a test thinks they do: a hostile page tries
//! every way in, also after DNS rebinding, and a listed page works.
//!
//! The pages report by themselves, so that a browser need only be started. Where one is not installed, that is said.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{
    page::{HOSTILE, LISTED, Site},
    scene::Scene,
};
use crate::support::{
    browser::first_on_path,
    process::{Process, not_shown},
    wait,
};

/// Everything that a page can be refused for.
const CODES: [&str; 3] = ["host_not_allowed", "origin_not_allowed", "cross_site"];

/// How many requests the hostile page makes of the proxy.
const ATTEMPTS: usize = 22;

/// Preferences of a Firefox that resolves `evil.test` to this machine, talks to nobody else, and leaves the defence to
/// the proxy: it asks for no leave to reach this machine, and does not try `https` first.
const FIREFOX: &str = r#"
user_pref("network.dns.localDomains", "evil.test");
user_pref("network.proxy.type", 0);
user_pref("network.trr.mode", 5);
user_pref("network.lna.enabled", false);
user_pref("network.lna.blocking", false);
user_pref("dom.security.https_first", false);
user_pref("dom.security.https_only_mode", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.aboutwelcome.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("app.update.disabledForTesting", true);
user_pref("services.settings.server", "data:,");
user_pref("extensions.update.enabled", false);
"#;

/// A kind of browser.
#[derive(Clone, Copy, Debug)]
enum Browser {
    Chromium,
    Firefox,
}

impl Browser {
    /// What it is called where.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium", "chromium-browser", "chromium-headless-shell"],
            Self::Firefox => &["firefox-esr", "firefox"],
        }
    }

    /// The program, where it is installed.
    fn program(self) -> Option<&'static str> {
        let found = first_on_path(self.names());
        if found.is_none() {
            not_shown(&format!("what a page can do in {self:?}: install {}", self.names()[0]));
        }
        found
    }

    /// Opens `url` in a browser of its own, whose profile is `profile`.
    fn open(self, program: &str, profile: &Path, url: &str) -> Process {
        let mut command = Command::new(program);
        match self {
            Self::Chromium => {
                command
                    .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
                    .args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"])
                    .arg("--host-resolver-rules=MAP evil.test 127.0.0.1")
                    .arg(format!("--user-data-dir={}", profile.display()));
            }
            Self::Firefox => {
                fs::write(profile.join("user.js"), FIREFOX).expect("a file");
                command.args(["--headless", "--no-remote", "--profile"]).arg(profile);
                // It refuses to run for a user in another's home, and brings its own sandbox, which containers forbid.
                command.env("HOME", profile).env("MOZ_DISABLE_CONTENT_SANDBOX", "1").env_remove("DISPLAY");
            }
        }
        Process::spawn(program, command.arg(url).stdin(Stdio::null())).expect("found before")
    }
}

#[tokio::test]
async fn a_hostile_page_in_chromium_gets_nothing_and_a_listed_one_works() {
    pages_in(Browser::Chromium).await;
}

#[tokio::test]
async fn a_hostile_page_in_firefox_gets_nothing_and_a_listed_one_works() {
    pages_in(Browser::Firefox).await;
}

async fn pages_in(browser: Browser) {
    let Some(program) = browser.program() else { return };
    let (hostile, listed) = (Site::listen().await, Site::listen().await);
    let origin = format!("http://localhost:{}", listed.local_addr().expect("bound").port());
    let scene = Scene::with(&format!("guard.origins = [{origin:?}]")).await;

    let mut hostile = Site::serve(hostile, HOSTILE, &scene);
    // Another site, and the same site from another port.
    for host in ["evil.test", "localhost"] {
        gets_nothing(browser, program, host, &mut hostile, &scene).await;
    }

    let mut listed = Site::serve(listed, LISTED, &scene);
    let profile = TempDir::new().expect("a directory");
    let running = browser.open(program, profile.path(), &format!("{origin}/"));
    let report = listed.report(&running).await;
    assert_eq!(report, serde_json::json!({"get": "ok", "cookie": "ok", "put": "ok"}));
    let heard = scene.upstream.heard();
    assert_eq!(heard.heads.len(), 3, "the preflight was not for the upstream: {:?}", heard.heads);
    assert!(heard.heads[2].starts_with("PUT /orders HTTP/1.1\r\n"), "{:?}", heard.heads);
    assert_eq!(heard.values("authorization"), [scene.bearer()]);
    assert_eq!(heard.values("cookie"), ["sid=1"], "credentials are sent");
}

async fn gets_nothing(browser: Browser, program: &str, host: &str, site: &mut Site, scene: &Scene) {
    let mut before = Vec::new();
    for code in CODES {
        before.push(scene.refused_total(code).await);
    }
    let profile = TempDir::new().expect("a directory");
    let running = browser.open(program, profile.path(), &format!("http://{host}:{}/", site.address.port()));
    let report = site.report(&running).await;
    let tried = report.as_object().expect("an object").len();
    assert_eq!(tried, ATTEMPTS, "{host}: {report}");
    for name in [
        "fetch",
        "fetch with credentials",
        "fetch with preflight",
        "fetch by redirect",
        "post by redirect",
        "null origin",
        "rebound fetch",
        "status",
    ] {
        assert_eq!(report[name], "TypeError", "{host}: {name}: {report}");
    }
    for name in [
        "socket",
        "rebound socket",
        "events",
        "image",
        "image by redirect",
        "image of a rooted name",
        "script",
        "style",
    ] {
        assert_eq!(report[name], "failed", "{host}: {name}: {report}");
    }
    // The page sees that an answer came, and nothing of it; that it is a refusal is seen below.
    for name in ["no-cors GET", "no-cors POST"] {
        assert_eq!(report[name], "opaque", "{host}: {name}: {report}");
    }
    // What a page does not wait for may come later than its report.
    wait::until(&format!("every attempt of {host} to be refused: {report}"), async || {
        let mut refused = 0;
        for (code, before) in CODES.iter().zip(&before) {
            let more = scene.refused_total(code).await - before;
            if more == 0 {
                return None;
            }
            refused += more;
        }
        (refused >= ATTEMPTS as u64).then_some(())
    })
    .await;
    assert_eq!(scene.upstream.heard().connections, 0, "{host}: {:?}", scene.upstream.heard().heads);
}
