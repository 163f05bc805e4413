//! One worker's proxy, and the whole story of a request in [`Proxy::forward`].

use std::{cell::RefCell, collections::HashMap, future::Future, rc::Rc, sync::Arc, time::Instant};

use http::{HeaderValue, StatusCode, header::UPGRADE};

use super::{
    Body, ClientValue, Inject, Plan, Routing,
    check::{self, Checked, Rare},
    connect::Wanted,
    failure::Failure,
    forward::{self, Answer, Patience},
    inject::{self, Hop, Prepared},
    plan::Rule,
    pool::Pool,
    respond, route, upgrade,
    upload::{Progress, RequestBody},
};
use crate::{
    current::CurrentToken,
    guard::Account,
    listen::Connection,
    message::{ClientBody, Head as _, Request, RequestHead, Response},
    metrics::Shard,
    reply::{self, Code, Form, Refusal},
    session::snapshot::Snapshot,
};

/// A name for `Via` (RFC 9110 §7.6.3) that no other process has: two proxies may stand in a row, and only meeting
/// oneself is a loop.
#[must_use]
pub fn pseudonym() -> String {
    format!("cognito-proxy-{:016x}", fastrand::u64(..))
}

/// What one worker forwards with. Shares nothing with its sisters but the routing and the cell of the token.
#[derive(Debug)]
pub struct Proxy {
    routing: Arc<Routing>,
    current: CurrentToken,
    figures: Arc<Shard>,
    pseudonym: String,
    mark: inject::Mark,
    table: RefCell<(u64, Rc<Table>)>,
    /// Which failures were logged, by type, in the time since `began`.
    told: RefCell<HashMap<&'static str, Account>>,
    began: Instant,
}

/// The plan as this worker follows it.
#[derive(Debug)]
struct Table {
    plan: Arc<Plan>,
    /// As many as the plan has rules, in its order.
    lanes: Vec<Rc<Lane>>,
}

/// One route with what this worker has for it.
#[derive(Debug)]
struct Lane {
    rule: Arc<Rule>,
    pool: Rc<Pool>,
    prepared: Prepared,
}

/// A request that was answered, in case it must be sent again.
struct Judged<'a> {
    head: &'a mut RequestHead,
    lane: &'a Lane,
    inject: &'a Inject,
    snapshot: &'a Arc<Snapshot>,
    wanted: Wanted,
}

/// Why the story ends early.
enum Stop {
    Refused(Refusal),
    Failed(Failure),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Proxy {
    /// A worker's proxy. `pseudonym` is the process's, the same for all workers.
    #[must_use]
    pub fn new(routing: Arc<Routing>, current: CurrentToken, figures: Arc<Shard>, pseudonym: String) -> Rc<Self> {
        let version = routing.version();
        let table = Rc::new(Table::new(routing.plan(), None, &figures));
        let mark = inject::Mark::new(&pseudonym);
        let table = RefCell::new((version, table));
        let (told, began) = (RefCell::default(), Instant::now());
        Rc::new(Self { routing, current, figures, pseudonym, mark, table, told, began })
    }

    /// Answers a request: with the upstream's response, or with the reason why there is none.
    pub fn handle(
        self: Rc<Self>,
        request: Request,
        connection: Rc<Connection>,
    ) -> impl Future<Output = Response<Body>> {
        let Request { mut head, body } = request;
        async move {
            let form = Form::of(head.fields.iter());
            let answer = self.forward(&mut head, body, &connection, form).await;
            // The next head is read into what this request's leaves.
            head.recycle();
            let (refusal, error_type) = match answer {
                Ok(response) => return response,
                Err(Stop::Refused(refusal)) => {
                    let error_type = refusal.code.error_type();
                    (refusal, error_type)
                }
                Err(Stop::Failed(failure)) => {
                    let refusal = failure.refusal(&self.current.snapshot().command("doctor"));
                    // An upstream that is down must not fill the journal.
                    if let Some(suppressed) = self.may_tell(failure.error_type()) {
                        tracing::warn!(
                            error = &failure as &dyn std::error::Error,
                            error_type = failure.error_type(),
                            suppressed,
                            "not forwarded"
                        );
                    }
                    (refusal, failure.error_type())
                }
            };
            self.figures.refused(refusal.code);
            reply::respond_as(&refusal, error_type, form).map(Body::from).into()
        }
    }

    /// Whether a failure of this type may be logged now, and how many were not since the last.
    fn may_tell(&self, error_type: &'static str) -> Option<u64> {
        self.told.borrow_mut().entry(error_type).or_default().admit(self.began.elapsed())
    }

    /// The whole story, for a client that reads `form`.
    async fn forward(
        &self,
        head: &mut RequestHead,
        body: ClientBody,
        connection: &Connection,
        form: Form,
    ) -> Result<Response<Body>, Stop> {
        let is_grpc = form == Form::Grpc;
        let rare = Rare::among(&head.fields);
        if let Checked::Answer(response) = check::request(head, rare, &self.pseudonym)? {
            return Ok(response.map(Body::from).into());
        }
        let table = self.table();
        let lane = table.lane(head.target.path());
        let inject = lane.injection(head)?;
        let hop = inject::head(head, rare, &lane.rule, connection, &self.mark)?;
        // Here a request may wait for a token. Its body has not been read: the client's own buffers hold it.
        let snapshot = match inject {
            Some(inject) => Some(self.inject(head, lane, inject).await?),
            None => None,
        };
        let injected = inject.map(|inject| &inject.header);
        let (body, progress) = RequestBody::new(body, injected);
        let patience = lane.patience(&table.plan, progress, is_grpc);
        let wanted = if hop.upgrade.is_some() { Wanted::H1 } else { Wanted::Any };
        let answer = forward::send(&lane.pool, head, body, wanted, &patience).await?;
        let is_unauthorized = answer.0.head.status == StatusCode::UNAUTHORIZED;
        let answer = match (inject, &snapshot) {
            (Some(inject), Some(snapshot)) if is_unauthorized => {
                let request = Judged { head, lane, inject, snapshot, wanted };
                // Boxed, as it is rare.
                Box::pin(self.again(answer, request, patience)).await?
            }
            (inject, snapshot) => {
                if let (Some(inject), Some(snapshot)) = (inject, snapshot) {
                    self.accepted(snapshot, inject);
                }
                patience.progress.iter().for_each(|progress| progress.forget());
                answer
            }
        };
        let told = table.plan.session_header.then(|| snapshot.unwrap_or_else(|| self.current.snapshot()));
        respond(answer, lane, &hop, is_grpc, told.as_deref())
    }

    /// Waits until there is a token, and puts it in.
    async fn inject(&self, head: &mut RequestHead, lane: &Lane, inject: &Inject) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = self.current.ready(inject.token).await?;
        let value = lane.prepared.value(&snapshot, inject.token, &inject.format)?;
        head.fields.insert(inject.header.clone(), value);
        Ok(snapshot)
    }

    /// An answer other than 401 says that the upstream takes the token.
    fn accepted(&self, snapshot: &Snapshot, inject: &Inject) {
        if let Some(token) = snapshot.token(inject.token) {
            self.current.accepted(token.generation);
        }
    }

    /// A 401 to our own token: one newer token and one replay, where there is one and the request is still at hand.
    async fn again(&self, answer: Answer, request: Judged<'_>, patience: Patience) -> Result<Answer, Stop> {
        let Judged { head, lane, inject, snapshot, wanted } = request;
        let Some(generation) = snapshot.token(inject.token).map(|token| token.generation) else { return Ok(answer) };
        let again = match &patience.progress {
            None => Some(RequestBody::empty()),
            Some(progress) => progress.again(),
        };
        let Some(body) = again else { return Ok(answer) };
        let Some(newer) = self.current.renewed(inject.token, generation).await else { return Ok(answer) };
        let value = lane.prepared.value(&newer, inject.token, &inject.format)?;
        head.fields.insert(inject.header.clone(), value);
        drop(answer);
        let patience = Patience { progress: None, ..patience };
        let answer = forward::send(&lane.pool, head, body, wanted, &patience).await?;
        if answer.0.head.status != StatusCode::UNAUTHORIZED {
            self.accepted(&newer, inject);
        }
        Ok(answer)
    }

    /// The table, made anew where the plan was replaced.
    fn table(&self) -> Rc<Table> {
        let version = self.routing.version();
        let mut known = self.table.borrow_mut();
        if known.0 != version {
            let table = Table::new(self.routing.plan(), Some(&known.1), &self.figures);
            *known = (version, Rc::new(table));
        }
        Rc::clone(&known.1)
    }
}

impl Table {
    /// Follows `plan`. Pools of `before` whose upstream is still the same go on.
    fn new(plan: Arc<Plan>, before: Option<&Self>, figures: &Arc<Shard>) -> Self {
        let mut pools: Vec<Rc<Pool>> =
            before.iter().flat_map(|table| &table.lanes).map(|lane| Rc::clone(&lane.pool)).collect();
        let lanes = plan.rules.iter().map(|rule| {
            // A certificate file may have new content under its old name: TLS connections are made by the new plan.
            let known = pools.iter().find(|pool| {
                Arc::ptr_eq(&pool.target, &rule.target)
                    || (rule.target.tls.is_none() && pool.target.settings == rule.target.settings)
            });
            let pool = match known {
                Some(pool) => Rc::clone(pool),
                None => Pool::new(Arc::clone(&rule.target), Arc::clone(figures)),
            };
            pools.push(Rc::clone(&pool));
            Rc::new(Lane { rule: Arc::clone(rule), pool, prepared: Prepared::default() })
        });
        let lanes = lanes.collect();
        Self { plan, lanes }
    }

    /// The lane with the longest prefix of `path`. The default's is empty, so there always is one.
    fn lane(&self, path: &str) -> &Lane {
        let found = self.lanes.iter().find(|lane| route::matches(&lane.rule.prefix, path));
        found.unwrap_or(&self.lanes[self.lanes.len() - 1])
    }
}

impl Lane {
    /// What is to be injected into this request, if anything is.
    fn injection(&self, head: &RequestHead) -> Result<Option<&Inject>, Refusal> {
        let Some(inject) = &self.rule.route.inject else { return Ok(None) };
        match inject.client_value {
            ClientValue::Replace => Ok(Some(inject)),
            ClientValue::Keep | ClientValue::Reject if !head.fields.contains(&inject.header) => Ok(Some(inject)),
            ClientValue::Keep => Ok(None),
            ClientValue::Reject => {
                let detail = format!("the request has a {} of its own", inject.header);
                Err(Refusal::new(Code::BadRequest, detail, "leave it out, or set inject.client_value"))
            }
        }
    }

    fn patience(&self, plan: &Plan, progress: Option<Rc<Progress>>, is_grpc: bool) -> Patience {
        Patience {
            response_header: self.rule.target.settings.response_header_timeout,
            body_idle: (!is_grpc).then_some(plan.body_idle_timeout),
            progress,
        }
    }
}

/// The upstream's answer, as the client's.
fn respond(
    (response, lease): Answer,
    lane: &Lane,
    hop: &Hop,
    is_grpc: bool,
    told: Option<&Snapshot>,
) -> Result<Response<Body>, Stop> {
    let Response { mut head, body } = response;
    let mut response = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let protocol = head.fields.get(UPGRADE).and_then(|protocol| HeaderValue::from_bytes(protocol).ok());
        respond::fields(&mut head.fields, &lane.rule, hop);
        if let Some(protocol) = protocol {
            head.fields.insert(UPGRADE, protocol);
        }
        upgrade::switch(head, lease, hop.upgrade.as_ref())?
    } else {
        let offered = respond::offered(&head);
        respond::fields(&mut head.fields, &lane.rule, hop);
        if let Some(protocol) = offered {
            respond::switching(&mut head.fields, protocol);
        }
        Response { head, body: Body::upstream(body, lease, hop.wants_trailers || is_grpc) }
    };
    if let Some(snapshot) = told {
        respond::session(&mut response.head.fields, snapshot);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is moved as a whole, more than once: what few requests need is boxed.
    #[test]
    fn the_story_of_a_request_is_no_large_future() {
        fn size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(Proxy::handle);
        assert!(size <= 2000, "{size} bytes");
        let sizes = (size_of::<Response<Body>>(), size_of::<Answer>());
        assert!(sizes.0 <= 136 && sizes.1 <= 112, "{sizes:?} bytes");
    }
}
