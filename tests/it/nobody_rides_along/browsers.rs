//! What pages may do: `Origin`, Fetch Metadata, `Referer`, preflights and WebSocket.

use super::scene::{
    LISTED, Scene,
    Wants::{self, Answered, Forwarded, Refused},
};

const ORIGINS: &str = "guard.origins = [\"http://localhost:3000\"]";

const NOT_LISTED: Wants = Refused(403, "origin_not_allowed", "guard.origins");
const CROSS_SITE: Wants = Refused(403, "cross_site", "guard.origins");

#[tokio::test]
async fn only_listed_pages_and_those_of_the_proxy_itself_may_call() {
    let scene = Scene::with(ORIGINS).await;
    scene
        .both(&[
            ("S6", "GET /x\nHost", Forwarded),
            ("S6 POST", "POST /x\nHost\nContent-Type: text/plain", Forwarded),
            ("S7", "GET /x\nHost\nOrigin: http://localhost:3000", Forwarded),
            ("S7 POST", "POST /x\nHost\nOrigin: http://localhost:3000\nSec-Fetch-Site: same-site", Forwarded),
            ("S7 cross-site", "GET /x\nHost\nOrigin: http://localhost:3000\nSec-Fetch-Site: cross-site", Forwarded),
            (
                "S7 our own refusal",
                "GET /x\nHost: evil.example\nOrigin: http://localhost:3000",
                Refused(403, "host_not_allowed", "guard.hosts"),
            ),
            ("S8 own", "POST /x\nHost\nOrigin: http://localhost:PORT\nSec-Fetch-Site: same-origin", Forwarded),
            ("S8 own by another name", "POST /x\nHost\nOrigin: http://127.0.0.1:PORT", NOT_LISTED),
            ("S8 own by https", "POST /x\nHost\nOrigin: https://localhost:PORT", NOT_LISTED),
            ("S8", "GET /x\nHost\nOrigin: https://evil.example", NOT_LISTED),
            ("S8 another port", "GET /x\nHost\nOrigin: http://localhost:3001", NOT_LISTED),
            ("S8 another scheme", "GET /x\nHost\nOrigin: https://localhost:3000", NOT_LISTED),
            ("S8 by address", "GET /x\nHost\nOrigin: http://127.0.0.1:3000", NOT_LISTED),
            ("S8 suffix", "GET /x\nHost\nOrigin: http://localhost:3000.evil.example", NOT_LISTED),
            ("S8 port suffix", "GET /x\nHost\nOrigin: http://localhost:30000", NOT_LISTED),
            ("S8 case", "GET /x\nHost\nOrigin: HTTP://LOCALHOST:3000x", NOT_LISTED),
            ("S8 slash", "GET /x\nHost\nOrigin: http://localhost:3000/", NOT_LISTED),
            ("S8 two in one", "GET /x\nHost\nOrigin: http://localhost:3000 http://evil.example", NOT_LISTED),
            ("S8 list", "GET /x\nHost\nOrigin: http://localhost:3000, http://evil.example", NOT_LISTED),
            ("S8 user", "GET /x\nHost\nOrigin: http://localhost:3000@evil.example", NOT_LISTED),
            ("S8 own user", "GET /x\nHost\nOrigin: http://evil@localhost:PORT", NOT_LISTED),
            ("S8 own percent", "GET /x\nHost\nOrigin: http://%6cocalhost:PORT", NOT_LISTED),
            ("S8 own suffix", "GET /x\nHost\nOrigin: http://localhost:PORT.evil.example", NOT_LISTED),
            ("S8 own twice", "GET /x\nHost\nOrigin: http://localhost:PORT\nOrigin: http://localhost:PORT", NOT_LISTED),
            ("S8 own without a port", "GET /x\nHost\nOrigin: http://localhost", NOT_LISTED),
            ("S8 rooted", "GET /x\nHost\nOrigin: http://localhost.:3000", NOT_LISTED),
            ("S8 zero", "GET /x\nHost\nOrigin: http://localhost:03000", NOT_LISTED),
            ("S8 no scheme", "GET /x\nHost\nOrigin: localhost:3000", NOT_LISTED),
            ("S8 file", "GET /x\nHost\nOrigin: file://", NOT_LISTED),
            ("S8 disguised", "GET /x\nHost\nOrigin: http://evil.example\nO_rigin: http://localhost:3000", NOT_LISTED),
            ("S8 twice", "GET /x\nHost\nOrigin: http://localhost:3000\nOrigin: http://evil.example", NOT_LISTED),
            ("S8 empty", "GET /x\nHost\nOrigin:", NOT_LISTED),
            ("S9", "GET /x\nHost\nOrigin: null", NOT_LISTED),
            ("S9 POST", "POST /x\nHost\nOrigin: null\nSec-Fetch-Site: cross-site", NOT_LISTED),
            ("S9 same-origin", "GET /x\nHost\nOrigin: null\nSec-Fetch-Site: same-origin", NOT_LISTED),
            ("S15", "OPTIONS /x\nHost\nOrigin: http://evil.example\nAccess-Control-Request-Method: GET", NOT_LISTED),
            ("S15 null", "OPTIONS /x\nHost\nOrigin: null\nAccess-Control-Request-Method: GET", NOT_LISTED),
            (
                "S13",
                "OPTIONS /x\nHost\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: PUT",
                Answered(204),
            ),
            (
                "S13 to another host",
                "OPTIONS /x\nHost: evil.example\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: PUT",
                Refused(403, "host_not_allowed", "guard.hosts"),
            ),
            ("S17 no preflight", "OPTIONS /x\nHost\nOrigin: http://localhost:3000", Forwarded),
        ])
        .await;
    let got = scene.send("GET /x\nHost\nOrigin: http://localhost:3000").await;
    assert!(got.values("access-control-expose-headers").join(",").contains("ETag"), "the upstream's own are kept");
}

#[tokio::test]
async fn without_an_origin_fetch_metadata_says_who_asks_and_a_listed_referer_outweighs_it() {
    let scene = Scene::with(ORIGINS).await;
    scene
        .both(&[
            ("S10", "GET /x\nHost\nSec-Fetch-Site: cross-site", CROSS_SITE),
            ("S10 image", "GET /x\nHost\nSec-Fetch-Site: cross-site\nSec-Fetch-Dest: image", CROSS_SITE),
            ("S10 two words", "GET /x\nHost\nSec-Fetch-Site: none\nSec-Fetch-Site: cross-site", CROSS_SITE),
            ("S10 one word after another", "GET /x\nHost\nSec-Fetch-Site: none, cross-site", CROSS_SITE),
            ("S10 the first is bad", "GET /x\nHost\nSec-Fetch-Site: cross-site\nSec-Fetch-Site: none", CROSS_SITE),
            ("S10 empty", "GET /x\nHost\nSec-Fetch-Site:", CROSS_SITE),
            ("S10 case", "GET /x\nHost\nSec-Fetch-Site: NONE", CROSS_SITE),
            ("S10 disguised", "GET /x\nHost\nSec-Fetch-Site: cross-site\nSec_Fetch_Site: none", CROSS_SITE),
            ("S10 navigation", "GET /x\nHost\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", CROSS_SITE),
            (
                "S10 Referer twice",
                "GET /x\nHost\nSec-Fetch-Site: cross-site\nReferer: http://localhost:3000/\nReferer: http://evil.example/",
                CROSS_SITE,
            ),
            (
                "S10 own Referer",
                "GET /x\nHost\nSec-Fetch-Site: cross-site\nReferer: http://localhost:PORT/",
                CROSS_SITE,
            ),
            ("S10 a new word", "GET /x\nHost\nSec-Fetch-Site: same-planet", CROSS_SITE),
            ("S10 Referer", "GET /x\nHost\nSec-Fetch-Site: cross-site\nReferer: http://localhost:3000/page", Forwarded),
            ("S11", "GET /x\nHost\nSec-Fetch-Site: same-site", CROSS_SITE),
            ("S11 Referer", "GET /x\nHost\nSec-Fetch-Site: same-site\nReferer: http://localhost:3000/a?b", Forwarded),
            (
                "S11 other Referer",
                "GET /x\nHost\nSec-Fetch-Site: same-site\nReferer: http://localhost:3001/",
                CROSS_SITE,
            ),
            (
                "S11 Referer suffix",
                "GET /x\nHost\nSec-Fetch-Site: same-site\nReferer: http://localhost:3000.evil.example/",
                CROSS_SITE,
            ),
            (
                "S11 Referer user",
                "GET /x\nHost\nSec-Fetch-Site: same-site\nReferer: http://localhost:3000@evil.example/",
                CROSS_SITE,
            ),
            (
                "S11 Referer backslash",
                "GET /x\nHost\nSec-Fetch-Site: same-site\nReferer: http://localhost:3000\\@evil.example/",
                CROSS_SITE,
            ),
            (
                "S9 Referer does not outweigh Origin",
                "GET /x\nHost\nOrigin: null\nReferer: http://localhost:3000/page",
                NOT_LISTED,
            ),
            ("S12", "GET /x\nHost\nSec-Fetch-Site: same-origin", Forwarded),
            ("S12 typed", "GET /x\nHost\nSec-Fetch-Site: none", Forwarded),
        ])
        .await;
}

#[tokio::test]
async fn what_a_browser_keeps_opens_to_no_other_page() {
    // The upstream says `Access-Control-Allow-Origin: *`, and a browser's cache does not ask here again.
    let scene = Scene::with(ORIGINS).await;
    for lines in ["GET /x\nHost", "GET /x\nHost\nSec-Fetch-Site: none", "GET /x\nHost\nOrigin: http://localhost:PORT"] {
        let got = scene.send(lines).await;
        assert_eq!(got.status, 200, "{lines:?}");
        assert!(!got.headers.contains_key("access-control-allow-origin"), "{lines:?}");
        assert_eq!(got.values("vary"), ["Origin"], "{lines:?}: the listed page needs an answer of its own");
    }
    let scene = Scene::with("").await;
    let got = scene.send("GET /x\nHost").await;
    assert!(!got.headers.contains_key("access-control-allow-origin") && !got.headers.contains_key("vary"), "{got:?}");
}

#[tokio::test]
async fn a_preflight_says_what_was_asked_for() {
    let scene = Scene::with(ORIGINS).await;
    let ask = "OPTIONS /x\nHost\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: PATCH\n\
               Access-Control-Request-Headers: x-a,authorization";
    for got in [scene.send(ask).await, scene.send_h2(ask).await] {
        assert_eq!(got.status, 204);
        assert_eq!(got.values("access-control-allow-origin"), [LISTED]);
        assert_eq!(got.values("access-control-allow-methods"), ["PATCH"]);
        assert_eq!(got.values("access-control-allow-headers"), ["x-a,authorization"]);
        assert_eq!(got.values("access-control-max-age"), ["600"]);
        assert!(!got.headers.contains_key("access-control-allow-private-network"));
    }
    let private = format!("{ask}\nAccess-Control-Request-Private-Network: true");
    let got = scene.send(&private).await;
    assert_eq!(got.values("access-control-allow-private-network"), ["true"], "S14");
    let got = scene.send(&private.replace("3000", "3001")).await;
    assert_eq!(got.status, 403, "S14");
    assert!(!got.headers.contains_key("access-control-allow-private-network"), "S14");
    assert_eq!(scene.upstream.heard().connections, 0, "none of them is forwarded");
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_a_page_may_read_that_there_is_none() {
    let scene = Scene::with(ORIGINS).await;
    let out = scene.stage.home.run(&["logout"]).await;
    assert_eq!(out.code(), 0, "{}", out.stderr);
    let ask = "OPTIONS /x\nHost\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: PUT";
    assert_eq!(scene.send(ask).await.status, 204);
    let got = scene.send("PUT /x\nHost\nOrigin: http://localhost:3000").await;
    assert_eq!((got.status, got.json()["code"].as_str()), (503, Some("login_required")));
    assert_eq!(got.values("access-control-allow-origin"), [LISTED]);
    assert!(got.values("access-control-expose-headers")[0].contains("Retry-After"));
    assert_eq!(scene.upstream.heard().connections, 0);
}

#[tokio::test]
async fn a_web_socket_asks_by_its_origin() {
    let scene = Scene::with(ORIGINS).await;
    scene
        .http1(&[
            ("S16 no Origin", SOCKET, Forwarded),
            ("S16 listed", SOCKET_LISTED, Forwarded),
            ("S16 own", SOCKET_OWN, Forwarded),
            ("S16 unlisted", SOCKET_EVIL, NOT_LISTED),
            ("S16 null", SOCKET_NULL, NOT_LISTED),
            ("S16 own by another name", SOCKET_OTHER_NAME, NOT_LISTED),
            ("S16 a page that withholds its Origin", SOCKET_CROSS_SITE, CROSS_SITE),
        ])
        .await;
}

const SOCKET: &str = "GET /socket\nHost\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13";
const SOCKET_LISTED: &str = "GET /socket\nHost\nConnection: Upgrade\nUpgrade: websocket\nOrigin: http://localhost:3000";
const SOCKET_OWN: &str = "GET /socket\nHost\nConnection: Upgrade\nUpgrade: websocket\nOrigin: http://localhost:PORT";
const SOCKET_EVIL: &str = "GET /socket\nHost\nConnection: Upgrade\nUpgrade: websocket\nOrigin: http://evil.example";
const SOCKET_OTHER_NAME: &str =
    "GET /socket\nHost\nConnection: Upgrade\nUpgrade: websocket\nOrigin: http://127.0.0.1:PORT";
const SOCKET_CROSS_SITE: &str =
    "GET /socket\nHost\nConnection: Upgrade\nUpgrade: websocket\nSec-Fetch-Site: cross-site";
const SOCKET_NULL: &str = "GET /socket\nHost\nConnection: Upgrade\nUpgrade: websocket\nOrigin: null";
