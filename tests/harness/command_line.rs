//! Turns the line a test writes into arguments: words split at spaces, quotes keep them together,
//! and the word `puppet` becomes the built puppet with `--` after it, so that its steps are its own.

use std::path::PathBuf;

/// The words of a line; `'...'` and `"..."` keep everything between them.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\n') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    assert!(quote.is_none(), "a quote is left open in {line}");
    words.extend(word);
    words
}

/// As `split`, with the puppet put in.
pub fn arguments(line: &str) -> Vec<String> {
    let mut words = split(line);
    if let Some(at) = words.iter().position(|word| word == "puppet") {
        let path = puppet().into_os_string().into_string();
        words.splice(at..=at, [path.expect("a path of UTF-8"), "--".to_owned()]);
    }
    words
}

/// Where cargo put the example: tests run from `target/<profile>/deps`. A run of some tests alone
/// does not build it, so one that is older than its source is refused rather than believed.
pub fn puppet() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a cargo target directory");
    let puppet = profile.join("examples").join("puppet");
    let age = |path: &std::path::Path| path.metadata().and_then(|data| data.modified()).ok();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/puppet");
    let sources = std::fs::read_dir(source).into_iter().flatten().flatten();
    let newest = sources.filter_map(|entry| age(&entry.path())).max();
    assert!(
        age(&puppet) >= newest,
        "the puppet is not built: run `cargo build --example puppet`"
    );
    puppet
}
