//! What operators do: speak to programs and clients, kick, end.

use super::watching::Watcher;
use super::*;

#[tokio::test]
async fn a_console_that_looks_cannot_act() {
    let (server, _dir) = with_console("--console cat").await;
    let mut ann = server.join("/x").await;
    for (action, body) in [
        ("input", json!({"text": "x"})),
        ("say", json!({"text": "x"})),
        ("kick", json!({"client": 1})),
        ("end", json!({})),
    ] {
        let (status, said) = posts(&server, &format!("/console/rooms/x/{action}"), body).await;
        assert_eq!(
            (status, &said["error"]),
            (403, &json!("read_only")),
            "{action}"
        );
    }
    ann.hears_nothing().await;
}

#[tokio::test]
async fn an_operator_speaks_to_the_program_and_to_clients() {
    let (server, _dir) = with_console("--console=write cat").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    let mut watcher = Watcher::of(&server, "x").await;
    let done = (200, json!({"status": "done"}));
    assert_eq!(
        posts(
            &server,
            "/console/rooms/x/input",
            json!({"text": "to the program"})
        )
        .await,
        done
    );
    watcher
        .sees(json!({"way": "in", "text": "to the program", "whom": "operator"}))
        .await;
    ann.hears("to the program").await;
    bob.hears("to the program").await;
    assert_eq!(
        posts(&server, "/console/rooms/x/say", json!({"text": "to all"})).await,
        done
    );
    ann.hears("to all").await;
    bob.hears("to all").await;
    assert_eq!(
        posts(
            &server,
            "/console/rooms/x/say",
            json!({"hex": "00 ff", "to": [2]})
        )
        .await,
        done
    );
    bob.hears_bytes(&[0, 255]).await;
    ann.hears_nothing().await;
    for (path, body, status) in [
        ("/console/rooms/x/say", json!({"text": "x", "to": [3]}), 404),
        ("/console/rooms/x/say", json!({"text": "x", "to": []}), 400),
        (
            "/console/rooms/x/say",
            json!({"text": "x", "hex": "00"}),
            400,
        ),
        ("/console/rooms/x/say", json!({"hex": "0"}), 400),
        (
            "/console/rooms/x/input",
            json!({"text": "x", "to": [1]}),
            400,
        ),
        ("/console/rooms/y/input", json!({"text": "x"}), 404),
        ("/console/rooms/y/end", json!({}), 404),
        ("/console/rooms/x/kick", json!({"client": 3}), 404),
    ] {
        assert_eq!(
            posts(&server, path, body.clone()).await.0,
            status,
            "{path} {body}"
        );
    }
    ann.hears_nothing().await;
}

#[tokio::test]
async fn input_of_an_operator_is_a_packet_of_nobody_where_there_are_packets() {
    // cat gives it back, and what is for 0 is for everybody.
    let (server, _dir) = with_console("--console=write --frame=binary cat").await;
    let mut ann = server.join("/x").await;
    let body = json!({"text": "two\nlines"});
    assert_eq!(posts(&server, "/console/rooms/x/input", body).await.0, 200);
    ann.hears("two\nlines").await;
}

#[tokio::test]
async fn an_operator_kicks_one_client_and_the_others_stay() {
    let (server, _dir) = with_console("--console=write cat").await;
    let (mut ann, mut bob) = (server.join("/x").await, server.join("/x").await);
    let body = json!({"client": 1, "reason": "out"});
    assert_eq!(posts(&server, "/console/rooms/x/kick", body).await.0, 200);
    ann.hears_close(4000, "out").await;
    bob.says("still here").await;
    bob.hears("still here").await;
    let body = json!({"client": 2});
    assert_eq!(posts(&server, "/console/rooms/x/kick", body).await.0, 200);
    bob.hears_close(4000, "kicked by an operator").await;
}

#[tokio::test]
async fn an_operator_ends_a_room_and_its_clients_read_why() {
    let (server, _dir) = with_console("--console=write --metrics cat").await;
    let mut ann = server.join("/x").await;
    let _bob = server.join("/y").await;
    assert_eq!(
        posts(&server, "/console/rooms/x/end", json!({})).await.0,
        202
    );
    ann.hears_close(1001, "ended by an operator").await;
    let seen = waits_to_see(&server, "/console/overview", |seen| {
        seen["server"]["rooms_live"] == 1
    })
    .await;
    assert_eq!(seen["last_ends"][0]["reason"], "ended by an operator");
    let metrics = server.get("/metrics").await.text();
    assert!(
        metrics.contains(r#"scalesocket_rooms_ended_total{reason="operator"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_a_program_does_not_read_is_refused_once_there_is_no_room_for_it() {
    let (server, _dir) = with_console("--console=write --inbox 64KiB puppet deaf").await;
    let _ann = server.join("/x").await;
    let body = json!({"text": "x".repeat(32 << 10)});
    let refused = async {
        loop {
            let (status, said) = posts(&server, "/console/rooms/x/input", body.clone()).await;
            if status != 200 {
                return (status, said["error"].clone());
            }
        }
    };
    let refused = timeout(PATIENCE, refused).await.expect("a refusal");
    assert_eq!(refused, (503, json!("full")));
}

#[tokio::test]
async fn more_than_an_action_may_carry_is_refused_before_it_is_read() {
    let (server, _dir) = with_console("--console=write cat").await;
    let mut ann = server.join("/x").await;
    let address = server.address();
    let mut socket = server.connect(&address).await;
    let request = format!(
        "POST /console/rooms/x/say HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n",
        address.host()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    timeout(PATIENCE, socket.read_exact(&mut start))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    ann.hears_nothing().await;
}
