//! Where `scalesocket connect` goes: every form of an address, and what is none.

use super::*;

#[track_caller]
fn goes_to(address: &str) -> String {
    match parse_in(&[], &format!("connect {address}")) {
        Ok(Command::Connect(options)) => options.url.to_string(),
        other => panic!("`connect {address}` should go somewhere, but: {other:?}"),
    }
}

#[test]
fn an_address_is_a_websocket_one_however_it_is_written() {
    for (written, meant) in [
        ("ws://127.0.0.1:9000/lobby", "ws://127.0.0.1:9000/lobby"),
        ("127.0.0.1:9000/lobby", "ws://127.0.0.1:9000/lobby"),
        ("http://game.example/a/b?c=d", "ws://game.example/a/b?c=d"),
        ("https://game.example/a", "wss://game.example/a"),
        ("wss://[::1]:443/a", "wss://[::1]:443/a"),
        ("[::1]/a", "ws://[::1]/a"),
    ] {
        assert_eq!(goes_to(written), meant, "{written}");
    }
}

#[test]
fn what_is_no_address_is_refused_with_one_that_is() {
    for address in [
        "",
        "ws://",
        "ws:///lobby",
        "ftp://game.example/a",
        "ws://game.example:99999/a",
        "ws://game.example:/a",
        "ws://[::1]:70000/a",
        "ws://game example/a",
    ] {
        let words = ["scalesocket", "connect", address].map(OsString::from);
        let Err(exit @ Exit::Refusal(_)) = cli::parse(words, &|_| None) else {
            panic!("`connect {address}` should be refused");
        };
        let sentence = sentence(&exit);
        assert!(sentence.contains("write ws://HOST:PORT/ROOM"), "{sentence}");
    }
}
