//! Scaling and deploying do not cut live rooms, and never split one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::census::{Census, programs};
use crate::people::{Person, join};
use crate::stage::eventually;
use crate::yard::{Crew, crew, yard};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_out_and_in_splits_no_room_and_removes_the_emptiest() {
    let Some(yard) = yard("scale").await else {
        return;
    };
    let three = Crew {
        drain: 20,
        ..crew(3, "")
    };
    let doors = yard.has(&three).await;
    let census = Census::of(&yard.mark);
    let mut people: Vec<(Person, String)> = Vec::new();
    for n in 0..24 {
        let mut person = join(doors[n % 3].address, &format!("old-{n}"))
            .await
            .expect("a way in");
        let program = person.program().await.expect("an answer");
        people.push((person, program));
    }
    let six = Crew {
        replicas: 6,
        ..three.clone()
    };
    let doors = yard.has(&six).await;
    // Rooms stay where they are, by whichever door; new ones go to the new pods too.
    for (n, (person, program)) in people.iter_mut().enumerate() {
        let mut other = join(doors[n % 6].address, &person.room)
            .await
            .expect("a way in");
        assert_eq!(
            &other.program().await.expect("an answer"),
            program,
            "{}",
            person.room
        );
        assert_eq!(
            &person.program().await.expect("an answer"),
            program,
            "{}",
            person.room
        );
    }
    // What is published decides who goes: wait until every pod has said whether it is empty.
    let mut loads = HashMap::new();
    for at in &doors {
        let rooms = yard.stats(at).await["rooms_live"]
            .as_u64()
            .expect("a number");
        loads.insert(at.pod.clone(), rooms);
        eventually("its load is published", async || {
            let pod = yard.pods().get(&at.pod).await.ok()?;
            let cost = pod
                .annotations()
                .get("controller.kubernetes.io/pod-deletion-cost")?;
            ((cost == "0") == (rooms == 0)).then_some(())
        })
        .await;
    }
    let empty: Vec<_> = loads.iter().filter(|(_, rooms)| **rooms == 0).collect();
    assert_eq!(empty.len(), 3, "rooms moved: {loads:?}");

    let doors = yard.has(&three).await;
    for at in &doors {
        assert!(
            loads[&at.pod] > 0,
            "an empty pod was kept, and one with rooms removed: {loads:?}"
        );
    }
    for (person, program) in &mut people {
        assert_eq!(&person.program().await.expect("it was not cut"), program);
    }
    census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_under_load_loses_no_room() {
    let Some(yard) = yard("rollout").await else {
        return;
    };
    let yard = Arc::new(yard);
    let before = Crew {
        drain: 4,
        ..crew(3, "")
    };
    yard.has(&before).await;
    let census = Census::of(&yard.mark);
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..30 {
        let (yard, over) = (yard.clone(), over.clone());
        clients.spawn(async move {
            let room = format!("game-{n}");
            let mut moved = 0;
            let mut longest = Duration::ZERO;
            let mut person: Option<Person> = None;
            let mut lost = Instant::now();
            loop {
                if person.is_none() {
                    // A client that reconnects, by any door that is there.
                    let doors = yard.doors("fleet").await;
                    let door = &doors[(n + moved) % doors.len()];
                    match join(door.address, &room).await {
                        Ok(come) => person = Some(come),
                        // The door went, or the room is not free yet: again.
                        Err(_) => {
                            tokio::task::yield_now().await;
                            continue;
                        }
                    }
                }
                let Some(there) = &mut person else { continue };
                match there.program().await {
                    Ok(_) => {
                        if moved > 0 {
                            longest = longest.max(lost.elapsed());
                        }
                        lost = Instant::now();
                        if over.load(Ordering::Relaxed) {
                            return (moved, longest);
                        }
                    }
                    Err(end) => {
                        assert_eq!(end, Some(1012), "{room} was cut otherwise");
                        person = None;
                        moved += 1;
                        lost = Instant::now();
                    }
                }
            }
        });
    }
    eventually("every room is there", async || {
        (programs(&yard.mark).len() == 30).then_some(())
    })
    .await;
    let after = Crew {
        revision: 2,
        ..before
    };
    yard.has(&after).await;
    over.store(true, Ordering::Relaxed);
    let told = clients.join_all().await;
    let moves: usize = told.iter().map(|(moved, _)| moved).sum();
    assert!(
        moves >= 30,
        "every pod was replaced, so every room moved: {told:?}"
    );
    let longest = told
        .iter()
        .map(|(_, longest)| *longest)
        .max()
        .unwrap_or_default();
    println!("30 rooms moved {moves} times; the longest gap was {longest:?}");
    let programs = programs(&yard.mark);
    assert!(
        programs.values().all(|pids| pids.len() == 1),
        "{programs:?}"
    );
    census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_pod_keeps_its_rooms_and_gets_no_others() {
    let Some(yard) = yard("drain").await else {
        return;
    };
    let two = Crew {
        drain: 30,
        ..crew(2, "")
    };
    let doors = yard.has(&two).await;
    let census = Census::of(&yard.mark);
    let mut person = join(doors[0].address, "long").await.expect("a way in");
    let program = person.program().await.expect("an answer");
    let owner = yard.owner_of_the_room(&doors).await;
    let other = doors
        .iter()
        .find(|at| **at != owner)
        .expect("another pod")
        .clone();
    yard.pods()
        .delete(&owner.pod, &kube::api::DeleteParams::default())
        .await
        .expect("deleted");
    eventually("others know that it drains", async || {
        let sessions = yard.leases_of("ss-s-").await;
        sessions
            .iter()
            .any(|lease| {
                lease
                    .annotations()
                    .get("scalesocket.dev/state")
                    .is_some_and(|s| s == "draining")
            })
            .then_some(())
    })
    .await;
    // The room lives, and can be joined by the other door; new rooms go elsewhere.
    let mut late = join(other.address, "long").await.expect("a way in");
    assert_eq!(late.program().await.expect("an answer"), program);
    for n in 0..6 {
        let mut new = join(owner.address, &format!("new-{n}"))
            .await
            .expect("a way in");
        new.program().await.expect("an answer");
    }
    assert_eq!(yard.stats(&owner).await["rooms_live"], 1);
    // It ends when its room does, long before its time is over.
    drop((person, late));
    eventually("it is gone", async || {
        yard.pods()
            .get_opt(&owner.pod)
            .await
            .ok()?
            .is_none()
            .then_some(())
    })
    .await;
    let sessions = yard.leases_of("ss-s-").await;
    assert!(
        sessions.iter().all(|lease| !lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref())
            .unwrap_or_default()
            .starts_with(&owner.pod)),
        "it left its session"
    );
    census.found_no_double();
}
