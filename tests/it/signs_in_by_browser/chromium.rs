//! The same with a real browser and other people's sign-in pages.
//!
//! `COGNITO_PROXY_PICTURES=DIR` keeps pictures of our own pages.

use std::{path::PathBuf, process::Stdio};

use super::{Login, Scene, addresses, free_port};
use crate::support::{
    browser::Browser,
    emulators::{CognitoLocal, Emulator, MiniStack},
    http as wire,
    proxy::{FREE_PORTS, Home},
    stage::Stage,
};

const WHAT: &str = "a sign-in in a real browser";

#[tokio::test]
async fn a_real_browser_signs_in_at_every_cognito() {
    let Some(mut browser) = Browser::start(WHAT).await else { return };
    devpool(&mut browser).await;
    emulated("cognito-local", &CognitoLocal::start().await, &mut browser).await;
    emulated("MiniStack", &MiniStack::start().await, &mut browser).await;
}

async fn devpool(browser: &mut Browser) {
    let scene = Scene::new().await;
    let login = scene.login(&["--no-browser"]).await;
    let user = scene.stage.pool.user("alice").expect("a user");
    signs_in(browser, &login.address, "alice", user.password.expose()).await;
    pictures(browser, "signed-in").await;
    assert_eq!(login.finish().await.code(), 0);

    // What a foreign page sends is refused in the browser as well, and the sign-in goes on.
    let login = scene.login(&["--no-browser"]).await;
    browser.open(&format!("{}?code=c&state=foreign", scene.redirect_uri)).await;
    browser.until("document.title.startsWith('This is another sign-in')").await;
    pictures(browser, "foreign").await;
    let failed = format!(
        "{}?error=access_denied&error_description=The+user+pressed+Cancel&state={}",
        scene.redirect_uri,
        login.asked("state")
    );
    browser.open(&failed).await;
    browser.until("document.title.startsWith('Not signed in')").await;
    pictures(browser, "failed").await;
    assert_eq!(login.finish().await.code(), 4);
}

async fn emulated(name: &str, emulator: &Emulator, browser: &mut Browser) {
    let (stage, home) = (Stage::new().await, Home::new());
    let client = &emulator.clients.secret;
    let redirect_uri = format!("http://localhost:{}/callback", free_port());
    let registered = serde_json::json!({
        "UserPoolId": emulator.pool_id,
        "ClientId": client.id,
        "CallbackURLs": [redirect_uri],
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthFlowsUserPoolClient": true,
        "AllowedOAuthScopes": ["openid", "email"],
        "SupportedIdentityProviders": ["COGNITO"],
        "ExplicitAuthFlows": ["ALLOW_REFRESH_TOKEN_AUTH", "ALLOW_USER_PASSWORD_AUTH"],
    });
    emulator.call("UpdateUserPoolClient", &registered).await.expect("registered");
    let section = emulator.section(client, &home);
    let (domain, url) = (&emulator.endpoint, stage.upstream.url());
    home.configure(&format!(
        "{section}domain = {domain:?}\nredirect_uris = [{redirect_uri:?}]\n[upstream]\nurl = {url:?}\n{FREE_PORTS}"
    ));
    let mut command = home.command(&["login", "--no-browser"]);
    let login = Login::started(command.stdin(Stdio::null())).await;
    signs_in(browser, &login.address, &emulator.username, &emulator.password).await;
    let done = login.finish().await;
    assert_eq!(done.code(), 0, "{name}: {done:?}");
    assert!(tokio::net::TcpStream::connect(addresses(&redirect_uri)[0]).await.is_err(), "{name}");

    let mut proxy = home.serve_with(&[]).await;
    proxy.ready().await;
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200, "{name}");
    let bearer = stage.upstream.log().last().and_then(|request| request.bearer.clone()).expect("a token");
    assert_eq!((bearer.issuer.as_str(), bearer.token_use.as_str()), (emulator.issuer.as_str(), "id"), "{name}");
    proxy.stop().await;
}

/// Fills in whatever form `address` leads to, and comes back to our own page.
async fn signs_in(browser: &mut Browser, address: &str, username: &str, password: &str) {
    browser.open(address).await;
    browser.until("!!document.querySelector('input[name=password]')").await;
    let script = format!(
        "document.querySelector('input[name=username]').value = {username:?};\
         document.querySelector('input[name=password]').value = {password:?};\
         document.querySelector('button[type=submit]').click(); true"
    );
    browser.evaluate(&script).await;
    browser.until("document.title.startsWith('Signed in as alice')").await;
    // The policy refuses scripts and everything from elsewhere, and the style sheet is let in by its hash.
    let styled = browser.evaluate("getComputedStyle(document.querySelector('main')).borderTopWidth").await;
    assert_eq!(styled, "4px", "the page's own style sheet applies");
}

async fn pictures(browser: &mut Browser, name: &str) {
    let Some(directory) = std::env::var_os("COGNITO_PROXY_PICTURES").map(PathBuf::from) else { return };
    for (width, scheme) in [(900, "light"), (900, "dark"), (360, "light")] {
        browser.look(width, 640, scheme).await;
        browser.picture(&directory.join(format!("{name}-{width}-{scheme}.png"))).await;
    }
}
