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

/// Compares with what was agreed on for this set of features.
fn as_agreed(name: &str, text: impl std::fmt::Display) {
    let suffix = if cfg!(feature = "kube") { "_kube" } else { "" };
    insta::assert_snapshot!(format!("{name}{suffix}"), text);
}

#[test]
fn short_help() {
    as_agreed("short_help", cli::command().term_width(100).render_help());
}

#[test]
fn long_help() {
    as_agreed(
        "long_help",
        cli::command().term_width(100).render_long_help(),
    );
}

/// The page tells of every feature; a build without one has its part of the page not.
fn of_this_build(page: String) -> String {
    let cluster = "\n## Cluster\n";
    match (cfg!(feature = "kube"), page.find(cluster)) {
        (false, Some(begin)) => {
            let rest = &page[begin + cluster.len()..];
            let end = rest.find("\n## ").map_or(rest.len(), |end| end);
            page[..begin].to_owned() + &rest[end..]
        }
        _ => page,
    }
}

#[test]
fn the_reference_in_docs_is_current() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let page = cli::reference();
    if cfg!(feature = "kube") && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).expect("docs/cli.md can be written");
    }
    let stored = of_this_build(std::fs::read_to_string(&file).unwrap_or_default());
    assert!(
        stored == page,
        "docs/cli.md is not what the flags say: run `UPDATE_DOCS=1 cargo test --features kube --test cli`"
    );
}

/// What a helper prints that only prints.
fn printed(line: &str) -> String {
    match parse_in(&[], line) {
        Err(exit @ Exit::Answer(_)) => exit.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn shells_are_told_of_every_flag_and_helper() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell", "ZSH"] {
        let text = printed(&format!("completions {shell}"));
        for flag in cli::command()
            .get_arguments()
            .filter_map(|arg| arg.get_long())
        {
            assert!(text.contains(flag), "{shell}: {flag}");
        }
        for helper in ["install", "probe", "completions", "man"] {
            assert!(text.contains(helper), "{shell}: {helper}");
        }
    }
    for line in [
        "completions",
        "completions ksh",
        "completions bash zsh",
        "man x",
    ] {
        assert!(
            parse_in(&[], line).is_err_and(|exit| exit.code() == 2),
            "{line}"
        );
    }
}

#[test]
fn bash_completes_as_its_script_says() {
    let script = format!(
        "{}\nCOMP_WORDS=(scalesocket --backl); COMP_CWORD=1; _scalesocket scalesocket --backl scalesocket; echo \"${{COMPREPLY[@]}}\"",
        printed("completions bash")
    );
    let shell = std::process::Command::new("bash")
        .arg("-c")
        .arg(script)
        .output();
    let Ok(answer) = shell else {
        eprintln!("skipped: there is no bash here");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "--backlog");
}

#[test]
fn the_manual_page_tells_of_every_flag_and_helper() {
    let page = printed("man");
    assert!(page.contains(".TH SCALESOCKET 1"), "{page}");
    // Hyphens are escaped in roff, so that they can be copied.
    let plain = page.replace("\\-", "-");
    for flag in cli::command()
        .get_arguments()
        .filter_map(|arg| arg.get_long())
    {
        assert!(plain.contains(&format!("--{flag}")), "{flag}");
    }
    for helper in [
        "install [DIR]",
        "probe [OPTIONS] [URL]",
        "completions [SHELL]",
    ] {
        assert!(plain.contains(&format!("scalesocket {helper}")), "{helper}");
    }
}
