//! Every pod is a door to every room.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use kube::ResourceExt;

use crate::census::{Census, programs};
use crate::people::{Person, Refused, get, join};
use crate::stage::eventually;
use crate::yard::{At, crew, gateways, yard};

/// Clients that come at once.
const AT_ONCE: usize = 24;

/// Somebody in each of these rooms, by the door of its place in the list; and each room's program.
async fn fill(doors: &[At], rooms: &[String], shift: usize) -> Vec<(Person, String)> {
    stream::iter(rooms.iter().enumerate())
        .map(|(n, room)| {
            // Doors are taken in an order that has nothing to do with where rooms are placed.
            let door = doors[(n * 7 + shift) % doors.len()].clone();
            async move {
                let mut person = join(door.address, room)
                    .await
                    .unwrap_or_else(|error| panic!("{room} by {}: {error:?}", door.pod));
                let program = person.program().await;
                let program = program.unwrap_or_else(|end| panic!("{room}: closed with {end:?}"));
                (person, program)
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_rooms_by_any_door_have_one_program_each() {
    let Some(yard) = yard("doors").await else {
        return;
    };
    let doors = yard.has(&crew(3, "")).await;
    let census = Census::of(&yard.mark);
    let rooms: Vec<String> = (0..300).map(|n| format!("room-{n}")).collect();
    let mut first = fill(&doors, &rooms, 0).await;
    let second = fill(&doors, &rooms, 1).await;
    for ((_, one), (person, other)) in first.iter().zip(&second) {
        assert_eq!(one, other, "{}: two doors led to two programs", person.room);
    }
    let running = programs(&yard.mark);
    assert_eq!(running.len(), 300);
    assert!(running.values().all(|pids| pids.len() == 1), "{running:?}");
    let names: HashSet<&String> = first.iter().map(|(_, program)| program).collect();
    assert_eq!(names.len(), 300, "each room has a program of its own");

    // They are spread: no pod has more than its bound of the average.
    let mut by_pod = BTreeMap::new();
    for at in &doors {
        let stats = yard.stats(at).await;
        by_pod.insert(
            at.pod.clone(),
            stats["rooms_live"].as_u64().expect("a number"),
        );
        let scaling = &stats["scaling"];
        // The view of a pod follows the others' claims within moments.
        eventually("the fleet's figures", async || {
            let scaling = yard.stats(at).await["scaling"].clone();
            (scaling["rooms"] == 300 && scaling["pods_ready"] == 3).then_some(())
        })
        .await;
        assert_eq!(scaling["limit_per_pod"], 1024);
        assert_eq!(scaling["pending_rooms"], 0);
    }
    assert_eq!(by_pod.values().sum::<u64>(), 300);
    assert!(by_pod.values().all(|rooms| *rooms <= 126), "{by_pod:?}");

    // Somebody else's proxy is told where each room is.
    for (person, _) in first.iter().step_by(50) {
        let (status, head, _) =
            get(doors[0].address, 9090, &format!("/resolve/{}", person.room)).await;
        let endpoint = head
            .lines()
            .find_map(|line| line.strip_prefix("scalesocket-endpoint: "));
        let endpoint = endpoint.unwrap_or_else(|| panic!("{status} {head}"));
        let address = endpoint
            .trim_end()
            .strip_suffix(":9000")
            .expect("the public port");
        let owner = doors
            .iter()
            .find(|at| at.address.to_string() == address)
            .expect("a pod");
        let stats = yard.stats(owner).await;
        let its = stats["rooms"].as_array().expect("a list");
        assert!(
            its.iter().any(|room| room["name"] == person.room.as_str()),
            "{}",
            person.room
        );
    }

    // Two writes for each room's life.
    let mut writes = 0.0;
    drop(second);
    first.drain(..).for_each(drop);
    eventually("no room is left", async || {
        programs(&yard.mark).is_empty().then_some(())
    })
    .await;
    eventually("no claim is left", async || {
        yard.leases_of("ss-r-").await.is_empty().then_some(())
    })
    .await;
    for at in &doors {
        for verb in ["create", "delete"] {
            let words = ["resource=\"leases\"", &format!("verb=\"{verb}\"")];
            writes += yard
                .counted(at, "scalesocket_api_requests_total", &words)
                .await;
        }
    }
    // Each pod's session is one more.
    assert!(writes <= 2.0 * 300.0 + 3.0, "{writes} writes for 300 rooms");
    census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_first_clients_at_once_by_pods_and_gateways_get_one_program() {
    let Some(yard) = yard("stampede").await else {
        return;
    };
    let mut doors = yard.has(&crew(3, "")).await;
    doors.extend(yard.has(&gateways(2, "")).await);
    let census = Census::of(&yard.mark);
    for round in 0..5 {
        let room = format!("stampede-{round}");
        let together = Arc::new(tokio::sync::Barrier::new(20));
        let mut clients = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (together, room, door) = (together.clone(), room.clone(), doors[n % 5].clone());
            clients.spawn(async move {
                together.wait().await;
                let mut person = join(door.address, &room).await.expect("a way in");
                let program = person.program().await.expect("an answer");
                (person, program)
            });
        }
        let met = clients.join_all().await;
        let programs: HashSet<&String> = met.iter().map(|(_, program)| program).collect();
        assert_eq!(programs.len(), 1, "{room}: {programs:?}");
    }
    census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_there_is_no_pod_is_held_until_there_is_one() {
    let Some(yard) = yard("zero").await else {
        return;
    };
    let gateway = yard
        .has(&gateways(1, "--route-timeout=60s"))
        .await
        .remove(0);
    let address = gateway.address;
    let client = tokio::task::JoinSet::from_iter([async move {
        let mut person = join(address, "first").await.expect("a way in, in the end");
        person.program().await.expect("an answer")
    }]);
    // An autoscaler is told that a room is wanted.
    eventually("the room is waited for", async || {
        let scaling = yard.stats(&gateway).await["scaling"].clone();
        (scaling["pending_rooms"] == 1 && scaling["rooms_wanted"] == 1).then_some(())
    })
    .await;
    assert_eq!(yard.stats(&gateway).await["scaling"]["pods_ready"], 0);
    yard.wants(&crew(1, "")).await;
    let programs = client.join_all().await;
    assert_eq!(programs.len(), 1);
    // It has no rooms of its own, ever.
    assert_eq!(yard.stats(&gateway).await["rooms_live"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_proxy_clients_are_told_where_their_room_is() {
    let Some(yard) = yard("reject").await else {
        return;
    };
    let doors = yard.has(&crew(2, "--kube-route=reject")).await;
    let mut refusals = 0;
    for n in 0..8 {
        let room = format!("room-{n}");
        let mut programs = HashSet::new();
        let mut kept = Vec::new();
        for door in &doors {
            match join(door.address, &room).await {
                Ok(mut person) => {
                    programs.insert(person.program().await.expect("an answer"));
                    kept.push(person);
                }
                Err(Refused::Status(421, body)) => {
                    refusals += 1;
                    assert!(body.contains("elsewhere"), "{body}");
                }
                Err(other) => panic!("{room} by {}: {other:?}", door.pod),
            }
        }
        assert!(programs.len() <= 1, "{room}: {programs:?}");
    }
    assert!(refusals >= 8, "some room was at two doors");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_only_publishes_needs_nothing_but_its_own_pod() {
    let Some(yard) = yard("publish").await else {
        return;
    };
    yard.apply(&serde_json::json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "fleet"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "patch"]}],
    }))
    .await;
    let at = yard.has(&crew(1, "--kube-claims=off")).await.remove(0);
    let mut person = join(at.address, "lobby").await.expect("a way in");
    person.program().await.expect("an answer");
    let annotation =
        |pod: &k8s_openapi::api::core::v1::Pod, name: &str| pod.annotations().get(name).cloned();
    eventually("the room is published", async || {
        let pod = yard.pods().get(&at.pod).await.ok()?;
        let rooms = annotation(&pod, "scalesocket.dev/rooms")?;
        let occupied = pod.labels().get("scalesocket.dev/occupied").is_some();
        let cost = annotation(&pod, "controller.kubernetes.io/pod-deletion-cost")?;
        (rooms == r#"{"lobby":1}"# && occupied && cost == "1").then_some(())
    })
    .await;
    drop(person);
    eventually("it is published that nobody is left", async || {
        let pod = yard.pods().get(&at.pod).await.ok()?;
        let rooms = annotation(&pod, "scalesocket.dev/rooms")?;
        let occupied = pod.labels().get("scalesocket.dev/occupied").is_some();
        (rooms == "{}" && !occupied).then_some(())
    })
    .await;
    assert!(yard.leases_of("ss-").await.is_empty(), "it made a lease");
}
