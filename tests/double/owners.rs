//! Who owns whom, for the collection of garbage: an object whose every `ownerReferences` entry
//! names a uid that is gone is garbage. Owners of kinds the double does not hold (a ReplicaSet, a
//! StatefulSet) live until a test says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::resource::Resource;

/// An object's place in the store.
pub type Key = (Resource, String);

/// The uids that live, and an index from owners to what they own.
#[derive(Default)]
pub struct Owners {
    living: BTreeSet<String>,
    departed: BTreeSet<String>,
    dependents: BTreeMap<String, BTreeSet<Key>>,
    suspects: BTreeSet<Key>,
}

impl Owners {
    /// Notes a new object.
    pub fn born(&mut self, key: &Key, object: &Value) {
        self.living.insert(uid(object).to_owned());
        self.link(key, object);
    }

    /// Notes that an object looks different.
    pub fn changed(&mut self, key: &Key, before: &Value, now: &Value) {
        if before["metadata"]["ownerReferences"] != now["metadata"]["ownerReferences"] {
            self.unlink(key, before);
            self.link(key, now);
        }
    }

    /// Notes that an object is gone; what it owned may be garbage now.
    pub fn died(&mut self, key: &Key, object: &Value) {
        self.living.remove(uid(object));
        self.unlink(key, object);
        self.orphan(uid(object));
    }

    /// Notes that an owner of a foreign kind is gone.
    pub fn departed(&mut self, owner: &str) {
        self.departed.insert(owner.to_owned());
        self.orphan(owner);
    }

    /// Whether an object is garbage now.
    pub fn is_garbage(&self, object: &Value) -> bool {
        let references = references(object);
        !references.is_empty() && references.iter().all(|it| self.is_gone(it))
    }

    /// Takes the objects whose owners changed since the last call: each may be garbage.
    pub fn take_suspects(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.suspects)
    }

    fn is_gone(&self, reference: &Value) -> bool {
        let text = |field: &str| reference[field].as_str().unwrap_or_default();
        let known = Resource::of(text("apiVersion"), text("kind")).is_some();
        match known {
            true => !self.living.contains(text("uid")),
            false => self.departed.contains(text("uid")),
        }
    }

    fn orphan(&mut self, owner: &str) {
        if let Some(dependents) = self.dependents.get(owner) {
            self.suspects.extend(dependents.iter().cloned());
        }
    }

    fn link(&mut self, key: &Key, object: &Value) {
        for reference in references(object) {
            let owner = reference["uid"].as_str().unwrap_or_default().to_owned();
            self.dependents
                .entry(owner)
                .or_default()
                .insert(key.clone());
        }
        if self.is_garbage(object) {
            self.suspects.insert(key.clone());
        }
    }

    fn unlink(&mut self, key: &Key, object: &Value) {
        for reference in references(object) {
            let owner = reference["uid"].as_str().unwrap_or_default();
            if let Some(dependents) = self.dependents.get_mut(owner) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn references(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}
