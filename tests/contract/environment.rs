//! What a child is given: CGI variables of whoever opened its room, what `--passenv` names, three
//! descriptors, and nothing of ours.

use serde_json::Value;

use crate::harness::{Server, given, serve};

async fn environment(server: &Server, path: &str) -> Value {
    server.join(path).await.hears_json().await
}

#[tokio::test]
async fn the_child_knows_who_opened_its_room() {
    let server = serve("puppet env then mute").await;
    let mut ann = server
        .door("/my%20room/more/path?x=1&y=%20")
        .header("User-Agent", "test")
        .header("Proxy", "http://evil.example")
        .header("X-Two", "a")
        .header("X-Two", "b")
        .join()
        .await;
    let env = ann.hears_json().await;
    let port = server
        .address()
        .host()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    for (name, value) in [
        ("ROOM", "my room"),
        ("PATH_INFO", "/more/path"),
        ("QUERY_STRING", "x=1&y=%20"),
        ("REQUEST_URI", "/my%20room/more/path?x=1&y=%20"),
        ("REQUEST_METHOD", "GET"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "127.0.0.1"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_USER_AGENT", "test"),
        ("HTTP_X_TWO", "a, b"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert!(env["REMOTE_PORT"].as_str().unwrap().parse::<u16>().is_ok());
    assert!(
        env["SERVER_SOFTWARE"]
            .as_str()
            .unwrap()
            .starts_with("scalesocket")
    );
    assert!(!env["UNIQUE_ID"].as_str().unwrap().is_empty());
    assert_eq!(env["HTTP_PROXY"], Value::Null);
    assert_eq!(env["PORT"], Value::Null);
}

#[tokio::test]
async fn every_start_has_an_id_of_its_own() {
    let server = serve("puppet env then mute").await;
    let (red, blue) = (
        environment(&server, "/red").await,
        environment(&server, "/blue").await,
    );
    assert_ne!(red["UNIQUE_ID"], blue["UNIQUE_ID"]);
}

#[tokio::test]
async fn only_what_passenv_names_is_passed_on() {
    let set = |line: &str| {
        given(line)
            .env("HOME", "/somewhere")
            .env("SECRET", "hush")
            .env("SCALESOCKET_MAX_CLIENTS", "100")
            .env("POD_NAME", "pod")
    };
    let server = set("puppet env then mute").serve().await;
    let env = environment(&server, "/x").await;
    assert_eq!(
        (&env["HOME"], &env["SECRET"]),
        (&Value::from("/somewhere"), &Value::Null)
    );
    drop(server);

    let server = set("--passenv SECRET puppet env then mute").serve().await;
    let env = environment(&server, "/x").await;
    assert_eq!(
        (&env["HOME"], &env["SECRET"]),
        (&Value::Null, &Value::from("hush"))
    );
    drop(server);

    let server = set("--passenv=* puppet env then mute").serve().await;
    let env = environment(&server, "/x").await;
    assert_eq!(
        (&env["HOME"], &env["SECRET"]),
        (&"/somewhere".into(), &"hush".into())
    );
    assert_eq!(
        (&env["SCALESOCKET_MAX_CLIENTS"], &env["POD_NAME"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn what_a_client_chose_wins_over_what_is_passed_on() {
    let server = given("--passenv=* puppet env then mute")
        .env("ROOM", "fake")
        .serve()
        .await;
    assert_eq!(environment(&server, "/real").await["ROOM"], "real");
}

#[tokio::test]
async fn an_isolated_child_knows_its_room_by_the_path() {
    let server = serve("--isolate puppet env then mute").await;
    let env = environment(&server, "/x/y").await;
    assert_eq!(
        (&env["ROOM"], &env["PATH_INFO"]),
        (&"x".into(), &"/y".into())
    );
}

#[tokio::test]
async fn a_child_has_three_descriptors_and_the_limit_it_would_have_had() {
    let server = serve("puppet fds then nofile then mute").await;
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let (soft, _) = limit.unwrap();
    let mut ann = server.join("/x").await;
    ann.hears("0 1 2").await;
    ann.hears(&soft.to_string()).await;
}

#[tokio::test]
async fn arguments_reach_the_child_as_they_are() {
    let server = serve("puppet args --frame=json -- 'a b' ''").await;
    let mut ann = server.join("/x").await;
    ann.hears(r#"["--frame=json", "--", "a b", ""]"#).await;
}

#[tokio::test]
async fn the_first_word_after_two_dashes_is_the_program_when_none_stands_before() {
    let server = serve("-- seq 1 2").await;
    let mut ann = server.join("/x").await;
    ann.hears("1").await;
    ann.hears("2").await;
}

#[tokio::test]
async fn join_and_leave_messages_are_filled_in_and_safe() {
    let flags = "--joinmsg 'in #ID #ROOM #REMOTE_ADDR #QUERY_NAME #QUERY_NONE. #HTTP_X_ODD #NOPE # #id' \
                 --leavemsg 'out #ID #QUERY_NAME'";
    let server = serve(format!("{flags} cat")).await;
    let mut ann = server.join("/a%20b?NAME=an%2Fn&name=second").await;
    ann.hears("in 1 a%20b 127.0.0.1 an%2Fn .  #NOPE # #id")
        .await;
    let bob = server
        .door("/a%20b?name=b%0Ao")
        .header("X-Odd", "{\"a b\"}")
        .join()
        .await;
    ann.hears("in 2 a%20b 127.0.0.1 b%0Ao . %7B%22a%20b%22%7D #NOPE # #id")
        .await;
    bob.leaves().await;
    ann.hears("out 2 b%0Ao").await;
}

#[tokio::test]
async fn the_query_as_a_whole_is_not_shadowed() {
    let server = serve("--joinmsg '#QUERY_STRING' cat").await;
    let mut ann = server.join("/x?string=mine&a=1").await;
    ann.hears("string%3Dmine%26a%3D1").await;
}

#[tokio::test]
async fn a_join_message_comes_before_what_its_client_says() {
    let server = serve("--joinmsg 'in #ID' cat").await;
    let mut ann = server.join("/x").await;
    ann.says("first").await;
    ann.hears("in 1").await;
    ann.hears("first").await;
}
