//! A strict reader of both text formats, so that the tests speak of series and not of lines.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::Format;

/// One sample: its name, its labels in order, its value.
pub(super) type Line = (String, Vec<(String, String)>, f64);

/// Reads a scrape as strictly as both formats demand: every sample after the `TYPE` of its own
/// family, families once and together, names and escapes right, no sample twice.
pub(super) fn parse(format: Format, text: &str) -> Vec<Line> {
    let body = match format {
        Format::Prometheus => text,
        Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("ends with EOF"),
    };
    assert!(body.ends_with('\n'), "the last line has an end");
    let (mut families, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    let mut lines = Vec::new();
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            match words[..] {
                ["TYPE", name, what] => {
                    (family, kind) = (name.to_string(), what.to_string());
                    assert!(
                        families.insert(family.clone(), kind.clone()).is_none(),
                        "{line}"
                    );
                }
                ["HELP", name, help] => assert!(!name.is_empty() && help.ends_with('.'), "{line}"),
                ["UNIT", name, unit] => {
                    assert!(
                        name == family && name.ends_with(&format!("_{unit}")),
                        "{line}"
                    );
                }
                _ => panic!("no such comment: {line}"),
            }
            continue;
        }
        let (name, labels, value) = parse_sample(line);
        let suffix = name
            .strip_prefix(&family)
            .unwrap_or_else(|| panic!("stray: {line}"));
        let counter = if format == Format::OpenMetrics {
            "_total"
        } else {
            ""
        };
        match kind.as_str() {
            "counter" => assert!(suffix == counter && name.ends_with("_total"), "{line}"),
            "gauge" => assert!(suffix.is_empty(), "{line}"),
            _ => assert!(["_bucket", "_count", "_sum"].contains(&suffix), "{line}"),
        }
        assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
        lines.push((name, labels, value));
    }
    for (family, kind) in &families {
        for suffix in ["_total", "_count", "_sum", "_bucket"] {
            let clash = families.contains_key(&format!("{family}{suffix}"));
            assert!(!clash || kind == "counter", "{family}{suffix}");
        }
    }
    lines
}

/// Takes a sample line apart, by hand: escapes are the point.
fn parse_sample(line: &str) -> Line {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let legal = |c: char| c.is_ascii_lowercase() || c == '_';
    assert!(
        name.starts_with("scalesocket_") && name.chars().all(legal),
        "{line}"
    );
    let mut labels = Vec::new();
    while rest.starts_with(['{', ',']) {
        let (label, quoted) = rest[1..].split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), quoted.char_indices());
        let close = loop {
            match chars.next().unwrap() {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("escape {c:?} in {line}"),
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((label.to_string(), value));
        rest = &quoted[close + 1..];
    }
    rest = rest.strip_prefix('}').unwrap_or(rest);
    let value = rest
        .strip_prefix(' ')
        .unwrap_or_else(|| panic!("no value: {line}"));
    (name.into(), labels, value.parse().unwrap())
}
