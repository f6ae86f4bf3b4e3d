//! What happens when X dies: the table of docs/kubernetes.md, in both modes of claims.

use kube::ResourceExt;

use crate::census::{Census, programs};
use crate::people::{Person, Refused, join};
use crate::stage::{Cut, eventually};
use crate::yard::{At, Crew, Yard, crew, yard, yard_alone};

const POD: &str = "--kube-claims=pod --kube-takeover-delay=1";
const FENCED: &str =
    "--kube-claims=fenced --kube-fence-after=6 --kube-fence-margin=2 --kube-takeover-delay=1";

/// A fleet of two, a room with somebody in it who came by the pod that has it, and the other pod.
struct Scene {
    owner: At,
    other: At,
    person: Person,
    program: String,
    census: Census,
}

async fn scene(yard: &Yard, flags: &str) -> Scene {
    let doors = yard
        .has(&Crew {
            drain: 1,
            ..crew(2, flags)
        })
        .await;
    let census = Census::of(&yard.mark);
    let mut person = join(doors[0].address, "game").await.expect("a way in");
    person.program().await.expect("an answer");
    let owner = yard.owner_of_the_room(&doors).await;
    let other = doors
        .into_iter()
        .find(|at| *at != owner)
        .expect("another pod");
    // By its own door, so that what happens to the other one is not seen here.
    let mut direct = join(owner.address, "game").await.expect("a way in");
    let program = direct.program().await.expect("an answer");
    drop(person);
    Scene {
        owner,
        other,
        person: direct,
        program,
        census,
    }
}

/// Comes in by that door as soon as the room may be had there: the program it finds.
async fn found_again(at: &At, room: &str) -> (Person, String) {
    eventually("the room is found again", async || {
        let mut person = join(at.address, room).await.ok()?;
        let program = person.program().await.ok()?;
        Some((person, program))
    })
    .await
}

async fn a_killed_process_frees_its_rooms(flags: &str) {
    let Some(yard) = yard("kill").await else {
        return;
    };
    let mut scene = scene(&yard, flags).await;
    yard.kubelet.kill(&scene.owner.pod);
    assert_eq!(
        scene.person.ends().await,
        None,
        "a killed server says nothing"
    );
    let (_person, program) = found_again(&scene.other, "game").await;
    assert_ne!(program, scene.program);
    scene.census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_frees_its_rooms_pod() {
    a_killed_process_frees_its_rooms(POD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_frees_its_rooms_fenced() {
    a_killed_process_frees_its_rooms(FENCED).await;
}

/// Deleted by force while it runs and sees it: it kills its rooms, and they open elsewhere.
async fn a_pod_deleted_by_force_ends_its_rooms(flags: &str) {
    let Some(yard) = yard("force").await else {
        return;
    };
    let mut scene = scene(&yard, flags).await;
    // The kubelet does nothing about it: only the server itself can.
    let node = yard.pods().get(&scene.owner.pod).await.expect("the pod");
    let node = node.spec.and_then(|spec| spec.node_name).expect("a node");
    let lost = ["a", "b"]
        .into_iter()
        .find(|name| yard.kubelet.node_name(name) == node);
    let lost = lost.expect("one of ours");
    yard.kubelet.lose_node(lost);
    yard.force_delete(&scene.owner.pod).await;
    let end = scene.person.ends().await;
    assert_eq!(end, Some(1013), "its clients are told");
    let (_person, program) = found_again(&scene.other, "game").await;
    assert_ne!(program, scene.program);
    scene.census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_deleted_by_force_ends_its_rooms_pod() {
    a_pod_deleted_by_force_ends_its_rooms(POD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_deleted_by_force_ends_its_rooms_fenced() {
    a_pod_deleted_by_force_ends_its_rooms(FENCED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_on_the_way_through_a_pod_that_is_lost_is_told_so() {
    let Some(yard) = yard("through").await else {
        return;
    };
    let scene = scene(&yard, POD).await;
    let mut through = join(scene.other.address, "game").await.expect("a way in");
    assert_eq!(through.program().await.as_ref(), Ok(&scene.program));
    let node = yard.pods().get(&scene.other.pod).await.expect("the pod");
    let node = node.spec.and_then(|spec| spec.node_name).expect("a node");
    let lost = ["a", "b"]
        .into_iter()
        .find(|name| yard.kubelet.node_name(name) == node);
    yard.kubelet.lose_node(lost.expect("one of ours"));
    yard.force_delete(&scene.other.pod).await;
    assert_eq!(through.ends().await, Some(1012));
    // The room itself was on another pod, whose node may be lost too.
    drop(scene.person);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_pod_keeps_its_rooms_and_opens_none_pod() {
    let Some(yard) = yard("partition").await else {
        return;
    };
    let mut scene = scene(&yard, POD).await;
    yard.kubelet.partition(&scene.owner.pod, Cut::Silent);
    // Its rooms live and can be joined, by either door.
    assert_eq!(
        scene.person.program().await.expect("it lives"),
        scene.program
    );
    let mut other = join(scene.other.address, "game").await.expect("a way in");
    assert_eq!(other.program().await.expect("an answer"), scene.program);
    // Rooms that would be its own are not opened by it; the other opens what is its own.
    let mut opened = 0;
    for n in 0..6 {
        match join(scene.owner.address, &format!("new-{n}")).await {
            Ok(mut person) => {
                person.program().await.expect("an answer");
                opened += 1;
            }
            Err(Refused::Status(503, _)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    println!("{opened} of 6 rooms could be opened by the door of a pod that is cut off");
    assert_eq!(yard.stats(&scene.owner).await["rooms_live"], 1);
    yard.kubelet.heal(&scene.owner.pod);
    let (_again, _) = found_again(&scene.owner, "after").await;
    assert_eq!(
        scene.person.program().await.expect("it lives"),
        scene.program
    );
    scene.census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_pod_ends_its_rooms_in_time_fenced() {
    let Some(yard) = yard("fence").await else {
        return;
    };
    let mut scene = scene(&yard, FENCED).await;
    yard.kubelet.partition(&scene.owner.pod, Cut::Silent);
    assert_eq!(scene.person.ends().await, Some(1013));
    let (_person, program) = found_again(&scene.other, "game").await;
    assert_ne!(program, scene.program);
    // Back in the fleet, it has a session again and takes rooms.
    yard.kubelet.heal(&scene.owner.pod);
    eventually("it is ready again", async || {
        let (status, _, _) = crate::people::get(scene.owner.address, 9090, "/ready").await;
        (status == 200).then_some(())
    })
    .await;
    scene.census.found_no_double();
}

/// A server that is stopped cannot fence itself; its warden does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_fenced_by_its_warden() {
    let Some(yard) = yard("stopped").await else {
        return;
    };
    let scene = scene(&yard, FENCED).await;
    let server = yard.kubelet.process_id(&scene.owner.pod).expect("it runs");
    let server = nix::unistd::Pid::from_raw(server);
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGSTOP).expect("it is stopped");
    let program = programs(&yard.mark)["game"][0];
    eventually("the program is dead though its server sleeps", async || {
        let state = std::fs::read_to_string(format!("/proc/{program}/stat")).unwrap_or_default();
        let dead = state
            .rsplit_once(')')
            .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'));
        dead.then_some(())
    })
    .await;
    let (_person, found) = found_again(&scene.other, "game").await;
    assert_ne!(found, scene.program);
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGCONT).expect("it goes on");
    scene.census.found_no_double();
}

async fn api_server_away(flags: &str) -> Option<(Yard, Scene)> {
    let yard = yard_alone("outage").await?;
    let scene = scene(&yard, flags).await;
    yard.plane.stop_api();
    Some((yard, scene))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_rooms_live_and_none_are_opened_pod() {
    let Some((yard, mut scene)) = api_server_away(POD).await else {
        return;
    };
    // As long as the outage of the contract, where there is time for it.
    let seconds = std::env::var("FLEET_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds.unwrap_or(3));
    loop {
        assert_eq!(
            scene.person.program().await.expect("it lives"),
            scene.program
        );
        let mut by_other = join(scene.other.address, "game")
            .await
            .expect("joins need no API");
        assert_eq!(by_other.program().await.expect("an answer"), scene.program);
        match join(scene.owner.address, "new").await {
            Err(Refused::Status(503, body)) => {
                assert!(body.contains("claim_unavailable"), "{body}")
            }
            Ok(_) => panic!("a room was opened without a claim"),
            Err(other) => panic!("{other:?}"),
        }
        if tokio::time::Instant::now() >= until {
            break;
        }
    }
    yard.plane.start_api().await;
    let (_new, _) = found_again(&scene.other, "new").await;
    assert_eq!(
        scene.person.program().await.expect("it lives"),
        scene.program
    );
    scene.census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_rooms_end_in_time_fenced() {
    let Some((yard, mut scene)) = api_server_away(FENCED).await else {
        return;
    };
    assert_eq!(scene.person.ends().await, Some(1013));
    assert!(programs(&yard.mark).is_empty());
    yard.plane.start_api().await;
    let (_person, program) = found_again(&scene.other, "game").await;
    assert_ne!(program, scene.program);
    scene.census.found_no_double();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_deleted_by_hand_ends_the_rooms_and_is_made_anew() {
    let Some(yard) = yard("session").await else {
        return;
    };
    let mut scene = scene(&yard, POD).await;
    let name = format!("ss-s-{}", yard.uid(&scene.owner.pod).await);
    let before = yard.leases().get(&name).await.expect("the session").uid();
    let params = kube::api::DeleteParams::default();
    yard.leases().delete(&name, &params).await.expect("deleted");
    assert_eq!(scene.person.ends().await, Some(1013));
    eventually("it has another session", async || {
        let session = yard.leases().get(&name).await.ok()?;
        (session.uid() != before).then_some(())
    })
    .await;
    let (_person, program) = found_again(&scene.owner, "game").await;
    assert_ne!(program, scene.program);
    scene.census.found_no_double();
}
