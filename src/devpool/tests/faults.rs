//! Every fault, as it arrives.

use std::error::Error;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    super::{Commit, Fault, Lie, Operation, Outcome, Portal, RotationStep, Scope},
    *,
};

async fn rotating() -> (DevPool, Secret) {
    let rotating = AppClient::public(CLIENT).rotating(Duration::from_secs(10));
    let (pool, _clock) = start(Settings::default().with_client(rotating)).await;
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    (pool, token)
}

/// Sends a refresh over a socket of its own and returns all that arrives until the connection ends.
async fn raw(pool: &DevPool, token: &Secret) -> (String, std::io::Result<usize>) {
    let mut stream = send_raw(pool, token).await;
    let mut arrived = Vec::new();
    let end = stream.read_to_end(&mut arrived).await;
    (String::from_utf8(arrived).expect("text"), end)
}

async fn send_raw(pool: &DevPool, token: &Secret) -> TcpStream {
    let body = refresh_body(token).to_string();
    let mut stream = TcpStream::connect(pool.address()).await.expect("a connection");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: pool\r\nX-Amz-Target: AWSCognitoIdentityProviderService.GetTokensFromRefreshToken\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("written");
    stream
}

#[tokio::test]
async fn statuses_come_with_their_retry_after_and_commit_nothing() {
    let (pool, token) = rotating().await;
    pool.fail_next(1, Scope::Refresh, Fault::status(500));
    let retry_after = Some(Duration::from_millis(6500));
    let status = StatusCode::SERVICE_UNAVAILABLE;
    pool.fail_next(1, Scope::Refresh, Fault::Status { status, retry_after });
    assert_eq!(refresh(&pool, &token).await.status, 500);
    let answer = refresh(&pool, &token).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "7"));
    assert_eq!(pool.calls().count(|call| call.committed), 0);
    assert_eq!(refresh(&pool, &token).await.status, 200);
}

#[tokio::test]
async fn exceptions_of_any_name_arrive_as_aws_sends_them() {
    let (pool, token) = rotating().await;
    pool.fail_next(1, Scope::Api, Fault::throttled(Some(Duration::from_secs(9))));
    let answer = refresh(&pool, &token).await;
    assert_eq!(answer.exception(), Exception::too_many_requests());
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (400, "9"));

    pool.fail_next(1, Scope::Api, Fault::exception("ForbiddenException", "Request not allowed due to WAF block."));
    assert_eq!(refresh(&pool, &token).await.exception().name, "ForbiddenException");

    let gtfrt = Scope::Only(Operation::GetTokensFromRefreshToken);
    pool.fail_always(gtfrt, Fault::unsupported());
    let answer = refresh(&pool, &token).await;
    assert_eq!((answer.status.as_u16(), answer.exception().name.as_str()), (500, "CognitoLocal#Unsupported"));
    pool.fail_always(Scope::Only(Operation::GetTokensFromRefreshToken), Fault::unknown_operation());
    assert_eq!(refresh(&pool, &token).await.exception().name, "UnknownOperationException");
    let revoke = json!({"Token": "garbage", "ClientId": CLIENT});
    assert_eq!(call(&pool, "RevokeToken", &revoke).await.status, 200, "only the one operation is out of order");
    pool.heal();
    assert_eq!(refresh(&pool, &token).await.status, 200);
}

#[tokio::test]
async fn a_hanging_call_is_read_and_never_answered() {
    let (pool, token) = rotating().await;
    pool.fail_next(1, Scope::Refresh, Fault::Hang(Commit::After));
    let mut stream = send_raw(&pool, &token).await;
    let calls = pool.wait_for(|calls| calls.refreshes() == 1).await;
    let last = calls.last().expect("a call");
    assert_eq!((&last.outcome, last.committed, last.rotation), (&Outcome::Fault("hang"), true, RotationStep::Rotated));
    // Another call on another connection goes on meanwhile, and the first has nothing to read even then.
    assert_eq!(refresh(&pool, &token).await.status, 200);
    let mut octet = [0];
    let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut octet)).await;
    assert!(read.is_err(), "something arrived: {read:?}");
    drop(pool);
    assert_eq!(stream.read(&mut octet).await.expect("closed"), 0, "its connections go with the pool");
}

#[tokio::test]
async fn a_reset_is_a_reset_before_the_commit_and_after_it() {
    for (commit, committed) in [(Commit::Before, false), (Commit::After, true)] {
        let (pool, token) = rotating().await;
        pool.fail_next(1, Scope::Refresh, Fault::Reset(commit));
        let (arrived, end) = raw(&pool, &token).await;
        assert_eq!(arrived, "");
        assert_eq!(end.expect_err("reset").kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(pool.calls().last().map(|call| call.committed), Some(committed));
        assert_eq!(refresh(&pool, &token).await.status, 200, "within the grace period the token still works");
        let step = if committed { RotationStep::RetriedInGrace } else { RotationStep::Rotated };
        assert_eq!(pool.calls().last().map(|call| call.rotation), Some(step));
    }
}

#[tokio::test]
async fn half_an_answer_is_announced_whole_and_breaks_off() {
    let (pool, token) = rotating().await;
    pool.fail_next(1, Scope::Refresh, Fault::Truncated);
    let (arrived, _) = raw(&pool, &token).await;
    let (head, body) = arrived.split_once("\r\n\r\n").expect("a head");
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    assert_eq!(body.len(), announced.parse::<usize>().expect("a number") / 2);
    assert!(body.starts_with("{\"AuthenticationResult\""), "{body}");
    assert_eq!(pool.calls().last().map(|call| call.committed), Some(true));
}

#[tokio::test]
async fn a_dripping_answer_comes_an_octet_at_a_time() {
    let (pool, token) = rotating().await;
    pool.fail_next(1, Scope::Refresh, Fault::Drip(Duration::from_millis(5)));
    let mut stream = send_raw(&pool, &token).await;
    let mut arrived = Vec::new();
    while !arrived.ends_with(b"\r\n\r\n") {
        arrived.push(stream.read_u8().await.expect("the head"));
    }
    // Each read returns what has been written so far, which for a body written at once would be all of it.
    let mut buffer = vec![0; 65_536];
    let (first, second) = (stream.read(&mut buffer).await, stream.read(&mut buffer).await);
    let read = first.expect("some of the body") + second.expect("some more");
    assert!((2..2000).contains(&read), "{read} octets in two reads");
    pool.fail_next(1, Scope::Jwks, Fault::Drip(Duration::ZERO));
    assert_eq!(get(&pool.jwks_url()).await.json(), pool.jwks(), "dripped to its end, it is whole");
}

#[tokio::test]
async fn a_captive_portal_answers_with_a_page() {
    let (pool, token) = rotating().await;
    let table = [(Portal::Page, 200), (Portal::Redirect, 302), (Portal::NetworkAuthenticationRequired, 511)];
    for (portal, status) in table {
        pool.fail_next(1, Scope::Api, Fault::Portal(portal));
        let answer = refresh(&pool, &token).await;
        assert_eq!(answer.status, status);
        assert!(answer.header("content-type").starts_with("text/html"));
        assert_eq!(answer.headers.contains_key("location"), portal == Portal::Redirect);
    }
    assert_eq!(pool.calls().count(|call| call.committed), 0);
}

#[tokio::test]
async fn the_key_set_fails_by_itself() {
    let (pool, token) = rotating().await;
    pool.fail_always(Scope::Jwks, Fault::status(500));
    assert_eq!(get(&pool.jwks_url()).await.status, 500);
    assert_eq!(refresh(&pool, &token).await.status, 200);
    pool.heal();
    assert_eq!(get(&pool.jwks_url()).await.json(), pool.jwks());
    assert_eq!(pool.calls().count(|call| call.operation == Operation::Jwks), 2);
}

#[tokio::test]
async fn answers_can_leave_out_what_belongs_in_them() {
    let (pool, clock) = start(Settings::default()).await;
    let token = pool.sign_in(USER, CLIENT).expect("signed in").refresh_token;
    let lie = async |lie: Lie| {
        pool.fail_next(1, Scope::Refresh, Fault::Lie(lie));
        refresh(&pool, &token).await
    };
    assert_eq!(lie(Lie::NoIdToken).await.result("IdToken"), None);
    assert_eq!(lie(Lie::NoAccessToken).await.result("AccessToken"), None);
    assert_eq!(lie(Lie::NoExpiresIn).await.json()["AuthenticationResult"]["ExpiresIn"], Value::Null);
    assert_eq!(lie(Lie::ExpiresIn(7)).await.json()["AuthenticationResult"]["ExpiresIn"], 7);
    assert_eq!(lie(Lie::NoResult).await.json()["AuthenticationResult"], Value::Null);
    assert!(serde_json::from_slice::<Value>(&lie(Lie::NotJson).await.body).is_err());
    let long = lie(Lie::LongIdToken(12_000)).await.result("IdToken").expect("an ID token").len();
    assert!((11_000..13_000).contains(&long), "{long}");
    clock.advance(Duration::from_secs(60));
    assert_eq!(lie(Lie::Date(-3600)).await.header("date"), "Wed, 31 Dec 2025 23:01:00 GMT");
}

#[tokio::test]
async fn held_answers_are_committed_and_wait() -> Result<(), Box<dyn Error>> {
    let (pool, token) = rotating().await;
    let held = pool.hold_answers();
    let asking = refresh(&pool, &token);
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => panic!("answered while held: {answer:?}"),
        calls = pool.wait_for(|calls| calls.refreshed() == 1) => {
            assert_eq!(calls.last().map(|call| call.committed), Some(true));
        }
    }
    drop(held);
    assert_eq!(asking.await.status, 200);
    Ok(())
}
