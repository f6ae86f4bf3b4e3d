//! A puppet that takes memory: all it can get, or some of it in each of many processes.

use std::io;
use std::process::Command;

use crate::processes::sleep;

const MIB: usize = 1 << 20;

/// Memory that is there and not only promised.
fn some(bytes: usize) -> Option<Vec<u8>> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(bytes).ok()?;
    memory.resize(bytes, 1);
    Some(memory)
}

/// Ends with 3 when there is no more; something may end it before that.
pub(crate) fn eat() -> u8 {
    let mut eaten = Vec::with_capacity(1 << 16);
    while let Some(bite) = some(MIB) {
        eaten.push(bite);
    }
    3
}

pub(crate) fn hold(mib: usize) -> io::Result<()> {
    let held = some(mib.saturating_mul(MIB)).ok_or(io::ErrorKind::OutOfMemory)?;
    sleep();
    drop(held);
    Ok(())
}

pub(crate) fn crowd(size: usize, mib: &str) -> io::Result<()> {
    let puppet = std::env::current_exe()?;
    let member = || Command::new(&puppet).args(["hold", mib]).spawn();
    let crowd = (0..size)
        .map(|_| member())
        .collect::<io::Result<Vec<_>>>()?;
    sleep();
    drop(crowd);
    Ok(())
}
