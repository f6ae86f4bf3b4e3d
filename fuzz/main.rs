//! libFuzzer around one target, named by the environment: one program for all of them is built in the
//! time of one. `fuzz/run` builds and starts it.

#![no_main]

#[path = "targets/mod.rs"]
mod targets;

use std::sync::OnceLock;

use targets::{TARGETS, Target};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    let run = CHOSEN.get_or_init(|| {
        let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
        match TARGETS.iter().find(|(name, _)| *name == wanted) {
            Some((_, target)) => *target,
            None => panic!(
                "FUZZ_TARGET names one of {:?}",
                TARGETS.map(|(name, _)| name)
            ),
        }
    });
    run(input);
});
