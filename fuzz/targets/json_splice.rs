//! The sender put into a client's object: nobody can speak as another, nothing else is changed, and
//! one message stays one line.

use scalesocket::frame::{ClientFraming, ClientId, Drop, Encoder, JsonFields, Kind, RESERVED};

use super::input::Input;
use super::json_text::{Text, depth, read};

/// How deep clients may nest.
const DEPTH: usize = 128;
const ID: u32 = 4711;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let options = input.byte();
    let payload = input.rest();
    let field = ["id", "_from", "a\"b\\/", "é"][usize::from(options & 3)];
    let text = std::str::from_utf8(payload).is_ok();
    let kind = match text && options & 4 == 0 {
        true => Kind::Text,
        false => Kind::Binary,
    };
    let fields = JsonFields {
        from: field.to_owned(),
        to: "to".to_owned(),
    };
    let encoder = Encoder::new(&ClientFraming::Json(fields));
    let mut out = b"before\n".to_vec();
    let client = ClientId::new(ID).expect("not 0");
    let said = encoder.message(client, kind, payload, &mut out);
    let line = out
        .strip_prefix(b"before\n")
        .expect("what was there stays there");
    if said.is_err() {
        assert_eq!(line, b"", "what is dropped leaves nothing");
    }
    let members = match read(payload) {
        Text::Other => return assert_eq!(said, Err(Drop::NotJsonObject)),
        _ if depth(payload) > DEPTH => return assert_eq!(said, Err(Drop::NotJsonObject)),
        Text::Unspeakable => return,
        Text::Object(members) => members.0,
    };
    if members.iter().any(|(key, _)| RESERVED.contains(&&**key)) {
        return assert_eq!(said, Err(Drop::ReservedName));
    }
    assert_eq!(said, Ok(()), "a good object is passed on");
    let (last, line) = line.split_last().expect("a line");
    assert_eq!(*last, b'\n');
    assert!(
        !line.iter().any(|byte| matches!(byte, b'\n' | b'\r')),
        "more than one line"
    );
    let Text::Object(found) = read(line) else {
        panic!("the line is no object any more");
    };
    let one_line = |value: &str| value.replace(['\n', '\r'], " ");
    let mut expected: Vec<_> = members
        .iter()
        .filter(|(key, _)| key != field)
        .map(|(key, value)| (key.clone(), one_line(value.get())))
        .collect();
    expected.push((field.to_owned(), ID.to_string()));
    let found: Vec<_> = found
        .0
        .into_iter()
        .map(|(key, value)| (key, value.get().to_owned()))
        .collect();
    assert_eq!(found, expected);
}
