//! Whatever the fuzzer started from and whatever it found, through the targets of `fuzz/`: it is what
//! no change may break again.

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::path::{Path, PathBuf};

use targets::TARGETS;

/// The inputs that are kept for one target.
fn inputs(kind: &str, target: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let entries = std::fs::read_dir(root.join(kind).join(target));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn every_target_holds_for_what_is_kept() {
    for (name, run) in TARGETS {
        let seeds = inputs("seeds", name);
        assert!(seeds.len() > 1, "{name} has no seeds");
        for path in seeds.into_iter().chain(inputs("findings", name)) {
            let input = std::fs::read(&path).unwrap();
            if std::panic::catch_unwind(|| run(&input)).is_err() {
                panic!("{} does not hold", path.display());
            }
        }
    }
}

#[test]
fn every_input_belongs_to_a_target() {
    for kind in ["seeds", "findings", "dictionaries"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz")
            .join(kind);
        for entry in std::fs::read_dir(root).into_iter().flatten() {
            let name = entry.unwrap().path();
            let name = name.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name}");
        }
    }
}
