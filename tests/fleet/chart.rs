//! The chart and the overlays of deploy/, end to end: installed as people install them, their pods
//! work with the rights that they bring, clients meet, upgrades roll, and nothing stays behind.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::census::{Census, programs};
use crate::people::{Person, get, join};
use crate::release::{Grounds, grounds, grounds_named, project};
use crate::stage::eventually;

const DOOR: &str = "demo-scalesocket";

fn chart() -> String {
    project("charts/scalesocket").display().to_string()
}

fn values(name: &str) -> String {
    let path = project(&format!("charts/scalesocket/ci/{name}-values.yaml"));
    format!("--values={}", path.display())
}

/// Somebody in the room, by each of the doors; they meet. The program that they met in.
async fn meet(doors: &[Ipv4Addr], room: &str) -> (Vec<Person>, String) {
    let mut people = Vec::new();
    let mut met = HashSet::new();
    for door in doors {
        let person = join(*door, room).await;
        let mut person = person.unwrap_or_else(|error| panic!("{room} by {door}: {error:?}"));
        met.insert(person.program().await.expect("an answer"));
        people.push(person);
    }
    assert_eq!(met.len(), 1, "{room}: by {doors:?} they met {met:?}");
    (people, met.into_iter().next().unwrap_or_default())
}

/// The words of the command that the notes of a release give for this.
fn what_runs_where(notes: &str) -> Vec<String> {
    let from = notes.split_once("What runs where:").expect("the notes").1;
    let command = from.split_once("Whether it works:").expect("the notes").0;
    let words = command.split_whitespace().filter(|word| *word != "\\");
    let mut words = words.map(|word| word.replace('\'', "")); // quotes are for the shell
    assert_eq!(words.next().as_deref(), Some("kubectl"));
    words.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_release_works_rolls_and_leaves_nothing() {
    let Some(at) = grounds("default").await else {
        return;
    };
    let census = Census::of(&at.yard.mark);
    let notes = at.helm(&["install", "demo", &chart()]).await;
    let rights = at.helm(&["get", "manifest", "demo"]).await;
    assert!(!rights.contains("kind: ClusterRole"), "{rights}");
    let doors = at.doors(DOOR, 2).await;
    for pod in at.pods().await {
        let process = at.yard.kubelet.process_id(&pod).expect("it runs");
        let image = std::fs::read_link(format!("/proc/{process}/exe")).expect("its program");
        assert!(
            image.ends_with("volumes/scalesocket/scalesocket"),
            "not what the init container installed: {image:?}"
        );
    }
    let (mut people, program) = meet(&doors, "lobby").await;
    let tested = at.helm(&["test", "demo", "--timeout=60s"]).await;
    assert!(tested.contains("Succeeded"), "{tested}");
    // One has the room, the other a client on the way to it: no node drain may take either.
    at.all_occupied().await;
    for pod in at.pods().await {
        let evicted = at.evict(&pod).await;
        let refused = matches!(&evicted, Err(why) if why.contains("disruption budget"));
        assert!(refused, "{pod}: {evicted:?}");
    }
    let words = what_runs_where(&notes);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let shown = at.kubectl(&words).await;
    assert_eq!(shown.matches("ready").count(), 2, "{shown}");
    assert!(shown.lines().any(|line| line.ends_with(" 1")), "{shown}");

    // The pods that go drain: who comes by the new ones finds the room where it was.
    let before = at.pods().await;
    at.helm(&[
        "upgrade",
        "demo",
        &chart(),
        "--set=podAnnotations.revision=two",
    ])
    .await;
    eventually("the Service has new doors only", async || {
        let now = at.doors(DOOR, 2).await;
        now.iter().all(|door| !doors.contains(door)).then_some(())
    })
    .await;
    let doors = at.doors(DOOR, 2).await;
    let (others, same) = meet(&doors, "lobby").await;
    assert_eq!(same, program, "the upgrade made a second room");
    for person in &mut people {
        assert_eq!(person.program().await.as_ref(), Ok(&program), "it was cut");
    }
    drop((people, others));
    eventually("the old pods have gone with their rooms", async || {
        let now = at.pods().await;
        before.iter().all(|pod| !now.contains(pod)).then_some(())
    })
    .await;
    let (people, other) = meet(&doors, "lobby").await;
    assert_ne!(other, program);
    at.all_occupied().await;
    drop(people);
    census.found_no_double();

    let pod = at.pods().await.remove(0);
    eventually("an idle pod may be evicted", async || {
        at.evict(&pod).await.ok().map(drop)
    })
    .await;
    at.helm(&["uninstall", "demo"]).await;
    at.is_empty().await;
    assert!(programs(&at.yard.mark).is_empty(), "a program is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_stateful_set_works_and_leaves_nothing_but_its_volumes() {
    let Some(at) = grounds("fenced").await else {
        return;
    };
    let census = Census::of(&at.yard.mark);
    at.helm(&["install", "demo", &chart(), &values("fenced")])
        .await;
    let doors = at.doors(DOOR, 3).await;
    let (people, program) = meet(&doors, "lobby").await;

    // The container of the room's pod dies: by its own session's end the room is free again.
    let mut owner = None;
    for pod in at.pods().await {
        let door = at.yard.at(&pod).expect("it runs here");
        if at.yard.stats(&door).await["rooms_live"] == 1 {
            owner = Some(pod);
        }
    }
    let owner = owner.expect("somebody has the room");
    at.yard.kubelet.kill(&owner);
    drop(people);
    eventually("the container is started again", async || {
        let status = at.yard.pods().get(&owner).await.ok()?.status?;
        let containers = status.container_statuses.unwrap_or_default();
        containers
            .iter()
            .any(|c| c.restart_count == 1)
            .then_some(())
    })
    .await;
    let doors = at.doors(DOOR, 3).await;
    let (people, other) = meet(&doors, "lobby").await;
    assert_ne!(other, program);
    drop(people);
    census.found_no_double();

    at.helm(&["uninstall", "demo"]).await;
    at.is_empty().await;
    assert_eq!(at.left("v1", "PersistentVolumeClaim").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_zero_by_what_the_scaled_object_says() {
    let Some(at) = grounds("keda").await else {
        return;
    };
    at.yard.apply(&scaled_objects()).await;
    at.helm(&["install", "demo", &chart(), &values("zero")])
        .await;
    let doors = at.doors(DOOR, 2).await;
    let scaled = eventually("the ScaledObject is served", async || {
        let client = &at.yard.client;
        let path = format!(
            "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects/{DOOR}",
            at.yard.namespace
        );
        let request = http::Request::get(path).body(Vec::new()).ok()?;
        client.request::<Value>(request).await.ok()
    })
    .await;
    let keda = Keda { at: &at, scaled };
    assert_eq!(keda.acts().await, 0, "nobody wants anything yet");
    eventually("no pod with rooms is left", async || {
        (at.pods().await.len() == doors.len()).then_some(())
    })
    .await;

    let mut held = tokio::task::JoinSet::new();
    for door in doors {
        held.spawn(async move { meet(&[door], "first").await });
    }
    eventually("it is told that a room is wanted", async || {
        (keda.acts().await == 1).then_some(())
    })
    .await;
    let met = held.join_all().await;
    let names: HashSet<&String> = met.iter().map(|(_, program)| program).collect();
    assert_eq!(names.len(), 1, "{names:?}");

    // Who upgrades does not say how many pods there are.
    at.helm(&["upgrade", "demo", &chart(), &values("zero")])
        .await;
    assert_eq!(keda.replicas().await, 1);
    assert_eq!(keda.acts().await, 1);
    drop(met);
    at.helm(&["uninstall", "demo"]).await;
    at.is_empty().await;
}

/// KEDA's part: it looks where a ScaledObject says, and sets the replicas of its target.
struct Keda<'a> {
    at: &'a Grounds,
    scaled: Value,
}

impl Keda<'_> {
    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.at.yard.client.clone(), &self.at.yard.namespace)
    }

    fn target(&self) -> &str {
        let target = &self.scaled["spec"]["scaleTargetRef"];
        assert_eq!(target["kind"], "Deployment");
        target["name"].as_str().expect("a name")
    }

    async fn replicas(&self) -> i32 {
        let target = self.deployments().get(self.target()).await;
        let spec = target.expect("the target is there").spec;
        spec.replicas.expect("a number")
    }

    /// One look at every endpoint of the trigger's Service; the replicas that follow from it.
    async fn acts(&self) -> i32 {
        let spec = &self.scaled["spec"];
        let trigger = &spec["triggers"][0];
        assert_eq!(trigger["type"], "metrics-api");
        let word = |name: &str| trigger["metadata"][name].as_str().expect("a text");
        assert_eq!(word("aggregationType"), "max");
        let number = |name: &str| word(name).parse::<i64>().expect("a number");
        let url = word("url").strip_prefix("http://").expect("a URL");
        let (authority, path) = url.split_once('/').expect("a path");
        let (host, port) = authority.split_once(':').expect("a port");
        let suffix = format!(".{}.svc", self.at.yard.namespace);
        let service = host.strip_suffix(&suffix).expect("a Service here");
        let port = port.parse().expect("a port");
        let mut most = 0;
        for door in self.at.yard.kubelet.service(service, port).await {
            // KEDA takes the URL's port for that of the pods.
            assert_eq!(i32::from(door.port()), port);
            let std::net::IpAddr::V4(address) = door.ip() else {
                panic!("{door}");
            };
            let (status, _, body) = get(address, door.port(), &format!("/{path}")).await;
            assert_eq!(status, 200, "{body}");
            let object = body.find('{').zip(body.rfind('}'));
            let (from, to) = object.expect("an object");
            let stats: Value = serde_json::from_str(&body[from..=to]).expect("JSON");
            let place = format!("/{}", word("valueLocation").replace('.', "/"));
            let value = stats.pointer(&place).and_then(Value::as_i64);
            most = most.max(value.unwrap_or_else(|| panic!("no {place} in {stats}")));
        }
        let active = most > number("activationTargetValue");
        let wanted = match active {
            true => (most + number("targetValue") - 1) / number("targetValue"),
            false => spec["minReplicaCount"].as_i64().expect("a number"),
        };
        let patch = Patch::Merge(json!({"spec": {"replicas": wanted}}));
        let params = PatchParams::default();
        let set = self.deployments();
        let set = set.patch_scale(self.target(), &params, &patch).await;
        set.expect("it is scaled");
        i32::try_from(wanted).expect("a few")
    }
}

/// KEDA's resource, as far as the API server needs to keep it.
fn scaled_objects() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_manifests_work_and_one_overlay_rolls_into_another() {
    let Some(at) = grounds_named("scalesocket").await else {
        return;
    };
    let overlay = |name: &str| project(&format!("deploy/{name}")).display().to_string();
    let (plain, wrapped) = (overlay("plain"), overlay("init-container"));
    let census = Census::of(&at.yard.mark);
    at.kubectl(&["apply", "--server-side", "-k", &plain]).await;
    // Pods wait for what deploy/README.md says is made by hand.
    let secret = "--from-literal=secrets=one that people make by hand";
    at.kubectl(&["create", "secret", "generic", "scalesocket-peer", secret])
        .await;
    let doors = at.doors("scalesocket", 3).await;
    let (people, program) = meet(&doors, "lobby").await;
    drop(people);
    at.kubectl(&["apply", "--server-side", "-k", &wrapped])
        .await;
    eventually("the Service has new doors only", async || {
        let now = at.doors("scalesocket", 3).await;
        now.iter().all(|door| !doors.contains(door)).then_some(())
    })
    .await;
    let doors = at.doors("scalesocket", 3).await;
    let (people, other) = meet(&doors, "lobby").await;
    assert_ne!(other, program, "the room ended, for nobody was in it");
    drop(people);
    census.found_no_double();
    at.kubectl(&["delete", "secret", "scalesocket-peer"]).await;
    at.kubectl(&["delete", "--wait=false", "-k", &wrapped])
        .await;
    at.is_empty().await;
}
