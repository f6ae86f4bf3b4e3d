//! The pages say what the code says: codes, labels, names, flags, variables, links, proofs.
//!
//! What the library shows is asked of it; the rest is read off the source, from the function that
//! a comment here names, so that a word added there without a line in the pages fails here.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use scalesocket::metrics::{Format, Metrics, RoomFigures};
use scalesocket::{child, cli, frame, room};

const PROTOCOL: &str = "docs/protocol.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page of the project, by its path from the root.
fn pages() -> Vec<String> {
    ["", "docs", "examples"]
        .into_iter()
        .flat_map(|directory| entries(&root().join(directory)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter_map(|path| Some(path.strip_prefix(root()).ok()?.to_str()?.to_owned()))
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(directory).expect("a directory of the project");
    let mut paths: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// What stands between backticks, outside of blocks of code.
fn quoted(page: &str) -> Vec<String> {
    let mut in_block = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// The string literals of a source from `begin` up to `end`.
#[track_caller]
fn literals(path: &str, begin: &str, end: &str) -> BTreeSet<String> {
    let source = read(path);
    let (_, rest) = source
        .split_once(begin)
        .unwrap_or_else(|| panic!("{path} has no {begin:?}"));
    let (body, _) = rest.split_once(end).unwrap_or((rest, ""));
    body.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The string literal behind each `marker` of a source.
fn behind(path: &str, marker: &str) -> BTreeSet<String> {
    let source = read(path);
    let after = source.split(marker).skip(1);
    let literal = after.filter_map(|rest| rest.split_once('"').map(|(word, _)| word.to_owned()));
    literal.collect()
}

#[track_caller]
fn all_are_quoted(page: &str, words: impl IntoIterator<Item = String>) {
    let text = read(page);
    let quoted: BTreeSet<String> = quoted(&text).into_iter().collect();
    let words: Vec<String> = words.into_iter().collect();
    assert!(
        !words.is_empty(),
        "nothing to look for: has the source moved?"
    );
    let missing: Vec<&String> = words
        .iter()
        .filter(|word| !quoted.contains(*word))
        .collect();
    assert!(missing.is_empty(), "{page} does not mention {missing:?}");
}

#[test]
fn every_close_code_has_a_row() {
    let source = read("src/room/close.rs");
    let ours = source.lines().filter_map(|line| {
        let (_, code) = line
            .trim()
            .strip_prefix("pub const ")?
            .split_once(": u16 = ")?;
        Some(code.trim_end_matches(';').to_owned())
    });
    // `Violation::code` of the codec.
    let codec = read("src/ws/codec.rs");
    let (_, rest) = codec.split_once("pub fn code(self) -> u16").expect("codes");
    let (body, _) = rest.split_once("\n    }\n").expect("an end");
    let wire = body.lines().filter_map(|line| {
        let code = line.split_once("=> ")?.1.trim_end_matches(',');
        code.parse::<u16>().ok().map(|code| code.to_string())
    });
    let codes: BTreeSet<String> = ours.chain(wire).collect();
    assert!(codes.len() >= 11, "{codes:?}");

    let page = read(PROTOCOL);
    let (_, table) = page.split_once("## Close codes").expect("a chapter");
    let (table, _) = table.split_once("\n## ").expect("the next chapter");
    for code in &codes {
        let at_start = table.lines().any(|line| {
            let cell = line
                .strip_prefix("| ")
                .and_then(|line| line.split(" |").next());
            cell.is_some_and(|cell| cell.split(", ").any(|one| one == code))
        });
        // Said by `--refuse close` alone, in the text below the table.
        let in_text = table
            .lines()
            .any(|line| !line.starts_with('|') && line.contains(code.as_str()));
        assert!(at_start || in_text, "no row for close code {code}");
    }
}

#[test]
fn every_refusal_has_a_row() {
    let mut labels = literals("src/http/answer.rs", "fn label(&self)", "\n    }\n");
    labels.extend(literals("src/auth/mod.rs", "fn label(&self)", "\n    }\n"));
    labels.extend(literals("src/room/rooms.rs", "fn label(self)", "\n    }\n"));
    labels.extend(behind("src/http/api.rs", r#""error": ""#));
    labels.extend(behind("src/http/answer.rs", r#""error": ""#));
    labels.extend(behind("src/http/plain.rs", r#""error": ""#));
    assert!(labels.len() >= 25, "{labels:?}");
    all_are_quoted(PROTOCOL, labels);
}

#[test]
fn every_reason_of_a_dropped_message_has_a_row() {
    let mut labels = literals("src/frame/mod.rs", "fn as_str(self)", "\n    }\n");
    for entry in entries(&root().join("src/room")) {
        if let Some(path) = entry.strip_prefix(root()).ok().and_then(Path::to_str)
            && path.ends_with(".rs")
        {
            labels.extend(behind(path, "count_dropped(\""));
        }
    }
    assert!(labels.contains("client_left") && labels.contains("bad_to"));
    all_are_quoted(PROTOCOL, labels);
}

#[test]
fn every_reason_why_a_room_ended_is_named() {
    let mut labels = BTreeSet::new();
    for path in ["src/room/supervisor.rs", "src/room/end.rs"] {
        labels.extend(behind(path, "label: \""));
        labels.extend(behind(path, "End::new(close, \""));
        labels.extend(behind(path, "FENCED: &str = \""));
        labels.extend(behind(path, "(Close::OK, \""));
        labels.extend(behind(path, "(Close::ERROR, \""));
        labels.extend(behind(path, "reason), \""));
    }
    labels.extend(behind("src/app.rs", "), \"").into_iter().filter(|word| {
        word.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && !word.is_empty()
    }));
    assert!(labels.len() >= 9, "{labels:?}");
    all_are_quoted(PROTOCOL, labels);
}

#[test]
fn every_metric_has_a_row_with_its_type() {
    let metrics = Metrics::new(1).expect("figures");
    // A metric is shown once it has a value: each kind of thing happens once.
    let _room = metrics.room_started("lobby", || RoomFigures {
        cpu_seconds: Some(0.5),
        memory_bytes: Some(4096),
        processes: Some(3),
        ..RoomFigures::default()
    });
    metrics.room_ended("exit 0");
    metrics.child_exited("exit 0");
    metrics.spawned(Duration::from_millis(2));
    metrics.first_message(Duration::from_millis(3));
    metrics.dropped("bad_to", 1);
    metrics.refused("draining");
    metrics.tls_failed("timeout");
    metrics.set_certificates_expire(Some(Duration::from_secs(1)));
    metrics.proxy_protocol_failed("timeout");
    let page = read(PROTOCOL);
    let mut count = 0;
    for line in metrics.render(Format::Prometheus).lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        count += 1;
        let row = format!("| `{name}` | {kind} |");
        assert!(page.contains(&row), "{PROTOCOL} has no row {row}");
    }
    assert!(count > 20, "{count}");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `scalesocket_"));
    assert_eq!(rows.count(), count, "a row of a metric that is no more");
}

#[test]
fn every_reserved_name_is_listed() {
    let names = room::RESERVED.iter().chain(&frame::RESERVED);
    all_are_quoted(PROTOCOL, names.map(|name| (*name).to_owned()));
}

#[test]
fn every_figure_and_state_of_a_room_has_a_row() {
    let source = read("src/room/live.rs");
    let (_, rest) = source
        .split_once("pub struct Stats {")
        .expect("the figures");
    let (fields, _) = rest.split_once("\n}").expect("an end");
    let fields = fields.lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix("pub ")?.split_once(':')?;
        Some(name.to_owned())
    });
    all_are_quoted(PROTOCOL, fields);
    let (_, rest) = source.split_once("pub enum Phase {").expect("the phases");
    let (phases, _) = rest.split_once("\n}").expect("an end");
    let phases = phases.lines().filter_map(|line| {
        let name = line.trim().strip_suffix(',')?;
        Some(name.to_ascii_lowercase())
    });
    all_are_quoted(PROTOCOL, phases);
}

#[test]
fn every_variable_of_a_child_has_a_row() {
    let some = || Some("ann".to_owned());
    let subject = scalesocket::http::Subject {
        dn: "CN=ann".to_owned(),
        cn: some(),
        dns: some(),
        uri: some(),
    };
    let proved = subject.variables();
    let request = child::Request {
        remote: "192.0.2.7:40000".parse().ok(),
        local: "127.0.0.1:9000".parse().ok(),
        method: "GET",
        uri: "/lobby",
        protocol: "HTTP/1.1",
        room: "lobby",
        path_info: "",
        query: "",
        headers: &http::HeaderMap::new(),
        https: true,
        proved: &proved,
        unique_id: "1",
    };
    let names = child::cgi(&request).into_iter();
    let names = names.map(|(name, _)| name.to_string_lossy().into_owned());
    all_are_quoted(
        PROTOCOL,
        names.chain(["PORT", "REMOTE_USER", "AUTH_TYPE"].map(str::to_owned)),
    );
}

#[test]
fn every_flag_that_a_page_mentions_exists() {
    let command = cli::command();
    let mut known: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
    for argument in command.get_arguments() {
        known.extend(argument.get_long().map(str::to_owned));
        known.extend(
            argument
                .get_all_aliases()
                .into_iter()
                .flatten()
                .map(str::to_owned),
        );
    }
    // The page tells of every feature, and is compared with the flags of a build that has them.
    let reference = read("docs/cli.md");
    let headings = reference
        .lines()
        .filter_map(|line| line.strip_prefix("### `"));
    for word in headings.flat_map(|heading| heading.split([' ', '`', ',', '['])) {
        known.extend(word.strip_prefix("--").map(str::to_owned));
    }
    // What cargo, docker, helm and programs of others are told.
    known.extend(
        [
            "release",
            "profile",
            "test",
            "features",
            "line-buffered",
            "set",
            "reuse-values",
            "remap-path-prefix",
            "path",
            "remove-destination",
            "extract",
            "gzip",
            "file",
            "strip-components",
            "directory",
            "now",
            "tag",
            "board",
            "interval",
            "start-period",
            "from",
        ]
        .map(str::to_owned),
    );
    // Ours is a file: who writes this one is told so.
    known.insert("admin-token".to_owned());
    for page in pages() {
        // Made from the flags, and compared with them in tests/cli.
        if page == "docs/cli.md" || page == "docs/benchmarks.md" {
            continue;
        }
        let text = read(&page);
        for (at, _) in text.match_indices("--") {
            let before = text[..at].chars().next_back();
            let flag: String = text[at + 2..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-')
                .collect();
            let begins = !before.is_some_and(|c| c == '-' || c.is_alphanumeric());
            if begins && flag.starts_with(|c: char| c.is_ascii_lowercase()) {
                let flag = flag.trim_end_matches('-');
                assert!(known.contains(flag), "{page} mentions --{flag}");
            }
        }
    }
}

/// The name that a heading is linked by.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = letters
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = read(&page);
        for (_, rest) in text
            .match_indices("](")
            .map(|(at, found)| (at, &text[at + found.len()..]))
        {
            let link = rest.split(')').next().unwrap_or_default();
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                path => beside(&page, path),
            };
            assert!(root().join(&target).exists(), "{page} links to {link}");
            if !heading.is_empty() {
                let there = read(&target);
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|line| anchor(line) == heading),
                    "{page} links to {link}"
                );
            }
        }
    }
}

/// A relative path of a page, from the root; it stays inside the project.
#[track_caller]
fn beside(page: &str, path: &str) -> String {
    let mut target = Path::new(page).parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => assert!(target.pop(), "{page} links out of the project"),
            part => target.push(part),
        }
    }
    target.to_string_lossy().into_owned()
}

#[test]
fn the_code_map_names_everything_in_src() {
    let page = read("docs/architecture.md");
    let (_, map) = page.split_once("## Code map").expect("a chapter");
    let (map, _) = map.split_once("\n## ").expect("the next chapter");
    let mapped: BTreeSet<String> = quoted(map).into_iter().collect();
    for entry in entries(&root().join("src")) {
        let slash = if entry.is_dir() { "/" } else { "" };
        let name = format!(
            "src/{}{slash}",
            entry.file_name().unwrap_or_default().to_string_lossy()
        );
        assert!(mapped.contains(&name), "the code map misses {name}");
    }
    let paths = mapped
        .iter()
        .filter(|word| word.starts_with("src/") || word.starts_with("tests/"));
    for path in paths {
        assert!(
            root().join(path).exists(),
            "the code map has {path}, which is no more"
        );
    }
}

#[test]
fn every_test_that_is_named_as_a_proof_exists() {
    let mut proofs = 0;
    for page in pages() {
        for word in quoted(&read(&page)) {
            let Some((path, name)) = word
                .split_once("::")
                .filter(|(path, _)| path.ends_with(".rs"))
            else {
                continue;
            };
            proofs += 1;
            let source = read(path);
            let found = source.contains(&format!("fn {name}("));
            assert!(found, "{page} names {word}, which does not exist");
        }
    }
    assert!(proofs >= 25, "{proofs}");
    // Each promise has one.
    let front = read("README.md");
    let promises = front.lines().filter(|line| {
        line.strip_prefix("| ")
            .is_some_and(|line| line.starts_with(|c: char| c.is_ascii_digit()))
    });
    let promises: Vec<&str> = promises.collect();
    assert_eq!(promises.len(), 7);
    for promise in promises {
        assert!(
            promise.contains(".rs::"),
            "a promise without a proof: {promise}"
        );
    }
}

#[test]
fn the_commands_of_the_front_page_are_those_of_a_newcomer() {
    let front = read("README.md");
    let command = "cargo run --release -- --addr 127.0.0.1:9000 --staticdir examples/chat cat";
    assert!(front.contains(&format!("\n{command}\n")) && front.contains("\ncargo test\n"));
    let words = command.split(' ').skip_while(|word| *word != "--").skip(1);
    let words = ["scalesocket"].into_iter().chain(words).map(Into::into);
    let parsed = cli::parse(words, &|_| None);
    assert!(matches!(parsed, Ok(cli::Command::Serve(_))), "{parsed:?}");
    assert!(root().join("examples/chat/index.html").is_file());
}
