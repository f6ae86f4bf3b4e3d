//! The `scalesocket` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = scalesocket::child::run_if_warden() {
        return code;
    }
    ExitCode::SUCCESS
}
