//! Help, version and reference: answers, and as they were agreed on.

use std::path::PathBuf;

use super::*;

#[test]
fn version_is_one_line_on_standard_output() {
    let expected = format!("scalesocket {}\n", env!("CARGO_PKG_VERSION"));
    for line in ["--version", "-V", "cat --version"] {
        let exit = parse_in(&[], line).expect_err("nothing to run");
        assert_eq!((exit.code(), exit), (0, Exit::Answer(expected.clone())));
    }
}

#[test]
fn help_is_an_answer_wherever_it_is_asked_for() {
    for line in ["-h", "--help", "cat --help", "install --help", "probe -h"] {
        match parse_in(&[], line) {
            Err(exit @ Exit::Answer(_)) => {
                assert_eq!(exit.code(), 0);
                assert!(exit.to_string().contains("Usage: scalesocket"), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn short_help() {
    insta::assert_snapshot!(cli::command().term_width(100).render_help());
}

#[test]
fn long_help() {
    insta::assert_snapshot!(cli::command().term_width(100).render_long_help());
}

#[test]
fn the_reference_in_docs_is_current() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let page = cli::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).expect("docs/cli.md can be written");
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        stored == page,
        "docs/cli.md is not what the flags say: run `UPDATE_DOCS=1 cargo test --test cli`"
    );
}
