//! Given an operator's text and who comes, then this is what the child reads.

use proptest::prelude::*;

use super::*;

fn rendered(template: &str, room: &str, vars: &[(&str, &str)]) -> String {
    let vars: Vec<_> = vars
        .iter()
        .map(|&(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    let visitor = Visitor {
        id: ClientId::new(42).unwrap(),
        room,
        vars: &vars,
    };
    let mut out = b"before|".to_vec();
    Template::parse(template).render(&visitor, &mut out);
    String::from_utf8(out)
        .unwrap()
        .strip_prefix("before|")
        .unwrap()
        .to_owned()
}

#[test]
fn a_text_without_placeholders_passes_as_it_is() {
    for text in ["", "hello", "a # b", "##", "#", "#id", "100 %", "#é"] {
        assert_eq!(rendered(text, "lobby", &[]), text);
    }
}

#[test]
fn placeholders_are_the_longest_run_and_unknown_ones_stay() {
    assert_eq!(
        rendered(r##"{"t":"Join","_from":#ID}"##, "r", &[]),
        r#"{"t":"Join","_from":42}"#
    );
    assert_eq!(rendered("#ID#ID ##ID", "r", &[]), "4242 #42");
    assert_eq!(
        rendered("#IDS #ID_ #ID2 #IDs", "r", &[]),
        "#IDS #ID_ #ID2 42s"
    );
    assert_eq!(
        rendered("#COLOR #QUERY_ #QUERY", "r", &[]),
        "#COLOR #QUERY_ #QUERY"
    );
}

#[test]
fn a_variable_of_cgi_that_the_request_lacks_is_empty() {
    assert_eq!(
        rendered("[#HTTP_COOKIE][#HTTPS][#PATH_INFO]", "r", &[]),
        "[][][]"
    );
    assert_eq!(
        rendered("#PORT", "r", &[]),
        "#PORT",
        "there is none outside TCP mode"
    );
    assert_eq!(rendered("#PORT", "r", &[("PORT", "9001")]), "9001");
}

#[test]
fn what_a_client_chose_is_percent_encoded() {
    let vars = [
        ("QUERY_STRING", "a=1&b=%20"),
        ("HTTP_USER_AGENT", "x\"\n'\u{e9}"),
        ("PATH_INFO", "/a b"),
        ("SERVER_NAME", "evil\"host"),
        ("SSL_CLIENT_S_DN", "CN=ann \"a\",O=x"),
    ];
    assert_eq!(rendered("#ROOM", "a b/\"", &vars), "a%20b%2F%22");
    assert_eq!(
        rendered("#ROOM", "Az09-._~", &vars),
        "Az09-._~",
        "unreserved"
    );
    assert_eq!(rendered("#QUERY_STRING", "r", &vars), "a%3D1%26b%3D%2520");
    assert_eq!(rendered("#HTTP_USER_AGENT", "r", &vars), "x%22%0A%27%C3%A9");
    assert_eq!(
        rendered("#SSL_CLIENT_S_DN#SSL_CLIENT_S_DN_CN", "r", &vars),
        "CN%3Dann%20%22a%22%2CO%3Dx"
    );
    assert_eq!(
        rendered("#PATH_INFO #SERVER_NAME", "r", &vars),
        "%2Fa%20b evil%22host"
    );
}

#[test]
fn what_the_server_says_is_plain() {
    let vars = [
        ("REMOTE_ADDR", "::1"),
        ("REMOTE_PORT", "5"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    ];
    let text = rendered("#REMOTE_ADDR #REMOTE_PORT #SERVER_PROTOCOL", "r", &vars);
    assert_eq!(text, "::1 5 HTTP/1.1");
}

#[test]
fn a_query_parameter_is_the_first_of_its_name_in_any_case() {
    let vars = [(
        "QUERY_STRING",
        "x=0&na%6De=ann+lee%21&NAME=bob&flag&empty=&eq=a=b",
    )];
    assert_eq!(rendered("#QUERY_NAME", "r", &vars), "ann%20lee%21");
    assert_eq!(
        rendered("[#QUERY_FLAG#QUERY_EMPTY#QUERY_MISSING]", "r", &vars),
        "[]"
    );
    assert_eq!(rendered("#QUERY_EQ", "r", &vars), "a%3Db");
    assert_eq!(
        rendered("[#QUERY_NAME]", "r", &[]),
        "[]",
        "without a query all are empty"
    );
}

#[test]
fn a_query_parameter_cannot_shadow_the_query_string() {
    let vars = [("QUERY_STRING", "string=evil")];
    assert_eq!(rendered("#QUERY_STRING", "r", &vars), "string%3Devil");
    assert_eq!(rendered("[#QUERY_STRING]", "r", &[]), "[]");
}

proptest! {
    #[test]
    fn no_client_breaks_out_of_the_operators_quotes(room: String, value: String, query: String) {
        let vars = [("HTTP_X", value.as_str()), ("QUERY_STRING", query.as_str())];
        let text = rendered("#ROOM #HTTP_X #QUERY_STRING #QUERY_A", &room, &vars);
        let safe = |c: char| c.is_ascii_alphanumeric() || "-._~% ".contains(c);
        prop_assert!(text.chars().all(safe), "{text}");
        let mut words = text.split(' ');
        for said in [&room, &value, &query] {
            let word = words.next().unwrap().as_bytes();
            let decoded: Vec<u8> = percent_decode(word).collect();
            prop_assert_eq!(decoded, said.as_bytes());
        }
    }

    #[test]
    fn any_text_is_a_template(text: String) {
        let kept = Template::parse(&text);
        let plain = !text.contains('#');
        prop_assert!(!plain || rendered(&text, "r", &[]) == text);
        prop_assert_eq!(kept, Template::parse(&text));
    }
}
