//! Where the three programs of the control plane are: in `KUBEBUILDER_ASSETS`, or built by
//! tests/control-plane/build.sh, which needs Go. Where neither is to be had the tests are skipped
//! and say so, except in CI: there nothing may go unseen.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

static ASSETS: LazyLock<Option<PathBuf>> = LazyLock::new(find);

/// The directory with etcd, kube-apiserver and kube-controller-manager; builds them when they are
/// missing, which takes many minutes the first time. `None`, told on stderr, without Go.
pub fn assets() -> Option<&'static Path> {
    ASSETS.as_deref()
}

fn find() -> Option<PathBuf> {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").is_some_and(|path| !path.is_empty());
    if !given && !on_path("go") {
        let missing = "no control plane: neither Go nor KUBEBUILDER_ASSETS is there";
        assert!(std::env::var_os("CI").is_none(), "{missing}");
        eprintln!("{missing}; the tests that need one are skipped");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control-plane/build.sh");
    // stderr is inherited: a build of minutes must be seen, and the capture of tests hides ours.
    let built = Command::new("bash")
        .arg(script)
        .stderr(Stdio::inherit())
        .output()
        .expect("bash starts");
    assert!(built.status.success(), "the control plane does not build");
    let said = String::from_utf8(built.stdout).expect("a path in UTF-8");
    Some(PathBuf::from(said.lines().last().expect("a directory")))
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
