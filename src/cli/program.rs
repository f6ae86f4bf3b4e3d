//! Finds the program before anybody waits for it: the search that `execvp` would do, at start, with
//! a sentence for each way it can fail. It reads the disk and nothing else; that the program
//! still is there when a room opens is not promised here.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::shown;

/// Where programs are looked for when `PATH` is unset.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The first line of a script that Linux reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: u64 = 256;

/// The absolute path of a program named as on a command line: a name is looked for in `path` (the
/// value of `PATH`), anything with a slash is a path. The error is one sentence that says what to do.
pub fn resolve_program(cmd: &OsStr, path: &OsStr) -> Result<PathBuf, String> {
    let name = shown(cmd);
    if cmd.is_empty() {
        return Err("the program's name is empty: name the program to serve".into());
    }
    if cmd.as_bytes().contains(&b'/') {
        let file = std::path::absolute(cmd)
            .map_err(|error| format!("`{name}` cannot be found: {error}"))?;
        return check(&file, &name).map(|()| file);
    }
    // As the shell does it: what stands in PATH but cannot run does not hide a later one that can,
    // and is only named when there is none.
    let path = if path.is_empty() {
        OsStr::new(DEFAULT_PATH)
    } else {
        path
    };
    let mut found_unfit = None;
    for dir in std::env::split_paths(path) {
        let file = match std::path::absolute(if dir.as_os_str().is_empty() {
            Path::new(".").join(cmd)
        } else {
            dir.join(cmd)
        }) {
            Ok(file) => file,
            Err(_) => continue,
        };
        // A directory or an unreadable place in PATH is passed over in silence, as execvp does.
        if !fs::metadata(&file).is_ok_and(|found| found.is_file()) {
            continue;
        }
        match check(&file, &shown(file.as_os_str())) {
            Ok(()) => return Ok(file),
            Err(sentence) => found_unfit = found_unfit.or(Some(sentence)),
        }
    }
    if let Some(sentence) = found_unfit {
        return Err(sentence);
    }
    match fs::metadata(Path::new(".").join(cmd)).is_ok_and(|found| found.is_file()) {
        true => Err(format!(
            "`{name}` is not in PATH: write `./{name}` for the one in this directory"
        )),
        false => Err(absent(&name, "is not in PATH")),
    }
}

/// What to do about a program that is not there.
fn absent(name: &str, what: &str) -> String {
    match name.split_once(char::is_whitespace) {
        Some((program, args)) => format!(
            "`{name}` is one name and {what}: write the program's arguments behind --, as in \
             `scalesocket {program} -- {}`",
            args.trim_start()
        ),
        None if what == "does not exist" => {
            format!("`{name}` does not exist: write the path of a program")
        }
        None => format!("`{name}` {what}: install it, or write the path of a program"),
    }
}

/// Whether this file can be executed.
fn check(file: &Path, name: &str) -> Result<(), String> {
    let found = match fs::metadata(file) {
        Ok(found) => found,
        Err(error) => {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => absent(name, "does not exist"),
                std::io::ErrorKind::PermissionDenied => {
                    format!(
                        "`{name}` is in a directory that may not be entered: allow it to this user"
                    )
                }
                std::io::ErrorKind::NotADirectory => {
                    format!("`{name}` goes through a file: write the path of a program")
                }
                _ => format!("`{name}` cannot be used: {error}"),
            });
        }
    };
    if found.is_dir() {
        return Err(format!(
            "`{name}` is a directory: write the path of a program in it"
        ));
    }
    if !found.is_file() {
        return Err(format!(
            "`{name}` is not a file: write the path of a program"
        ));
    }
    if access(file, AccessFlags::X_OK).is_err() {
        return Err(format!("`{name}` is not executable: run `chmod +x {name}`"));
    }
    check_interpreter(file, name)
}

/// The kernel runs no text that does not name its interpreter, and says of a script whose
/// interpreter is missing that the script is.
fn check_interpreter(file: &Path, name: &str) -> Result<(), String> {
    // A program may be executable and unreadable; then nobody can tell, and nothing is wrong.
    let Some(begin) = beginning(file) else {
        return Ok(());
    };
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
    if interpreter.is_empty() || Path::new(interpreter).exists() {
        return Ok(());
    }
    Err(format!(
        "`{name}` asks for `{}` in its first line, which does not exist: install that, or correct the line",
        shown(interpreter)
    ))
}

/// As much of a file as the kernel looks at; none if it cannot be read.
fn beginning(file: &Path) -> Option<Vec<u8>> {
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
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_name_is_searched_in_path_and_an_unfit_file_does_not_hide_a_later_one() {
        let one = tempfile::tempdir().unwrap();
        let two = tempfile::tempdir().unwrap();
        fs::create_dir(one.path().join("game")).unwrap();
        let path = std::env::join_paths([one.path(), two.path()]).unwrap();
        let game = file(two.path(), "game", "#!/bin/sh\n", 0o755);
        assert_eq!(resolve_program("game".as_ref(), &path), Ok(game.clone()));
        fs::remove_dir(one.path().join("game")).unwrap();
        file(one.path(), "game", "#!/bin/sh\n", 0o644);
        assert_eq!(resolve_program("game".as_ref(), &path), Ok(game));
    }

    #[test]
    fn a_link_is_kept_as_named_because_programs_look_at_their_name() {
        let dir = tempfile::tempdir().unwrap();
        let game = file(dir.path(), "busybox", "#!/bin/sh\n", 0o755);
        let link = dir.path().join("cat");
        symlink(&game, &link).unwrap();
        assert_eq!(
            resolve_program("cat".as_ref(), dir.path().as_os_str()),
            Ok(link)
        );
    }

    #[test]
    fn an_unset_path_still_finds_sh() {
        assert!(
            resolve_program("sh".as_ref(), "".as_ref())
                .unwrap()
                .is_absolute()
        );
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let plain = file(dir.path(), "plain", "#!/bin/sh\n", 0o644);
        let lost = file(dir.path(), "lost", "#! /no/such/interpreter -x\n", 0o755);
        let dos = file(dir.path(), "dos", "#!/bin/sh\r\nexit\r\n", 0o755);
        let env = file(dir.path(), "env", "#!/usr/bin/env sh\r\nexit\r\n", 0o755);
        let bare = file(dir.path(), "bare", "echo hi\n", 0o755);
        let snake = file(dir.path(), "snake.py", "print(1)\n", 0o755);
        let empty = file(dir.path(), "empty", "", 0o755);
        let through = plain.join("deeper");
        let absent = dir.path().join("absent");
        let cases: [(&OsStr, &str); 15] = [
            (dir.path().as_os_str(), "is a directory"),
            (plain.as_os_str(), "is not executable: run `chmod +x "),
            ("plain".as_ref(), "is not executable: run `chmod +x "),
            (absent.as_os_str(), "does not exist"),
            ("absent".as_ref(), "is not in PATH"),
            (lost.as_os_str(), "asks for `/no/such/interpreter`"),
            (dos.as_os_str(), "CR LF"),
            (env.as_os_str(), "CR LF"),
            (bare.as_os_str(), "make `#!/bin/sh` its first line"),
            (snake.as_os_str(), "make `#!/usr/bin/env python3` its"),
            (empty.as_os_str(), "is empty"),
            ("absent -x 1".as_ref(), "as in `scalesocket absent -- -x 1`"),
            ("./absent 1".as_ref(), "as in `scalesocket ./absent -- 1`"),
            (through.as_os_str(), "goes through a file"),
            ("/dev/null".as_ref(), "is not a file"),
        ];
        for (cmd, expected) in cases {
            let sentence = resolve_program(cmd, dir.path().as_os_str()).unwrap_err();
            assert!(sentence.contains(expected), "{cmd:?}: {sentence}");
            assert!(!sentence.contains('\n'), "{cmd:?}: {sentence}");
        }
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

    #[test]
    fn any_bytes_are_a_name_or_an_error() {
        for bytes in [&b"\0"[..], b"a\0b", b"\xff", b"./\xff\n", b""] {
            let sentence = resolve_program(OsStr::from_bytes(bytes), "/bin".as_ref()).unwrap_err();
            assert!(!sentence.contains('\n'), "{sentence}");
        }
    }
}
