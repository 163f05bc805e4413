//! What passes, passes clean: one token, nothing that a client says for a proxy, and nothing followed.

use super::scene::{
    Scene,
    Wants::{Answered, Forwarded, Refused},
};

#[tokio::test]
async fn exactly_one_token_goes_upstream_whatever_the_client_sends() {
    let scene = Scene::with("").await;
    scene
        .both(&[
            ("S18", "GET /x\nHost\nAuthorization: Bearer mine", Forwarded),
            ("S18 many", "GET /x\nHost\nAuthorization: Bearer a\nAuthorization: Basic b", Forwarded),
            (
                "S19",
                "GET /x\nHost\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-Host: evil.example\nForwarded: for=1.2.3.4",
                Forwarded,
            ),
            ("S19 more", "GET /x\nHost\nX-Real-IP: 1.2.3.4\nProxy-Authorization: Basic b", Forwarded),
            ("S20", "GET /x\nHost\nX_Forwarded_For: 1.2.3.4\nProxy_Authorization: b\nX_Real_IP: 1.2.3.4", Forwarded),
            (
                "S20 more",
                "GET /x\nHost\nCognito_Proxy_Key: a\nProxy-Anything: b\nProxy_Anything: c\nTransfer_Encoding: chunked",
                Forwarded,
            ),
            ("S18 case", "GET /x\nHost\nAUTHORIZATION: a\naUtHoRiZaTiOn: b\nauthorization:", Forwarded),
            ("S27 no key is asked for", "GET /x\nHost\nCognito-Proxy-Key: stray", Forwarded),
        ])
        .await;
    scene
        .http1(&[
            ("Connection names it", "GET /x\nHost\nConnection: close, Authorization, Host", Forwarded),
            (
                "Connection names theirs",
                "GET /x\nHost\nAuthorization: a\nConnection: authorization\nConnection: Cognito-Proxy-Key, x-forwarded-for\n\
                 Cognito-Proxy-Key: a\nX-Forwarded-For: b\nKeep-Alive: c\nExpect: 100-continue",
                Forwarded,
            ),
            ("S18 folded", "GET /x\nHost\nAuthorization: a\n b", Answered(400)),
            ("S18 space before the colon", "GET /x\nHost\nAuthorization : a", Answered(400)),
            ("S20 our own header", "GET /x\nHost\nContent_Length: 3\nHost_: x", Forwarded),
        ])
        .await;
    scene.send("GET /x\nHost\nmy_own_header: kept\nauthorizatio_n: kept").await;
    assert_eq!(scene.upstream.heard().values("my_own_header"), ["kept"], "S20: other names pass");
}

#[tokio::test]
async fn a_header_of_another_name_has_no_double_either() {
    for injected in ["X-Api-Token", "X_Api_Token"] {
        let scene = Scene::with(&format!("inject.header = {injected:?}\ninject.format = \"{{token}}\"")).await;
        let lines = "GET /x\nHost\nX-Api-Token: a\nX_Api_Token: b\nX-Api_Token: c\nx-api-token: d\nAuthorization: mine";
        for got in [scene.send(lines).await, scene.send_h2(lines).await] {
            assert_eq!(got.status, 200, "{injected}");
            let heard = scene.upstream.heard();
            let names = ["x-api-token", "x_api_token", "x-api_token", "x_api-token"];
            let values: Vec<_> = names.iter().flat_map(|name| heard.values(name)).collect();
            assert_eq!(values, [scene.bearer().trim_start_matches("Bearer ")], "{injected}: {heard:?}");
            assert_eq!(heard.values("authorization"), ["mine"], "which is the client's own affair");
        }
    }
}

#[tokio::test]
async fn a_client_may_keep_its_own_value_only_where_that_is_configured() {
    let scene = Scene::with("inject.client_value = \"keep\"").await;
    scene.both(&[("S18 keep, none sent", "GET /x\nHost", Forwarded)]).await;
    let got = scene.send("GET /x\nHost\nAuthorization: Bearer mine").await;
    assert_eq!(got.status, 200);
    assert_eq!(scene.upstream.heard().values("authorization"), ["Bearer mine"]);
    // Nobody's page gets further for that.
    let heard = scene.upstream.heard().octets;
    let got = scene.send("GET /x\nHost\nAuthorization: Bearer mine\nOrigin: http://evil.example").await;
    assert_eq!((got.status, scene.upstream.heard().octets), (403, heard));

    let scene = Scene::with("inject.client_value = \"reject\"").await;
    let rejected = Refused(400, "bad_request", "client_value");
    scene
        .both(&[
            ("S18 reject, none sent", "GET /x\nHost", Forwarded),
            ("S18 reject", "GET /x\nHost\nAuthorization: Bearer mine", rejected),
            ("S18 reject many", "GET /x\nHost\nAuthorization: Bearer a\nAuthorization: Bearer b", rejected),
        ])
        .await;
}

#[tokio::test]
async fn who_asked_is_told_only_where_that_is_configured_and_made_anew() {
    let scene = Scene::with("upstream.forwarded = true").await;
    let got = scene.send("GET /x\nHost\nX-Forwarded-For: 1.2.3.4\nForwarded: for=1.2.3.4\nX-Real-IP: 1.2.3.4").await;
    assert_eq!(got.status, 200);
    let heard = scene.upstream.heard();
    assert_eq!(heard.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(heard.values("forwarded").len(), 1);
    assert!(heard.values("forwarded")[0].starts_with("for=127.0.0.1;"), "{heard:?}");
    assert!(heard.values("x-real-ip").is_empty());
}

#[tokio::test]
async fn a_redirect_is_shown_and_not_followed() {
    let scene = Scene::with("").await;
    let got = scene.send("GET /redirect\nHost").await;
    assert_eq!((got.status, got.values("location")), (302, vec!["https://evil.example/"]), "S21");
    assert_eq!(got.values("set-cookie"), ["sid=1; SameSite=Lax"], "S22");
    assert_eq!((scene.upstream.heard().heads.len(), scene.upstream.heard().connections), (1, 1));
}
