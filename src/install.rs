//! `scalesocket install DIR`: the program copies itself, for images that have no `cp`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The name of the copy.
const NAME: &str = "scalesocket";

/// Copies the running executable to `dir/scalesocket`, executable for everybody. The copy appears
/// whole or not at all: an older one may be running.
pub fn install(dir: &Path) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this executable")?;
    let target = dir.join(NAME);
    let fresh = dir.join(format!(".{NAME}.{}", std::process::id()));
    let copied = fs::copy(&program, &fresh)
        .and_then(|_| make_executable(&fresh))
        .and_then(|()| fs::rename(&fresh, &target));
    if let Err(error) = copied {
        // What was begun is no use to anybody; it may not even exist.
        let _ = fs::remove_file(&fresh);
        return Err(error).context(format!("cannot install into {}", dir.display()));
    }
    Ok(target)
}

fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
