//! The house rules that no lint knows: imports point one way, files stay readable, nothing is left
//! to do, and no path of somebody's machine gets in.

use std::path::{Path, PathBuf};

/// A file is one idea; past this many lines it has become two.
const LINES: usize = 600;

/// Each floor, and the floors of the crate it may look down to. A floor may always use itself.
const FLOORS: [(&str, &[&str]); 18] = [
    (
        "main",
        &[
            "app",
            "child",
            "cli",
            "connect",
            "install",
            "metrics",
            "probe",
            "replay",
            "stop",
            "telemetry",
        ],
    ),
    ("connect", &["cli", "probe"]),
    ("install", &[]),
    ("probe", &[]),
    ("record", &["metrics"]),
    ("replay", &["child", "cli", "frame", "record"]),
    (
        "app",
        &[
            "auth",
            "child",
            "cli",
            "cluster",
            "frame",
            "http",
            "metrics",
            "record",
            "room",
            "stop",
            "telemetry",
            "ws",
        ],
    ),
    (
        "http",
        &["auth", "child", "frame", "metrics", "room", "stop", "ws"],
    ),
    ("auth", &[]),
    (
        "cluster",
        // It stands behind the door's gate.
        &[
            "auth", "child", "frame", "http", "metrics", "room", "stop", "ws",
        ],
    ),
    ("ws", &["child", "frame", "metrics", "room"]),
    ("room", &["child", "frame", "metrics", "record", "ws"]),
    ("child", &["metrics"]),
    ("frame", &[]),
    ("stop", &["metrics"]),
    // For the rules of names, which are parsed there.
    ("cli", &["frame", "room"]),
    ("telemetry", &[]),
    ("metrics", &[]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a directory of the project with one of these extensions.
fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            found.extend(files(&path, extensions));
        } else if path
            .extension()
            .is_some_and(|e| extensions.iter().any(|known| e == *known))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    ["src", "tests", "examples", "benches"]
        .iter()
        .flat_map(|directory| files(&root().join(directory), &["rs"]))
        .collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Which floor a source file is on: `src/room/inbox.rs` and `src/room.rs` are both `room`.
fn floor(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root().join("src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.strip_suffix(".rs").unwrap_or(first).to_owned())
}

/// The floors a source names after `crate::` (or, in `main`, after `scalesocket::`), those of a
/// braced list too, without its comments. A file's own modules are no floors and stay out.
fn named(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let word = |rest: &str| -> String {
        rest.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = Vec::new();
    for prefix in ["crate::", "scalesocket::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            let Some(list) = rest.strip_prefix('{') else {
                names.push(word(rest));
                continue;
            };
            let (mut depth, mut item) = (0, String::new());
            for character in list.chars() {
                match character {
                    '}' if depth == 0 => break,
                    ',' if depth == 0 => names.push(word(&std::mem::take(&mut item))),
                    _ => {
                        depth += i32::from(character == '{') - i32::from(character == '}');
                        item.push(character);
                    }
                }
            }
            names.push(word(&item));
        }
    }
    let is_floor = |name: &String| FLOORS.iter().any(|(floor, _)| floor == name);
    names.into_iter().filter(is_floor).collect()
}

#[test]
fn names_are_found_in_every_form_of_import() {
    let text = "use crate::{frame::{Kind, Event}, ws};\nlet x = crate::room::Rooms::new(); // crate::cli\n";
    assert_eq!(named(text), ["frame", "ws", "room"]);
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), &["rs"]) {
        let Some(from) = floor(&path).filter(|floor| floor != "lib") else {
            continue;
        };
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == from) else {
            wrong.push(format!(
                "{} is on no known floor: give it one here",
                shown(&path)
            ));
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        for to in named(&text) {
            if to != from && !allowed.contains(&to.as_str()) {
                wrong.push(format!("{} ({from}) looks up to {to}", shown(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = files(&root().join("src"), &["rs"])
        .iter()
        .map(|path| (path, std::fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > LINES)
        .map(|(path, lines)| {
            format!(
                "{} has {lines} lines: which two ideas are in it?",
                shown(path)
            )
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_source_says_what_it_is() {
    let silent: Vec<String> = sources()
        .iter()
        .filter(|path| {
            !std::fs::read_to_string(path)
                .unwrap()
                .trim_start()
                .starts_with("//!")
        })
        .map(|path| shown(path))
        .collect();
    assert!(silent.is_empty(), "no module docs: {silent:?}");
}

/// That each block has one is denied by clippy (`undocumented_unsafe_blocks`); this is for the door to them.
#[test]
fn whoever_allows_unsafe_code_says_why() {
    let door = ["allow(", "unsafe_code)]"].concat(); // put together: this file does not find itself
    let mut opened = 0;
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            let Some((_, after)) = line.split_once(&door) else {
                continue;
            };
            opened += 1;
            if !after.trim_start().starts_with("// ") {
                wrong.push(format!("{}:{number}", shown(&path)));
            }
        }
    }
    assert!(opened > 0, "the lint's name has changed");
    assert!(wrong.is_empty(), "no reason beside it: {wrong:?}");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for lint in ["unsafe_code", "undocumented_unsafe_blocks"] {
        assert!(manifest.contains(&format!("{lint} = \"deny\"")), "{lint}");
    }
}

#[test]
fn nothing_is_left_to_do_and_no_machine_is_named() {
    // Put together here, so that this file does not find itself.
    let marks = ["TO", "FIX", "XX"]
        .iter()
        .zip(["DO", "ME", "X"])
        .map(|(a, b)| format!("{a}{b}"));
    let homes = ["/ho", "/Use", "/ro"]
        .iter()
        .zip(["me/", "rs/", "ot/"])
        .map(|(a, b)| format!("{a}{b}"));
    let words: Vec<String> = marks.chain(homes).collect();
    let mut wrong = Vec::new();
    let texts = ["rs", "toml", "md", "sh", "py", "html", "js", "yml", "yaml"];
    for path in files(&root(), &texts) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            for word in words.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("{}:{number} says {word}", shown(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
