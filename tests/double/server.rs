//! The server behind every client's line: its state, the way of one request through it, and the
//! collection of garbage. A request is served by a task of its own, so that it is applied even when
//! its sender has stopped waiting, as a request that has left the machine is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::changes::{Changes, Wake};
use super::faults::{Conditions, Fault, Line, Loss, within};
use super::owners::Key;
use super::request::ApiRequest;
use super::resource::{Resource, Verb};
use super::status::Refusal;
use super::store::{Gone, Store};

/// After this long without a sign of life a connection is found dead: TCP's own patience.
pub const DEAD_AFTER: Duration = Duration::from_secs(900);

/// One request that arrived, for counting.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// When, since the double began.
    pub at: Duration,
    /// Whose.
    pub client: String,
    /// What.
    pub verb: Verb,
    /// Of what.
    pub resource: Resource,
    /// Which one; none for lists, watches and new objects.
    pub name: Option<String>,
    /// What was decided, heard or not.
    pub code: u16,
}

/// The connection broke.
#[derive(Debug, thiserror::Error)]
#[error("connection reset by the double")]
pub struct Broken;

/// An answer with a body of JSON, or the permission to watch.
pub enum Answer {
    /// Status and body.
    Json(u16, Value),
    /// The request is a watch, and may go on.
    Watch(Box<ApiRequest>),
}

/// Everything that changes.
pub struct State {
    /// The objects.
    pub store: Store,
    /// The one generator.
    pub rng: StdRng,
    /// The line between everybody and the server.
    pub outage: Line,
    /// The requests that arrived.
    pub calls: Vec<Call>,
    /// How long litter lies around.
    pub garbage_delay: RangeInclusive<Duration>,
    /// How often a watch hears a bookmark.
    pub bookmarks: Duration,
    clients: BTreeMap<String, Conditions>,
}

impl State {
    /// What is known of a client.
    pub fn conditions(&mut self, client: &str) -> &mut Conditions {
        self.clients.entry(client.to_owned()).or_default()
    }

    /// The worse of the client's own line and everybody's.
    pub fn line(&mut self, client: &str) -> Line {
        match self.outage {
            Line::Open => self.conditions(client).line,
            outage => outage,
        }
    }

    /// A random (version 4) UUID.
    pub fn uuid(&mut self) -> String {
        let bits: u128 = self.rng.random();
        let bits = (bits & !(0xf << 76)) | (4 << 76);
        let bits = (bits & !(0b11 << 62)) | (0b10 << 62);
        let hex = format!("{bits:032x}");
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        parts.join("-")
    }
}

/// The shared half of a double.
pub struct Server {
    state: Mutex<State>,
    wake: Wake,
    start: Instant,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Server {
    /// Starts a server with an empty namespace.
    pub fn start(seed: u64, namespace: &str) -> Arc<Server> {
        let start = Instant::now();
        let server = Arc::new(Server {
            state: Mutex::new(State {
                store: Store::new(namespace, start),
                rng: StdRng::seed_from_u64(seed),
                outage: Line::Open,
                calls: Vec::new(),
                garbage_delay: Duration::from_millis(500)..=Duration::from_secs(2),
                bookmarks: Duration::from_secs(60),
                clients: BTreeMap::new(),
            }),
            wake: Wake::new(),
            start,
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        });
        server.spawn(server.clone().collect_garbage());
        server
    }

    /// Runs a task that ends with the server.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        self.tasks.spawn(async move {
            end.run_until_cancelled(task).await;
        });
    }

    /// Ends all tasks.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }

    /// Changes the state and wakes who waits for that.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.wake.wake();
        result
    }

    /// A receiver that hears of every change from now on.
    pub fn changes(&self) -> Changes {
        self.wake.listen()
    }

    /// The way of one request: there, through the fault it meets, and back.
    pub async fn serve(
        &self,
        client: &str,
        request: Result<ApiRequest, Refusal>,
    ) -> Result<Answer, Broken> {
        let request = match request {
            Ok(request) => request,
            Err(refusal) => return Ok(Answer::Json(refusal.code, refusal.body())),
        };
        let (fault, there, back) = self.look(|state| {
            let State { rng, clients, .. } = state;
            let conditions = clients.entry(client.to_owned()).or_default();
            let fault = conditions.draw(request.verb, rng);
            let there = within(conditions.latency.as_ref(), rng);
            (fault, there, within(conditions.latency.as_ref(), rng))
        });
        take(there).await;
        if let Some(Fault::LostRequest(loss)) = fault {
            return lose(loss).await;
        }
        if let Some(answer) = self.pass(client).await? {
            return Ok(answer);
        }
        let answer = match fault {
            Some(Fault::Refused(code)) => self.trouble(client, &request, code),
            Some(Fault::Unsure(code)) => {
                self.apply(client, request);
                trouble(code)
            }
            Some(Fault::LateCommit(late)) => {
                take(late).await;
                // The server may have gone in the meantime, and the request with it.
                match self.look(|state| state.outage) {
                    Line::Open | Line::Frozen => self.apply(client, request),
                    _ => return lose(Loss::Hang).await,
                }
            }
            _ => self.apply(client, request),
        };
        if let Some(Fault::LostReply(loss)) = fault {
            return lose(loss).await;
        }
        take(back).await;
        match self.pass(client).await? {
            // The answer of the server that is gone is lost; what takes its place is no better.
            Some(instead) => Ok(instead),
            None => Ok(answer),
        }
    }

    /// Waits until the line passes something on. An answer: that of a server in trouble.
    async fn pass(&self, client: &str) -> Result<Option<Answer>, Broken> {
        let mut changes = self.changes();
        loop {
            changes.catch_up();
            match self.look(|state| state.line(client)) {
                Line::Open => return Ok(None),
                Line::Answers(code) => return Ok(Some(trouble(code))),
                Line::Cut(loss) => return lose(loss).await,
                Line::Frozen => changes.changed().await.map_err(|_| Broken)?,
            }
        }
    }

    fn trouble(&self, client: &str, request: &ApiRequest, code: u16) -> Answer {
        self.look(|state| self.note(state, client, request, code));
        trouble(code)
    }

    fn note(&self, state: &mut State, client: &str, request: &ApiRequest, code: u16) {
        state.calls.push(Call {
            at: self.start.elapsed(),
            client: client.to_owned(),
            verb: request.verb,
            resource: request.resource,
            name: request.name.clone(),
            code,
        });
    }

    /// The moment of truth: decides, changes the store, counts.
    fn apply(&self, client: &str, request: ApiRequest) -> Answer {
        self.change(|state| {
            let decided = decide(state, client, &request, Instant::now());
            let code = match &decided {
                Ok(Some((code, _))) => *code,
                Ok(None) => 200,
                Err(refusal) => refusal.code,
            };
            self.note(state, client, &request, code);
            match decided {
                Ok(Some((code, body))) => Answer::Json(code, body),
                Ok(None) => Answer::Watch(Box::new(request)),
                Err(refusal) => Answer::Json(code, refusal.body()),
            }
        })
    }

    /// Deletes objects whose owners are all gone, each after a delay of its own; while the server is
    /// down its controllers cannot do it either.
    async fn collect_garbage(self: Arc<Self>) {
        let mut changes = self.changes();
        let mut due: BTreeMap<(Instant, Key), String> = BTreeMap::new();
        loop {
            changes.catch_up();
            let now = Instant::now();
            let down = self.look(|state| {
                for (key, uid) in state.store.take_garbage() {
                    let delay = within(Some(&state.garbage_delay), &mut state.rng);
                    due.insert((now + delay, key), uid);
                }
                state.outage != Line::Open
            });
            let ripe = match due.first_key_value() {
                Some(((at, _), _)) if *at <= now && !down => due.pop_first(),
                _ => None,
            };
            if let Some(((_, key), uid)) = ripe {
                self.change(|state| state.store.collect(&key, &uid, now));
                continue;
            }
            let next = due.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                biased;
                changed = changes.changed() => if changed.is_err() { return },
                () = until(next), if !down => {}
            }
        }
    }
}

/// What the server answers to a request that has arrived; none: a watch that may begin.
fn decide(
    state: &mut State,
    client: &str,
    request: &ApiRequest,
    now: Instant,
) -> Result<Option<(u16, Value)>, Refusal> {
    let (verb, resource) = (request.verb, request.resource);
    let here = state.store.namespace().to_owned();
    let name = request.name.as_deref();
    let role = &state.conditions(client).role;
    let may = role
        .as_ref()
        .is_none_or(|role| role.contains(&(verb, resource)));
    // A role of a namespace says nothing about all of them.
    if !may || request.namespace.is_none() {
        return Err(Refusal::forbidden(client, verb, resource, name, &here));
    }
    let elsewhere = request.namespace.as_deref().filter(|it| *it != here);
    let name = name.unwrap_or_default();
    if let Some(namespace) = elsewhere {
        return Err(match verb {
            Verb::Create => Refusal::no_such_namespace(namespace),
            _ => Refusal::not_found(resource, name),
        });
    }
    let (code, body) = match verb {
        Verb::Get => (200, Value::clone(&*state.store.get(resource, name)?)),
        Verb::List => (200, list(state, request)?),
        Verb::Watch => {
            request.selector()?;
            request.version()?;
            return Ok(None);
        }
        Verb::Create => {
            let uid = state.uuid();
            let object = state.store.create(resource, request.object()?, uid, now)?;
            (201, Value::clone(&*object))
        }
        Verb::Update => {
            let uid = state.uuid();
            let (object, new) = state
                .store
                .replace(resource, name, request.object()?, uid, now)?;
            (if new { 201 } else { 200 }, Value::clone(&*object))
        }
        Verb::Patch => {
            let object = state
                .store
                .patch(resource, name, &request.merge_patch()?, now)?;
            (200, Value::clone(&*object))
        }
        Verb::Delete => {
            let (object, gone) = state
                .store
                .delete(resource, name, &request.deletion()?, now)?;
            let body = match (resource, gone) {
                (Resource::Leases, Gone::Gone) => success(resource, &object),
                _ => Value::clone(&*object),
            };
            (200, body)
        }
    };
    Ok(Some((code, body)))
}

fn list(state: &mut State, request: &ApiRequest) -> Result<Value, Refusal> {
    let newest = state.store.version();
    if let Some(wanted) = request.version()?.filter(|wanted| *wanted > newest) {
        return Err(Refusal::too_large_version(wanted, newest));
    }
    let resource = request.resource;
    let items: Vec<Value> = state
        .store
        .list(resource, &request.selector()?)
        .into_iter()
        .map(|object| {
            let mut object = Value::clone(&object);
            // As in the real server: the list says what its items are, they do not.
            if let Some(members) = object.as_object_mut() {
                members.remove("kind");
                members.remove("apiVersion");
            }
            object
        })
        .collect();
    Ok(json!({
        "kind": format!("{}List", resource.kind()),
        "apiVersion": resource.api_version(),
        "metadata": {"resourceVersion": newest.to_string()},
        "items": items,
    }))
}

fn success(resource: Resource, object: &Value) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": object["metadata"]["name"],
            "group": resource.group(),
            "kind": resource.plural(),
            "uid": object["metadata"]["uid"],
        },
    })
}

fn trouble(code: u16) -> Answer {
    Answer::Json(code, Refusal::trouble(code).body())
}

async fn lose<T>(loss: Loss) -> Result<T, Broken> {
    if loss == Loss::Hang {
        sleep(DEAD_AFTER).await;
    }
    Err(Broken)
}

/// Lets time pass; none at all does not even yield, so that instant traffic stays in order.
async fn take(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
