//! Who of a room reads compressed frames.

use super::Feed;
use crate::room::outgoing::Who;

impl Feed {
    /// The client at `key` reads compressed frames from now on.
    pub(crate) fn read_packed(&mut self, key: usize) {
        if let Some(member) = self.members.get_mut(key) {
            self.packed += usize::from(!member.packed);
            member.packed = true;
        }
    }

    /// Whether anybody does.
    pub(crate) fn is_read_packed(&self) -> bool {
        self.packed > 0
    }

    /// Whether anybody among these does.
    pub(crate) fn is_read_packed_by(&self, who: &Who) -> bool {
        match who {
            Who::Only(ids) => ids
                .iter()
                .filter_map(|id| self.members.get(*self.keys.get(id)?))
                .any(|member| member.packed),
            Who::Except(ids) => self
                .members
                .iter()
                .any(|(_, member)| member.packed && !ids.contains(&member.id.get())),
        }
    }
}
