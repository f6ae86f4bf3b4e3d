//! Clients at the doors of a fleet: wherever they come, they find their room.

mod compressed;
mod identity;
mod stage;

use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;

use super::*;
use crate::http::gate::Gate;
use stage::{OnePod, Person, Stage, Told, join, join_with, nobody, turned_away, within};

/// A client for each pod in turn, all in one room.
async fn everybody(pods: &[OnePod], path: &str, count: usize) -> Vec<Person> {
    let doors = pods.iter().map(|pod| pod.public).cycle().take(count);
    futures_util::future::join_all(doors.map(|door| join(door, path))).await
}

/// The pod that gets a new room of that name, and another one.
fn owner_and_other<'a>(pods: &'a [OnePod; 2], room: &str) -> (&'a OnePod, &'a OnePod) {
    let room = RoomName::parse(room).unwrap();
    let at = pods[0].router.resolve(&room).unwrap();
    match pods[0].public == at {
        true => (&pods[0], &pods[1]),
        false => (&pods[1], &pods[0]),
    }
}

#[tokio::test]
async fn clients_of_a_room_meet_whichever_pod_they_come_to() {
    let stage = Stage::new().await;
    let pods: [_; 3] = stage.pods(&Told::default()).await;
    for room in ["/a", "/b", "/c"] {
        let mut people = everybody(&pods, room, 6).await;
        people[0].says("hello").await;
        for person in &mut people {
            person.hears("hello").await;
        }
        people[5].says("and back").await;
        for person in &mut people {
            person.hears("and back").await;
        }
    }
    assert_eq!(stage.programs(), 3);
}

#[tokio::test]
async fn a_pod_that_has_not_heard_of_a_claim_finds_the_owner_by_one_hop() {
    let stage = Stage::new().await;
    let pods: [_; 4] = stage.pods(&Told::default()).await;
    stage.table.blind.store(true, SeqCst);
    // Taken by the pod that nobody would choose now: the fullest.
    let owner = &pods[2];
    stage.table.pods.lock()[2].rooms = 50;
    let me = Owner {
        endpoint: owner.peer,
        session: owner.session,
    };
    let room = RoomName::parse("lobby").unwrap();
    stage.table.claims.lock().insert(room, me);
    let mut people = everybody(&pods, "/lobby", 4).await;
    people[1].says("hello").await;
    for person in &mut people {
        person.hears("hello").await;
    }
    assert_eq!(stage.programs(), 1);
    assert_eq!(owner.rooms.len(), 1);
}

#[tokio::test]
async fn twenty_first_clients_at_once_start_one_program() {
    let stage = Stage::new().await;
    let mut pods = Vec::from(stage.pods::<3>(&Told::default()).await);
    let gateway = Told {
        max_rooms: 0,
        ..Told::default()
    };
    pods.extend(stage.pods::<2>(&gateway).await);
    for blind in [false, true] {
        stage.table.blind.store(blind, SeqCst);
        let before = stage.programs();
        let mut people = everybody(&pods, &format!("/rush-{blind}"), 20).await;
        people[19].says("all here").await;
        for person in &mut people {
            person.hears("all here").await;
        }
        assert_eq!(stage.programs(), before + 1);
    }
    assert!(pods[3..].iter().all(|gateway| gateway.rooms.is_empty()));
}

#[tokio::test]
async fn the_room_hears_of_the_client_itself_and_not_of_what_it_makes_up() {
    let stage = Stage::new().await;
    let pods: [_; 2] = stage.pods(&Told::default()).await;
    let (owner, entry) = owner_and_other(&pods, "lobby");
    let mut first = join(owner.public, "/lobby").await;
    let made_up = [
        ("scalesocket-peer-user", "root"),
        ("scalesocket-peer-client", "192.0.2.1:1"),
        ("sec-websocket-protocol", "other, chat"),
    ];
    let mut second = join_with(entry.public, "/lobby", &made_up).await.unwrap();
    let port = entry.public.port();
    let joined = format!("joined from {} at {port} []", second.address);
    first.hears(&joined).await;
    second.hears(&joined).await;
    // The owner chose the protocol; what the door adds to answers is added once.
    assert_eq!(second.headers["sec-websocket-protocol"], "chat");
    assert_eq!(second.headers.get_all("x-served-by").iter().count(), 1);
    assert_eq!(entry.router.transits().len(), 1);
    drop(second);
    within("leaving", entry.router.transits().all_gone()).await;
}

#[tokio::test]
async fn a_pod_that_takes_no_connection_is_passed_over_for_a_new_room() {
    let stage = Stage::new().await;
    let told = Told {
        placement: Placement::Packed(50),
        ..Told::default()
    };
    let pods: [_; 2] = stage.pods(&told).await;
    let gone = Owner {
        endpoint: nobody().await,
        session: 7,
    };
    // The fullest of all below the target: everybody's first choice.
    stage.table.pods.lock().push(Pod {
        uid: "uid-gone".to_owned(),
        owner: gone,
        public: None,
        rooms: 40,
        limit: 100,
        eligible: true,
    });
    let mut people = everybody(&pods, "/lobby", 2).await;
    people[0].says("hello").await;
    people[1].hears("hello").await;
    assert!(pods.iter().any(|pod| pod.router.suspects.get(&7).is_some()));
}

#[tokio::test]
async fn a_room_whose_owner_does_not_answer_is_waited_for_and_never_started_elsewhere() {
    let stage = Stage::new().await;
    let told = Told {
        route_timeout: Duration::from_secs(3),
        ..Told::default()
    };
    let pods: [_; 2] = stage.pods(&told).await;
    let room = RoomName::parse("lobby").unwrap();
    let gone = Owner {
        endpoint: nobody().await,
        session: 7,
    };
    stage.table.claims.lock().insert(room.clone(), gone);
    let no = turned_away(pods[0].public, "/lobby").await;
    assert_eq!((no.status, no.error.as_str()), (503, "owner_unreachable"));
    assert_eq!(no.headers["retry-after"], "1");
    assert_eq!(stage.programs(), 0);
    // Once its claim is gone, the room is free.
    stage.table.claims.lock().remove(&room);
    join(pods[0].public, "/lobby").await.hears_itself().await;
}

#[tokio::test]
async fn an_owner_that_started_anew_says_so_and_the_room_is_placed_again() {
    let stage = Stage::new().await;
    let pods: [_; 2] = stage.pods(&Told::default()).await;
    // The watch still shows the claim of an older life of a pod.
    let old = Owner {
        endpoint: pods[1].peer,
        session: 7,
    };
    let room = RoomName::parse("lobby").unwrap();
    pods[0].router.learned.put(room, old);
    join(pods[0].public, "/lobby").await.hears_itself().await;
    assert_eq!(stage.programs(), 1);
}

#[tokio::test]
async fn a_full_pod_is_passed_over_and_a_full_fleet_holds_the_client() {
    let stage = Stage::new().await;
    let told = Told {
        max_rooms: 1,
        route_timeout: Duration::from_secs(3),
        ..Told::default()
    };
    let pods: [_; 2] = stage.pods(&told).await;
    // What is known of loads is old: rooms are sent to full pods, which say so.
    stage
        .table
        .pods
        .lock()
        .iter_mut()
        .for_each(|pod| pod.limit = 100);
    let first = join(pods[0].public, "/first").await;
    let _second = join(pods[0].public, "/second").await;
    assert_eq!((pods[0].rooms.len(), pods[1].rooms.len()), (1, 1));
    let no = turned_away(pods[1].public, "/third").await;
    assert_eq!((no.status, no.error.as_str()), (503, "no_server"));
    assert_eq!(no.headers["retry-after"], "1");
    assert_eq!(pods[1].router.pending_rooms(), 0);
    // Whoever is held comes in when a room ends.
    drop(first);
    let mut third = loop {
        if let Ok(person) = join_with(pods[1].public, "/third", &[]).await {
            break person;
        }
    };
    third.hears_itself().await;
    assert_eq!(stage.programs(), 3);
}

#[tokio::test]
async fn a_gateway_holds_a_client_until_the_first_pod_is_there() {
    let stage = Stage::new().await;
    let gateway = Told {
        max_rooms: 0,
        ..Told::default()
    };
    let gateway = stage.pod(&gateway).await;
    let comes = async {
        let mut people =
            futures_util::future::join_all((0..3).map(|_| join(gateway.public, "/lobby"))).await;
        people[0].hears_itself().await;
        people
    };
    let starts = async {
        while gateway.router.pending_rooms() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            gateway.router.pending_rooms(),
            1,
            "one room, however many clients"
        );
        stage.pod(&Told::default()).await
    };
    let (_people, pod) = tokio::join!(comes, starts);
    assert_eq!((pod.rooms.len(), gateway.router.pending_rooms()), (1, 0));
}

#[tokio::test]
async fn what_the_owner_refuses_for_good_the_client_hears() {
    let stage = Stage::new().await;
    let pods: [_; 2] = stage.pods(&Told::default()).await;
    let (owner, entry) = owner_and_other(&pods, "lobby");
    let _first = join(owner.public, "/lobby").await;
    // The address has 30 places, and the entry counts them for rooms elsewhere too.
    let people = everybody(std::slice::from_ref(entry), "/lobby", 30).await;
    let no = turned_away(entry.public, "/lobby").await;
    assert_eq!(
        (no.status, no.error.as_str()),
        (429, "too_many_from_address")
    );
    drop(people);
    within("leaving", entry.router.transits().all_gone()).await;
    join(entry.public, "/lobby").await.hears_itself().await;
}

#[tokio::test]
async fn who_is_not_led_there_is_told_where_the_room_is() {
    let stage = Stage::new().await;
    let told = Told {
        proxy: false,
        ..Told::default()
    };
    let pods: [_; 2] = stage.pods(&told).await;
    let (owner, other) = owner_and_other(&pods, "lobby");
    let mut inside = Vec::new();
    for _ in 0..2 {
        let no = turned_away(other.public, "/lobby").await;
        assert_eq!((no.status, no.error.as_str()), (421, "elsewhere"));
        let endpoint = &no.headers["scalesocket-endpoint"];
        assert_eq!(endpoint, &owner.public.to_string());
        // First it is told where the room would be, then where it is.
        let mut person = join(owner.public, "/lobby").await;
        person.hears_itself().await;
        inside.push(person);
    }
}

#[tokio::test]
async fn every_pod_resolves_a_room_to_the_same_address() {
    let stage = Stage::new().await;
    let pods: [_; 3] = stage.pods(&Told::default()).await;
    let mut people = Vec::new();
    for n in 0..10 {
        let path = format!("/room-{n}");
        people.push(join(pods[n % 3].public, &path).await);
        let mut answers = Vec::new();
        for pod in &pods {
            let url = format!("/resolve{path}");
            let (status, head) = get(pod.public, &url).await;
            assert_eq!(status, 200);
            let header = "scalesocket-endpoint: ";
            let line = head.lines().find(|line| line.starts_with(header)).unwrap();
            answers.push(line[header.len()..].to_owned());
        }
        let owner = pods.iter().find(|pod| pod.rooms.get(&path[1..]).is_some());
        let owner = owner.unwrap().public.to_string();
        assert!(
            answers.iter().all(|answer| *answer == owner),
            "{answers:?} {owner}"
        );
    }
    assert_eq!(get(pods[0].public, "/resolve/~bad").await.0, 400);
    stage.table.pods.lock().clear();
    let nobody = Told {
        max_rooms: 0,
        ..Told::default()
    };
    let gateway = stage.pod(&nobody).await;
    assert_eq!(get(gateway.public, "/resolve/new").await.0, 503);
}

#[tokio::test]
async fn only_a_peer_speaks_on_the_peer_port_and_it_has_nothing_else() {
    let stage = Stage::new().await;
    let pod = stage.pod(&Told::default()).await;
    let no = turned_away(pod.peer, "/lobby").await;
    assert_eq!((no.status, no.error.as_str()), (403, "not_a_peer"));
    assert_eq!(no.headers["scalesocket-reason"], "not_a_peer");
    assert_eq!(get(pod.peer, "/health").await.0, 200);
    for path in [
        "/metrics",
        "/stats",
        "/resolve/lobby",
        "/api/rooms/",
        "/drain",
        "/",
    ] {
        assert_eq!(get(pod.peer, path).await.0, 404, "{path}");
    }
    assert_eq!(stage.programs(), 0);
}

#[tokio::test]
async fn at_the_end_those_on_their_way_through_are_told_and_find_their_room_again() {
    let stage = Stage::new().await;
    let pods: [_; 2] = stage.pods(&Told::default()).await;
    let (owner, entry) = owner_and_other(&pods, "lobby");
    let mut at_owner = join(owner.public, "/lobby").await;
    let mut through = join(entry.public, "/lobby").await;
    through.hears_itself().await;
    let draining = crate::room::Close::new(crate::room::Close::RESTART, "server draining");
    entry.router.transits().drain(draining);
    assert_eq!(through.closed().await, (1012, "server draining".to_owned()));
    drop(through);
    within("leaving", entry.router.transits().all_gone()).await;
    // The room lives on, and is found by another door.
    let mut back = join(owner.public, "/lobby").await;
    back.says("back again").await;
    at_owner.hears("back again").await;
    assert_eq!(stage.programs(), 1);
}

#[tokio::test]
async fn who_is_held_when_the_server_ends_is_told_so() {
    let stage = Stage::new().await;
    let gateway = Told {
        max_rooms: 0,
        ..Told::default()
    };
    let gateway = stage.pod(&gateway).await;
    let comes = turned_away(gateway.public, "/lobby");
    let ends = async {
        while gateway.router.pending_rooms() == 0 {
            tokio::task::yield_now().await;
        }
        let close = crate::room::Close::new(crate::room::Close::RESTART, "server draining");
        gateway.router.transits().drain(close);
    };
    let (no, ()) = tokio::join!(comes, ends);
    assert_eq!((no.status, no.error.as_str()), (503, "draining"));
    assert_eq!(gateway.router.pending_rooms(), 0);
}

#[tokio::test]
async fn a_client_whose_time_is_up_keeps_nobody_else_from_any_pod() {
    let stage = Stage::new().await;
    let told = Told {
        placement: Placement::Packed(50),
        route_timeout: Duration::from_millis(300),
        ..Told::default()
    };
    let pods: [_; 2] = stage.pods(&told).await;
    // The fullest below the target takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    stage.table.pods.lock().push(Pod {
        uid: "uid-silent".to_owned(),
        owner: Owner {
            endpoint: silent.local_addr().unwrap(),
            session: 7,
        },
        public: None,
        rooms: 40,
        limit: 100,
        eligible: true,
    });
    let no = turned_away(pods[0].public, "/lobby").await;
    assert_eq!((no.status, no.error.as_str()), (503, "owner_unreachable"));
    for pod in &pods {
        assert!(pods[0].router.suspects.get(&pod.session).is_none());
    }
}

impl Person {
    async fn hears_itself(&mut self) {
        let text = format!("it is {}", self.address);
        self.says(&text).await;
        self.hears(&text).await;
    }
}

/// The status and the head of the answer to a GET.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = within("getting", ask).await;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    (status.unwrap_or(0), head.to_owned())
}
