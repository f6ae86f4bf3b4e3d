//! Where the program is: the search a shell does, done by us before anything is started.
//!
//! The child's own `PATH` may be another one or missing, so the program is looked up in ours.
//! A file that cannot be executed is told from one that is not there, as 126 is from 127.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::StartError;

/// The path of `program`: itself if it holds a slash, else the first executable of that name in
/// our `PATH`.
pub fn find(program: &Path) -> Result<PathBuf, StartError> {
    find_in(
        program,
        env::var_os("PATH")
            .as_deref()
            .unwrap_or(OsStr::new("/usr/bin:/bin")),
    )
}

fn find_in(program: &Path, path: &OsStr) -> Result<PathBuf, StartError> {
    let missing = || StartError::NotFound {
        program: program.display().to_string(),
    };
    let refused = |error| StartError::Refused {
        program: program.display().to_string(),
        error,
    };
    let bytes = program.as_os_str().as_bytes();
    if bytes.is_empty() {
        return Err(missing());
    }
    if bytes.contains(&b'/') {
        return match executable(program) {
            Ok(()) => Ok(program.to_path_buf()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(refused(error)),
        };
    }
    // As a shell does: the first that can be executed wins, one that cannot only if there is none.
    let mut found = Err(missing());
    for dir in env::split_paths(path) {
        let candidate = if dir.as_os_str().is_empty() {
            Path::new(".").join(program)
        } else {
            dir.join(program)
        };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found = Err(refused(error));
            }
            Err(_) => {}
        }
    }
    found
}

fn executable(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(access(path, AccessFlags::X_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        assert_eq!(
            find_in(Path::new("sh"), OsStr::new("/nowhere:/bin")).unwrap(),
            Path::new("/bin/sh")
        );
        assert_eq!(
            find_in(Path::new("/bin/sh"), OsStr::new("")).unwrap(),
            Path::new("/bin/sh")
        );
    }

    #[test]
    fn what_is_not_there_is_127_and_what_cannot_run_is_126() {
        for (program, status) in [("no-such-program", 127), ("/no/such", 127), ("", 127)] {
            let error = find_in(Path::new(program), OsStr::new("/bin")).unwrap_err();
            assert_eq!(error.shell_status(), status, "{program}: {error}");
        }
        for program in ["/", "/dev/null"] {
            let error = find_in(Path::new(program), OsStr::new("/bin")).unwrap_err();
            assert_eq!(error.shell_status(), 126, "{program}: {error}");
        }
    }
}
