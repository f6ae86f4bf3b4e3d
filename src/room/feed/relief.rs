//! Relief: who is let go where the server is short of memory.
//!
//! What everybody hears is held once, from the place of whoever is the furthest behind. So one who
//! goes frees what lies between its place and that of the next, and its side queue; where many are
//! at one place, only all of them free anything. Who has heard, at a second look, all that had been
//! said at the first keeps up, and is no burden whatever it has not heard of what was said since.

use std::cmp::Ordering;
use std::task::Waker;

use super::{Expelled, Feed, Member};

/// What somebody who is let go must free at the least: beyond that are those who are a little late,
/// and closing them by the thousand would free less than their coming again costs.
const LEAST: u64 = 64 << 10;

/// What a client had yet to hear when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::room) struct Debt {
    id: u32,
    /// The end of the stream then.
    at: u64,
    /// [`Member::side_taken`] once all was written that was in its side queue then.
    side: u32,
}

/// Clients who hold memory together.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::room) struct Burden {
    pub(in crate::room) clients: Vec<u32>,
    /// What is free without them, and without all who are further behind.
    pub(in crate::room) bytes: u64,
}

impl Burden {
    /// Which of two costs more for each who goes.
    pub(in crate::room) fn weigh(&self, other: &Burden) -> Ordering {
        let product = |bytes: u64, clients: &[u32]| u128::from(bytes) * clients.len() as u128;
        product(self.bytes, &other.clients).cmp(&product(other.bytes, &self.clients))
    }
}

impl Member {
    fn owes(&self, debt: &Debt) -> bool {
        let side_left = debt.side.wrapping_sub(self.side_taken) as i32;
        self.cursor.at < debt.at || side_left > 0
    }
}

impl Feed {
    /// Who has much to hear, and how much of it there is by now.
    pub(in crate::room) fn debts(&self) -> Vec<Debt> {
        let end = self.backlog.end().at;
        let members = self.members.iter().map(|(_, member)| member);
        let far = members.filter(|member| {
            member.expelled.is_none()
                && end - self.held_from(member) + member.side_cost as u64 >= LEAST
        });
        far.map(|member| Debt {
            id: member.id.get(),
            at: end,
            side: member.side_taken.wrapping_add(member.side.len() as u32),
        })
        .collect()
    }

    /// Those who have not paid since, the heaviest first; who is further behind comes before those
    /// who free nothing without it.
    pub(in crate::room) fn burdens(&self, debts: &[Debt]) -> Vec<Burden> {
        let mut late: Vec<&Member> = debts
            .iter()
            .filter_map(|debt| {
                let member = self.members.get(*self.keys.get(&debt.id)?)?;
                (member.expelled.is_none() && member.owes(debt)).then_some(member)
            })
            .collect();
        late.sort_by_key(|member| (self.held_from(member), std::cmp::Reverse(member.side_cost)));
        let ids: rustc_hash::FxHashSet<u32> = late.iter().map(|member| member.id.get()).collect();
        let members = self.members.iter().map(|(_, member)| member);
        // Whoever stays keeps what comes after its place.
        let kept = members
            .filter(|member| member.expelled.is_none() && !ids.contains(&member.id.get()))
            .map(|member| self.held_from(member))
            .min()
            .unwrap_or(self.backlog.end().at);
        let mut burdens: Vec<Burden> = Vec::new();
        for (index, member) in late.iter().enumerate() {
            let next = late.get(index + 1);
            let next = next.map_or(kept, |next| self.held_from(next).min(kept));
            let freed = next - self.held_from(member).min(next);
            let mut burden = Burden {
                clients: vec![member.id.get()],
                bytes: freed + member.side_cost as u64,
            };
            // Who frees more once another has gone goes together with it.
            while let Some(before) = burdens.pop_if(|before| burden.weigh(before).is_gt()) {
                burden = Burden {
                    bytes: before.bytes + burden.bytes,
                    clients: [before.clients, burden.clients].concat(),
                };
            }
            burdens.push(burden);
        }
        burdens.retain(|burden| burden.bytes >= LEAST * burden.clients.len() as u64);
        burdens
    }

    /// Lets these go, and frees what they held. Returns how many there still were.
    pub(in crate::room) fn let_go(&mut self, clients: &[u32], wake: &mut Vec<Waker>) -> usize {
        let mut gone = 0;
        for id in clients {
            let member = self.keys.get(id).and_then(|key| self.members.get_mut(*key));
            let Some(member) = member.filter(|member| member.expelled.is_none()) else {
                continue;
            };
            member.expel(Expelled::ShortOfMemory, &mut self.turns, wake);
            self.side_cost -= member.drop_side();
            gone += 1;
        }
        if gone > 0 {
            self.find_fastest();
            let slowest = self.slowest();
            self.backlog.trim(self.ahead(slowest), slowest);
            self.scan_at = self.next_scan();
            self.wake_pumps(wake);
        }
        gone
    }

    /// From where on a client keeps what was said.
    fn held_from(&self, member: &Member) -> u64 {
        member.cursor.at.max(self.backlog.start())
    }
}

#[cfg(test)]
mod tests;
