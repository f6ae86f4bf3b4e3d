//! The console of a pod knows every pod of the fleet, and which room each of them has.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::people::{get_as, join};
use crate::stage::eventually;
use crate::yard::{At, crew, gateways, yard};

/// What pods have mounted for each other is good enough for their console, too.
const FLAGS: &str = "--console --admin-token-file=/etc/peers/secrets";
const TOKEN: &str = "a-secret-that-the-pods-of-this-fleet-share";

async fn asks(at: &At, path: &str) -> Option<Value> {
    let header = format!("Authorization: Bearer {TOKEN}\r\n");
    let (status, _, body) = get_as(at.address, 9090, path, &header).await;
    let object = body.find('{').zip(body.rfind('}'));
    let object = object.and_then(|(from, to)| body.get(from..=to));
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(object?).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_of_any_pod_shows_every_pod_and_which_room_it_has() {
    let Some(yard) = yard("console").await else {
        return;
    };
    yard.apply(&serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "peers"},
        "stringData": {"secrets": format!("{TOKEN}\n")},
    }))
    .await;
    let mut doors = yard.has(&crew(3, FLAGS)).await;
    let pods = doors.clone();
    doors.extend(yard.has(&gateways(1, FLAGS)).await);
    let mut people = Vec::new();
    for n in 0..12 {
        let door = &doors[n % doors.len()];
        let person = join(door.address, &format!("table-{n}")).await;
        people.push(person.expect("a place in the room"));
    }

    // Where they are in truth: each pod knows its own.
    let mut truth = BTreeMap::new();
    for at in &pods {
        let overview = asks(at, "/console/overview").await.expect("an overview");
        assert_eq!(overview["fleet"], true);
        for room in overview["rooms"].as_array().expect("rooms") {
            let name = room["name"].as_str().expect("a name").to_owned();
            truth.insert(name, at.pod.clone());
        }
    }
    assert_eq!(truth.len(), 12, "{truth:?}");

    // Any of them tells it of all, a gateway too, although its view follows the others by a moment.
    for at in &doors {
        let fleet = eventually("the whole fleet", async || {
            let fleet = asks(at, "/console/fleet").await?;
            let clients = fleet["pods"].as_array()?.iter();
            let clients: u64 = clients.filter_map(|pod| pod["clients"].as_u64()).sum();
            (fleet["rooms_live"] == 12 && clients >= 12).then_some(fleet)
        })
        .await;
        let told: BTreeMap<String, String> = fleet["rooms"]
            .as_array()
            .expect("rooms")
            .iter()
            .map(|held| {
                let text = |name: &str| held[name].as_str().unwrap_or_default().to_owned();
                (text("room"), text("pod"))
            })
            .collect();
        assert_eq!(told, truth, "by {}", at.pod);
        for pod in &pods {
            let listed = fleet["pods"].as_array().expect("pods");
            let listed = listed.iter().find(|one| one["pod"] == pod.pod.as_str());
            let listed = listed.unwrap_or_else(|| panic!("{} is not there: {fleet}", pod.pod));
            let own = truth.values().filter(|of| **of == pod.pod).count();
            assert_eq!(listed["rooms"], own, "{listed}");
            assert_eq!(
                (&listed["ready"], &listed["leaving"]),
                (&true.into(), &false.into())
            );
        }
        let gateway = fleet["pods"].as_array().expect("pods").iter();
        assert_eq!(
            gateway.filter(|pod| pod["limit"] == 0).count(),
            1,
            "{fleet}"
        );
        let one = asks(at, "/console/fleet?search=TABLE-11")
            .await
            .expect("one");
        assert_eq!(
            (&one["rooms_matching"], &one["rooms_live"]),
            (&1.into(), &12.into())
        );
        assert_eq!(one["rooms"][0]["pod"], truth["table-11"].as_str());
    }

    // A room that ends is nobody's, in the view of every pod.
    let gone = people.remove(0);
    drop(gone);
    for at in &doors {
        eventually("the room is gone", async || {
            let fleet = asks(at, "/console/fleet?search=table-0").await?;
            (fleet["rooms_matching"] == 0).then_some(())
        })
        .await;
    }
}
