//! Whoever looks at the session sees it as it is: the events tell each change, and the page, in a real browser, counts
//! its clocks down, shows changes without being loaded again, and does what its buttons say, which no other page can.

use std::{path::PathBuf, time::Duration};

use cognito_proxy::{
    clock::{Clock as _, SystemClock, UnixTime},
    devpool::{Fault, Scope, Settings},
};
use serde_json::Value;

use crate::support::{
    browser::Browser,
    http::{self as wire, Connection},
    proxy::{Home, Proxy},
    stage::{Stage, validity},
    wait,
};

const WHAT: &str = "what the status page does in a real browser";

/// Reads server-sent events from a connection on which they were asked for.
struct Events {
    connection: Connection,
    text: String,
}

impl Events {
    async fn of(mut connection: Connection) -> Self {
        connection.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let head = connection.receive_head().await;
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        Self { connection, text: String::new() }
    }

    /// The next status document; comments are passed over.
    async fn next(&mut self) -> Value {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                if let Some(data) = data {
                    return serde_json::from_str(data).expect("JSON");
                }
            }
            let chunk = self.connection.receive_chunk().await.expect("the events go on");
            self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    /// Waits for a document like that.
    async fn until(&mut self, what: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        wait::bounded(what, async {
            loop {
                let document = self.next().await;
                if is_met(&document) {
                    return document;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn events_tell_each_change_on_both_listeners_and_end_with_the_proxy() {
    let stage = Stage::new().await;
    stage.configure("session.hold = \"30s\"");
    let proxy = stage.home.serve_with(&[]).await;
    let mut over_tcp = Events::of(Connection::to(proxy.admin()).await).await;
    let mut over_socket = Events::of(Connection::to_socket(&stage.home.control_socket()).await).await;
    for events in [&mut over_tcp, &mut over_socket] {
        assert_eq!(events.next().await, proxy.status().await, "the document at once");
    }
    stage.signed_in().await;
    for events in [&mut over_tcp, &mut over_socket] {
        let fresh = events.until("the sign-in", |status| status["state"] == "fresh").await;
        assert_eq!(fresh["identity"]["username"], "alice", "{fresh}");
    }
    // A listener that stays does not keep the proxy from ending: what is in flight would have 20 s.
    let began = std::time::Instant::now();
    let stopped = proxy.stop().await;
    assert_eq!(stopped.code(), 0);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(!stopped.stderr.contains("cut off"), "{}", stopped.stderr);
    assert_eq!(over_tcp.connection.receive_chunk().await, None, "the last chunk");
}

#[tokio::test]
async fn too_many_listeners_are_told_and_one_that_leaves_makes_room() {
    let stage = Stage::new().await;
    stage.configure("");
    let proxy = stage.home.serve_with(&[]).await;
    let mut listeners = Vec::new();
    for _ in 0..16 {
        listeners.push(Events::of(Connection::to(proxy.admin()).await).await);
    }
    let refused = wire::get(proxy.admin(), "/events").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    listeners.pop();
    wait::until("room", async || {
        let mut connection = Connection::to(proxy.admin()).await;
        connection.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        (connection.receive_head().await.status == 200).then_some(())
    })
    .await;
    proxy.stop().await;
}

/// Where pictures of the page are kept, if anybody wants them.
fn pictures() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("COGNITO_PROXY_TEST_PICTURES")?);
    std::fs::create_dir_all(&directory).expect("a directory");
    Some(directory)
}

/// Takes pictures at three widths, light and dark, and looks at what a machine can look at.
async fn look(browser: &mut Browser, proxy: &Proxy, name: &str) {
    browser.open(&page_of(proxy)).await;
    browser.until("document.getElementById('link').textContent.includes('live')").await;
    for (width, scheme) in
        [(360, "light"), (360, "dark"), (768, "light"), (768, "dark"), (1280, "light"), (1280, "dark")]
    {
        browser.look(width, 900, scheme).await;
        let wide = browser.evaluate("document.documentElement.scrollWidth").await;
        assert!(wide.as_u64().expect("pixels") <= u64::from(width), "{name} does not fit {width}: {wide}");
        if let Some(directory) = pictures() {
            browser.picture(&directory.join(format!("{name}-{width}-{scheme}.png"))).await;
        }
    }
    browser.look(1280, 900, "light").await;
    let faults = browser.evaluate(ACCESSIBILITY).await;
    assert_eq!(faults, serde_json::json!([]), "{name}");
    assert_eq!(browser.complaints().await, Vec::<String>::new(), "{name}");
}

fn page_of(proxy: &Proxy) -> String {
    format!("http://{}/status", proxy.admin())
}

/// What is wrong with the page for whoever does not see it, or uses no mouse; and each text's contrast as it is drawn.
const ACCESSIBILITY: &str = r"(() => {
    const faults = [], all = query => [...document.querySelectorAll(query)];
    const wants = (so, fault) => { if (!so) faults.push(fault); };
    wants(document.documentElement.lang === 'en', 'no language');
    wants(document.title.length > 10, 'no title');
    for (const landmark of ['header', 'main', 'footer', 'nav']) wants(all(landmark).length === 1, `not one ${landmark}`);
    wants(all('h1').length === 1, 'not one h1');
    let level = 0;
    for (const heading of all('h1, h2, h3')) {
        const own = Number(heading.tagName[1]);
        wants(own <= level + 1, `${heading.textContent} skips a level`);
        level = own;
    }
    for (const section of all('section')) {
        const name = document.getElementById(section.getAttribute('aria-labelledby'));
        wants(name && name.textContent.trim(), 'a section without a name');
    }
    const ids = all('[id]').map(element => element.id);
    wants(new Set(ids).size === ids.length, `an id twice: ${ids}`);
    for (const picture of all('svg')) wants(picture.getAttribute('aria-hidden') === 'true', 'a picture that is read');
    for (const button of all('button')) {
        wants(button.textContent.trim(), 'a button without a name');
        const { height } = button.getBoundingClientRect();
        wants(height >= 24, `a button of ${height} px`);
        button.focus();
        wants(document.activeElement === button, 'a button that the keyboard does not reach');
    }
    for (const clock of all('[role=timer]')) {
        wants(clock.getAttribute('aria-live') === 'off', 'a clock that is read each second');
        wants(!clock.closest('[role=status], [aria-live=polite], [aria-live=assertive]'), 'a clock in a live region');
    }
    wants(all('.said[role=status] h1').length === 1, 'changes of the state are not told');
    const numbers = colour => colour.match(/[\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map(value => value / 255)
        .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    for (const element of all('body *')) {
        const text = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (!text || !element.getClientRects().length || ['SCRIPT', 'NOSCRIPT'].includes(element.tagName)) continue;
        let ground = element, colour;
        do {
            colour = numbers(getComputedStyle(ground).backgroundColor);
            ground = ground.parentElement;
        } while (colour.length === 4 && colour[3] === 0 && ground);
        const [one, other] = [luminance(colour), luminance(numbers(getComputedStyle(element).color))];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        wants(ratio >= 4.5, `contrast ${ratio.toFixed(2)} of ${element.textContent.slice(0, 40)}`);
    }
    return faults;
})()";

const TITLE: &str = "document.getElementById('state').textContent";

async fn titled(browser: &mut Browser, title: &str) {
    browser.until(&format!("{TITLE} === {title:?}")).await;
}

#[tokio::test]
async fn the_page_shows_every_state_and_each_change_without_being_loaded_again() {
    let Some(mut browser) = Browser::start(WHAT).await else { return };
    let stage = Stage::lasting(600).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"\nwarn.before = [\"25m\", \"5m\"]\nsession.hold = \"60s\"");
    let proxy = stage.home.serve_with(&[]).await;
    look(&mut browser, &proxy, "signed-out").await;
    titled(&mut browser, "Nobody is signed in").await;
    browser.evaluate("window.loadedOnce = true").await;

    stage.signed_in().await;
    titled(&mut browser, "Signed in").await;
    assert_eq!(browser.evaluate("window.loadedOnce").await, true, "it was loaded again");
    let left = "Number(document.querySelector('#clock-id-token .left').textContent.match(/(\\d+)s/)[1])";
    let before = browser.evaluate(left).await;
    browser.until(&format!("{left} !== {before}")).await;
    look(&mut browser, &proxy, "fresh").await;

    stage.pool.fail_always(Scope::Refresh, Fault::status(500));
    drop(stage.home.run(&["token", "--min-ttl", "10m"]).await);
    titled(&mut browser, "Refreshing fails").await;
    look(&mut browser, &proxy, "failing").await;
    stage.pool.heal();
    titled(&mut browser, "Signed in").await;

    // A session that began 40 minutes ago, then one of 52.
    for (minutes, title, name) in
        [(40, "The session has an end in sight", "notice"), (52, "The session is about to end", "urgent")]
    {
        let tokens = stage.sign_in();
        stage.pool.age(Settings::USER, Duration::from_secs(minutes * 60));
        assert_eq!(stage.import(&tokens).await.code(), 3);
        titled(&mut browser, title).await;
        look(&mut browser, &proxy, name).await;
    }
    proxy.stop().await;
    browser.until("document.body.classList.contains('stale')").await;
    browser.until("document.getElementById('link').textContent.includes('does not answer')").await;
}

#[tokio::test]
async fn an_ended_session_shows_who_waits() {
    let Some(mut browser) = Browser::start(WHAT).await else { return };
    let stage = Stage::lasting(60).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"\nsession.hold = \"60s\"");
    stage.signed_in_with(60, 8).await;
    stage.pool.sign_out(Settings::USER);
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("session ended").await;
    browser.open(&page_of(&proxy)).await;
    titled(&mut browser, "The session has ended").await;
    browser.until("document.querySelector('.said p').textContent.includes('last token is still good')").await;
    browser.until("document.querySelector('.said p').textContent.includes('Nothing can be injected')").await;
    let mut waiting = proxy.connect().await;
    waiting.send("GET /orders HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    browser.until("document.body.textContent.includes('One request waits')").await;
    look(&mut browser, &proxy, "ended").await;
    stage.pool.set_validity(Settings::CLIENT, validity(60, 3600));
    stage.signed_in().await;
    assert_eq!(waiting.receive().await.status, 200);
    browser.open(&page_of(&proxy)).await;
    titled(&mut browser, "Signed in").await;
    proxy.stop().await;
}

/// Posts what the page's own button would, from whatever page is open: by script and by form, with the right token.
const FORGED: &str = r"(async () => {
    const body = new URLSearchParams({ page_token: 'TOKEN' });
    try { await fetch('ADMIN/unlock', { method: 'POST', mode: 'no-cors', body }); } catch {}
    const frame = document.createElement('iframe');
    frame.name = 'target';
    document.body.append(frame);
    const form = document.createElement('form');
    Object.assign(form, { method: 'POST', action: 'ADMIN/unlock', target: 'target' });
    form.append(Object.assign(document.createElement('input'), { name: 'page_token', value: 'TOKEN' }));
    document.body.append(form);
    const loaded = new Promise(done => { frame.onload = done; });
    form.submit();
    await loaded;
})()";

#[tokio::test]
async fn the_lock_is_opened_by_the_pages_button_and_by_no_other_page() {
    let Some(mut browser) = Browser::start(WHAT).await else { return };
    let stage = Stage::new().await;
    let proxy = stage.serve("session.idle_lock = \"1s\"").await;
    let locked = |status: &Value| (status["state"] == "locked").then_some(());
    proxy.status_that("the lock", locked).await;
    look(&mut browser, &proxy, "locked").await;
    let token = browser.evaluate("document.querySelector('#unlock').form.elements.page_token.value").await;
    let token = token.as_str().expect("a token");

    // Two pages that are not ours, which even know the token: another site, and another port of this machine.
    let forged = FORGED.replace("TOKEN", token).replace("ADMIN", &format!("http://{}", proxy.admin()));
    for host in ["evil.test", "127.0.0.1"] {
        browser.open(&format!("http://{host}:{}/orders", proxy.address().port())).await;
        let before = refused(&proxy).await;
        browser.evaluate(&forged).await;
        assert!(refused(&proxy).await >= before + 2, "{host}: both were refused");
        proxy.status_that("the lock", locked).await;
    }

    assert_ne!(browser.complaints().await, Vec::<String>::new(), "the other pages' own");
    browser.open(&page_of(&proxy)).await;
    browser.evaluate("document.getElementById('unlock').click()").await;
    browser.until("document.getElementById('answer').textContent === 'Unlocked.'").await;
    browser.until("document.querySelector('.lately').textContent.includes('Unlocked')").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    proxy.stop().await;
}

/// How many requests the guard has refused.
async fn refused(proxy: &Proxy) -> u64 {
    let page = wire::get(proxy.admin(), "/metrics").await;
    let page = String::from_utf8_lossy(page.body()).into_owned();
    let of = |line: &str| line.strip_prefix("cognito_proxy_refused_total{")?.rsplit(' ').next()?.parse::<u64>().ok();
    page.lines().filter_map(of).sum()
}

#[tokio::test]
async fn the_page_works_without_javascript() {
    let Some(mut browser) = Browser::start(WHAT).await else { return };
    let stage = Stage::new().await;
    let proxy = stage.serve("session.idle_lock = \"1s\"").await;
    proxy.status_that("the lock", |status| (status["state"] == "locked").then_some(())).await;
    browser.command("Emulation.setScriptExecutionDisabled", serde_json::json!({"value": true})).await;
    browser.open(&page_of(&proxy)).await;
    titled(&mut browser, "Locked").await;
    let refresh = browser.evaluate("document.querySelector('meta[http-equiv=refresh]') !== null").await;
    assert_eq!(refresh, true, "it loads itself again");
    browser.evaluate("document.getElementById('unlock').click()").await;
    // By a redirect to the page, which so can be loaded again without doing it again.
    browser.until("document.querySelector('.lately').textContent.includes('Unlocked')").await;
    assert_eq!(browser.evaluate("location.pathname").await, "/status");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    proxy.stop().await;
}

#[tokio::test]
async fn a_click_on_sign_in_signs_in() {
    let Some(mut browser) = Browser::start(WHAT).await else { return };
    // The demo's own sign-in needs nobody who types a password.
    let home = Home::new();
    let demo = Proxy::started(&mut home.command(&["demo", "--listen", "127.0.0.1:0"])).await;
    browser.open(&page_of(&demo)).await;
    titled(&mut browser, "Signed in").await;
    let sign_ins = "document.querySelector('.lately').textContent.split(' signed in').length";
    // A sign-in is known by its second.
    let signed_in: UnixTime =
        serde_json::from_value(demo.status().await["id_token"]["issued_at"].clone()).expect("a time");
    wait::until("another second", async || (SystemClock.now().wall.as_secs() > signed_in.as_secs()).then_some(()))
        .await;
    let before = browser.evaluate(sign_ins).await.as_u64().expect("a number");
    browser.evaluate("document.getElementById('sign-in').click()").await;
    browser.until(&format!("{sign_ins} > {before}")).await;
    assert_eq!(demo.stop().await.code(), 0);

    // Elsewhere it is this program's `login`, for the same profile; what comes of it is in the log.
    let stage = Stage::new().await;
    stage.configure("");
    let mut proxy = stage.home.serve_with(&[]).await;
    browser.open(&page_of(&proxy)).await;
    browser.evaluate("document.getElementById('sign-in').click()").await;
    proxy.logged("sign-in started").await;
    browser.until("document.getElementById('answer').textContent.includes('sign-in has begun')").await;
    proxy.stop().await;
}
