//! Finds the program before anybody waits for it: the search that `execvp` would do, at start, with
//! a sentence for each way it can fail. It reads the disk and nothing else; that the program
//! still is there when a room opens is not promised here.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::complaint::quoted;
use super::script::{beginning, check_interpreter, is_source};
use super::{shown, slips};

/// Where programs are looked for when `PATH` is unset.
pub const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

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
        return check(&file, &name, path).map(|()| file);
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
        match check(&file, &shown(file.as_os_str()), path) {
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
        false => Err(absent(&name, path)),
    }
}

/// What to do about a program that is not there.
fn absent(name: &str, path: &OsStr) -> String {
    let is_path = name.contains('/');
    let what = if is_path {
        "does not exist"
    } else {
        "is not in PATH"
    };
    if let Some(sentence) = slips::long_dash(name) {
        return sentence;
    }
    if name.contains(|c| "|;&<>$`".contains(c)) {
        return format!(
            "`{name}` is no program's name: for a line of shell write `scalesocket sh -- -c {}`",
            quoted(name.as_ref())
        );
    }
    if let Some((program, args)) = name.split_once(char::is_whitespace) {
        return format!(
            "`{name}` is one name and {what}: write the program's arguments behind --, as in \
             `scalesocket {program} -- {}`",
            args.trim_start()
        );
    }
    let here = std::env::current_dir();
    let here = here.as_ref().map(|here| shown(here.as_os_str()));
    match (name, here) {
        ("help" | "version", _) => format!("`{name}` {what}: write `scalesocket --{name}`"),
        ("python", _) if is_in("python3".as_ref(), path) => {
            format!("`{name}` {what}: write `python3`, which is")
        }
        (_, Ok(here)) if is_path && !name.starts_with('/') => {
            format!("`{name}` {what}, seen from `{here}`: write the path of a program")
        }
        _ if is_path => format!("`{name}` {what}: write the path of a program"),
        _ => format!("`{name}` {what}: install it, or write the path of a program"),
    }
}

/// Whether somebody who looks for it in `path` finds this program.
pub(super) fn is_in(program: &OsStr, path: &OsStr) -> bool {
    let mut places = std::env::split_paths(path).map(|dir| dir.join(program));
    places.any(|file| file.is_file() && access(&file, AccessFlags::X_OK).is_ok())
}

/// Whether this file can be executed.
fn check(file: &Path, name: &str, path: &OsStr) -> Result<(), String> {
    let found = match fs::metadata(file) {
        Ok(found) => found,
        Err(error) => {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => absent(name, path),
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
    // A program may be executable and unreadable; then nobody can tell what it is, and nothing is wrong.
    let begin = beginning(file);
    if begin.as_deref().is_some_and(|begin| is_source(file, begin)) {
        return Err(format!(
            "`{name}` is source: compile it, and serve what comes of that"
        ));
    }
    if access(file, AccessFlags::X_OK).is_err() {
        return Err(format!("`{name}` is not executable: run `chmod +x {name}`"));
    }
    begin.map_or(Ok(()), |begin| check_interpreter(file, name, &begin, path))
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
    fn any_bytes_are_a_name_or_an_error() {
        for bytes in [&b"\0"[..], b"a\0b", b"\xff", b"./\xff\n", b""] {
            let sentence = resolve_program(OsStr::from_bytes(bytes), "/bin".as_ref()).unwrap_err();
            assert!(!sentence.contains('\n'), "{sentence}");
        }
    }
}
