//! Which pod a new room goes to: pure, and the same in every pod that has the same view.
//!
//! `Spread` is bounded-load rendezvous hashing: a room goes to the pod of the highest weight that is not loaded above a
//! quarter over the average. `Packed` fills one pod after the other, so that others become empty. It places new rooms only: who
//! runs a room already is known from its claim, and a choice made on an old view costs a hop, never a second child.

use sha2::{Digest, Sha256};

use super::Placement;

/// A pod as far as placement is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// What the pod is weighed by; of two candidates never the same.
    pub id: &'a str,
    /// Rooms it has, and those on their way to it.
    pub load: usize,
    /// Rooms it takes.
    pub limit: usize,
    /// Whether it may get rooms at all.
    pub eligible: bool,
}

impl Candidate<'_> {
    fn is_open(&self) -> bool {
        self.eligible && self.load < self.limit
    }
}

/// The index of the candidate that `room` goes to, `None` if all are full or not eligible.
///
/// The order of the candidates does not matter.
pub fn place(room: &str, policy: Placement, candidates: &[Candidate<'_>]) -> Option<usize> {
    let open = || {
        let all = candidates.iter().enumerate();
        all.filter(|(_, candidate)| candidate.is_open())
    };
    // Last by weight, then by name: no two are equal.
    let rank = |candidate: &Candidate<'_>| (weight(room, candidate.id), candidate.id.to_owned());
    let chosen = match policy {
        Placement::Spread => {
            let bound = bound(open().map(|(_, candidate)| candidate.load));
            open()
                .filter(|(_, candidate)| candidate.load < bound)
                .max_by_key(|(_, candidate)| rank(candidate))
        }
        Placement::Packed(target) => open()
            .filter(|(_, candidate)| candidate.load < target)
            .max_by_key(|(_, candidate)| (candidate.load, rank(candidate)))
            .or_else(|| {
                open().max_by_key(|(_, candidate)| {
                    (std::cmp::Reverse(candidate.load), rank(candidate))
                })
            }),
    };
    chosen.map(|(index, _)| index)
}

/// ceil(1.25 · (total + 1) / n): what a pod may have *before* it gets another room is less than this.
/// The emptiest pod always is below it.
fn bound(loads: impl Iterator<Item = usize>) -> usize {
    let (n, total) = loads.fold((0usize, 0usize), |(n, total), load| {
        (n + 1, total.saturating_add(load))
    });
    let wanted = total.saturating_add(1).saturating_mul(5);
    wanted.div_ceil(n.saturating_mul(4).max(1))
}

/// How much `room` likes a pod. The length of the room's name keeps apart what is concatenated.
fn weight(room: &str, id: &str) -> u64 {
    let hash = Sha256::new()
        .chain_update((room.len() as u64).to_be_bytes())
        .chain_update(room)
        .chain_update(id)
        .finalize();
    let mut first = [0; 8];
    first.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests;
