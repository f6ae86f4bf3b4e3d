//! What the beginning of a program's file says of it: the interpreter that its first line asks for, text that
//! no kernel runs, and how its runtime is made to print at once.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::program::{DEFAULT_PATH, is_in};
use super::shown;

/// The first line of a script that Linux reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// With what text begins that Windows wrote: in UTF-8, and twice in UTF-16.
const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// Names of what is compiled first.
const SOURCES: [&str; 9] = ["c", "cc", "cpp", "cs", "go", "hs", "java", "rs", "zig"];

/// Whether it is text that a compiler takes, by its name.
pub(super) fn is_source(file: &Path, begin: &[u8]) -> bool {
    let named = file.extension().and_then(OsStr::to_str);
    let named = named.is_some_and(|name| SOURCES.contains(&name));
    named && !begin.starts_with(b"#!") && !begin.contains(&0)
}

/// The kernel runs no text that does not name its interpreter, and says of a script whose
/// interpreter is missing that the script is.
pub(super) fn check_interpreter(
    file: &Path,
    name: &str,
    begin: &[u8],
    path: &OsStr,
) -> Result<(), String> {
    if MARKS.iter().any(|mark| begin.starts_with(mark)) {
        return Err(format!(
            "`{name}` begins with a byte order mark, which hides its first line: save it as UTF-8 without one"
        ));
    }
    let Some(line) = begin.strip_prefix(b"#!") else {
        // What holds a NUL byte is of a form that we need not know: the kernel may (binfmt_misc).
        return match begin.contains(&0) {
            true => Ok(()),
            false => Err(match begin.is_empty() {
                true => format!("`{name}` is empty: write a program into it"),
                false => format!(
                    "`{name}` does not say what runs it: make `{}` its first line",
                    first_line(file)
                ),
            }),
        };
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err(format!(
            "`{name}` has lines that end in CR LF: save it with Unix line ends, or run `sed -i 's/\\r$//' {name}`"
        ));
    }
    let interpreter = words(line).next().unwrap_or_default();
    if interpreter.is_empty() {
        return Ok(());
    }
    if !Path::new(interpreter).exists() {
        return Err(format!(
            "`{name}` asks for `{}` in its first line, which does not exist: install that, or correct the line",
            shown(interpreter)
        ));
    }
    match Path::new(interpreter).file_name() {
        Some(env) if env == "env" => check_env(file, line, name, path),
        _ => Ok(()),
    }
}

/// What env(1) is given in a first line, by which it looks for the interpreter itself: what it does not find
/// it says when a room opens, in its own words.
fn check_env(file: &Path, line: &[u8], name: &str, path: &OsStr) -> Result<(), String> {
    let mut given = words(line).skip(1).peekable();
    let split = given.next_if(|word| *word == "-S").is_some();
    let Some(program) = given.next() else {
        return Err(format!(
            "`{name}` names nothing behind env in its first line: make it `{}`",
            first_line(file)
        ));
    };
    // Options, variables, quotes and paths are env's own matter.
    if program
        .as_bytes()
        .iter()
        .any(|byte| b"=/'\"\\$".contains(byte))
        || program.as_bytes().starts_with(b"-")
    {
        return Ok(());
    }
    // Linux gives an interpreter all that is behind it as one word.
    if cfg!(target_os = "linux") && !split && given.next().is_some() {
        let words: Vec<_> = words(line).skip(1).map(shown).collect();
        return Err(format!(
            "`{name}` gives env more than one word in its first line: write `#!/usr/bin/env -S {}`",
            words.join(" ")
        ));
    }
    // It may be looked for from another directory.
    let fixed = std::env::split_paths(path).all(|dir| dir.is_absolute());
    if !fixed || is_in(program, path) || is_in(program, DEFAULT_PATH.as_ref()) {
        return Ok(());
    }
    let advice = match program == "python" && is_in("python3".as_ref(), path) {
        true => "write python3 there",
        false => "install that, or correct the line",
    };
    Err(format!(
        "`{name}` asks for `{}` in its first line, which is not in PATH: {advice}",
        shown(program)
    ))
}

/// As much of a file as the kernel looks at; none if it cannot be read.
pub(super) fn beginning(file: &Path) -> Option<Vec<u8>> {
    let mut begin = Vec::new();
    let file = File::open(file).ok()?;
    file.take(FIRST_LINE).read_to_end(&mut begin).ok()?;
    Some(begin)
}

fn words(line: &[u8]) -> impl Iterator<Item = &OsStr> {
    line.split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty())
        .map(OsStr::from_bytes)
}

/// How a program is made to say at once what it prints into a pipe: its runtime decides that.
pub fn flush_advice(program: &Path) -> &'static str {
    // `/usr/bin/env python3` is named by its last word, and so is `/usr/bin/python3`.
    let script = beginning(program).unwrap_or_default();
    let line = script.strip_prefix(b"#!").map(|rest| {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        words(line)
            .filter(|word| !word.as_bytes().starts_with(b"-"))
            .take(2)
            .map(Path::new)
            .filter_map(Path::file_name)
            .find(|name| *name != "env")
    });
    let runtime = line.unwrap_or(program.file_name()).unwrap_or_default();
    let runtime = runtime.to_string_lossy();
    let kind = runtime.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    match kind {
        "python" | "pypy" => "start it with `python3 -u`, or print with flush=True",
        "ruby" => "write `$stdout.sync = true` at its beginning",
        "perl" => "write `$| = 1;` at its beginning",
        "lua" | "luajit" => "write `io.stdout:setvbuf('line')` at its beginning",
        "awk" | "gawk" | "mawk" => "call fflush() after each message",
        "sed" => "give it `-u`",
        "grep" => "give it `--line-buffered`",
        _ => "flush stdout after each message, or run it under `stdbuf -oL`",
    }
}

/// What a script of that name begins with.
fn first_line(script: &Path) -> &'static str {
    match script.extension().and_then(OsStr::to_str) {
        Some("py") => "#!/usr/bin/env python3",
        Some("js" | "mjs" | "cjs") => "#!/usr/bin/env node",
        Some("rb") => "#!/usr/bin/env ruby",
        Some("pl") => "#!/usr/bin/env perl",
        Some("lua") => "#!/usr/bin/env lua",
        Some("php") => "#!/usr/bin/env php",
        _ => "#!/bin/sh",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn advice_about_flushing_fits_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        for (text, part) in [
            ("#!/usr/bin/env python3\n", "python3 -u"),
            ("#!/usr/bin/env -S python3.12 -O\n", "python3 -u"),
            ("#! /usr/bin/perl -w\n", "$| = 1"),
            ("#!/usr/bin/mawk -f\n", "fflush()"),
            ("#!/bin/sh\n", "stdbuf -oL"),
            ("#!\n", "stdbuf -oL"),
            ("\x7fELF", "stdbuf -oL"),
        ] {
            let program = file(dir.path(), "program", text, 0o755);
            assert!(flush_advice(&program).contains(part), "{text}");
        }
        assert!(flush_advice(Path::new("/usr/bin/ruby3.1")).contains("sync"));
        assert!(flush_advice(Path::new("/")).contains("stdbuf"));
    }
}
