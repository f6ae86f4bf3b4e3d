//! The objects and their history: what the API server and etcd do with a request that has arrived.
//! Pure: time and new uids are handed in, nothing waits. Finalizers, generations, managed fields and
//! server-side apply are not here; nothing in this project uses them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::merge::merge;
use super::metadata::{complaints, undecodable};
use super::owners::{Key, Owners};
use super::resource::Resource;
use super::selector::Selector;
use super::status::{Cause, Refusal};

/// The wall clock of the double when it starts, in seconds of Unix time: 2030-01-01T00:00:00Z.
const EPOCH: i64 = 1_893_456_000;

/// Seconds a pod gets to end when nobody says how many.
const GRACE: u64 = 30;

/// One entry of the history.
#[derive(Clone)]
pub struct Change {
    /// The resourceVersion it made.
    pub version: u64,
    /// When it was committed.
    pub at: Instant,
    /// What it is about.
    pub resource: Resource,
    /// The object before, with the version before; none if it is new.
    pub before: Option<Arc<Value>>,
    /// The object after, or as it was last if it is gone, with the version of this change.
    pub after: Arc<Value>,
    /// Whether it is gone.
    pub gone: bool,
}

/// Conditions of a DELETE.
#[derive(Clone, Default, Debug)]
pub struct Deletion {
    /// The uid it must have.
    pub uid: Option<String>,
    /// The resourceVersion it must have.
    pub version: Option<String>,
    /// `gracePeriodSeconds`; only pods end gracefully.
    pub grace: Option<u64>,
}

/// All objects of one namespace.
pub struct Store {
    namespace: String,
    start: Instant,
    version: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    owners: Owners,
    history: VecDeque<Change>,
    window: usize,
    forgotten: u64,
}

impl Store {
    /// An empty namespace.
    pub fn new(namespace: &str, start: Instant) -> Store {
        Store {
            namespace: namespace.to_owned(),
            start,
            version: 1,
            objects: BTreeMap::new(),
            owners: Owners::default(),
            history: VecDeque::new(),
            window: 1_000,
            forgotten: 1,
        }
    }

    /// Its name.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The newest resourceVersion.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version up to which changes are forgotten: a watch from before it answers 410.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// How many changes are remembered from now on.
    pub fn set_window(&mut self, changes: usize) {
        self.window = changes;
        self.trim();
    }

    /// Forgets all changes so far, as a compaction does.
    pub fn forget(&mut self) {
        self.history.clear();
        self.forgotten = self.version;
    }

    /// The first change after a version.
    pub fn change_after(&self, version: u64) -> Option<&Change> {
        let next = self.history.partition_point(|it| it.version <= version);
        self.history.get(next)
    }

    /// All objects of a kind that match, in the order of their names.
    pub fn list(&self, resource: Resource, selector: &Selector) -> Vec<Arc<Value>> {
        self.objects
            .range((resource, String::new())..)
            .take_while(|((kind, _), _)| *kind == resource)
            .filter(|(_, object)| selector.takes(object))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// One object.
    pub fn get(&self, resource: Resource, name: &str) -> Result<Arc<Value>, Refusal> {
        self.objects
            .get(&(resource, name.to_owned()))
            .cloned()
            .ok_or_else(|| Refusal::not_found(resource, name))
    }

    /// POST.
    pub fn create(
        &mut self,
        resource: Resource,
        mut object: Value,
        uid: String,
        now: Instant,
    ) -> Result<Arc<Value>, Refusal> {
        self.check_decodes(resource, None, &mut object)?;
        if !text(&object, "resourceVersion").is_empty() {
            return Err(Refusal::version_on_create());
        }
        let name = text(&object, "name").to_owned();
        let causes = complaints(resource, &object);
        if !causes.is_empty() {
            return Err(Refusal::invalid(resource, &name, causes));
        }
        let key = (resource, name);
        if self.objects.contains_key(&key) {
            return Err(Refusal::already_exists(resource, &key.1));
        }
        let metadata = &mut object["metadata"];
        metadata["uid"] = uid.into();
        metadata["creationTimestamp"] = self.wall_clock(now, 0).into();
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            remove(metadata, field);
        }
        self.version += 1;
        metadata["resourceVersion"] = self.version.to_string().into();
        let after = Arc::new(object);
        self.owners.born(&key, &after);
        self.objects.insert(key, after.clone());
        self.remember(resource, None, after.clone(), false, now);
        Ok(after)
    }

    /// PUT. A Lease that is not there is created, as its strategy in the real server says; the
    /// answer's second half tells.
    pub fn replace(
        &mut self,
        resource: Resource,
        name: &str,
        mut object: Value,
        uid: String,
        now: Instant,
    ) -> Result<(Arc<Value>, bool), Refusal> {
        self.check_decodes(resource, Some(name), &mut object)?;
        let wanted = text(&object, "uid");
        let old = self.get(resource, name);
        if let (Resource::Pods, Err(refusal)) = (resource, &old) {
            return Err(refusal.clone());
        }
        let has = old.as_ref().map_or("", |old| text(old, "uid"));
        if !wanted.is_empty() && wanted != has {
            let why = format!(
                "Precondition failed: UID in precondition: {wanted}, UID in object meta: {has}"
            );
            return Err(Refusal::conflict(resource, name, &why));
        }
        match old {
            Ok(old) => Ok((self.commit(resource, name, &old, object, now)?, false)),
            Err(_) => {
                remove(&mut object["metadata"], "resourceVersion");
                Ok((self.create(resource, object, uid, now)?, true))
            }
        }
    }

    /// PATCH with a merge patch.
    pub fn patch(
        &mut self,
        resource: Resource,
        name: &str,
        patch: &Value,
        now: Instant,
    ) -> Result<Arc<Value>, Refusal> {
        let old = self.get(resource, name)?;
        let mut object = Value::clone(&old);
        merge(&mut object, patch);
        if let Some(complaint) = undecodable(&object) {
            let cause = Cause::invalid("patch", &patch.to_string(), &complaint);
            return Err(Refusal::invalid(resource, "", vec![cause]));
        }
        self.commit(resource, name, &old, object, now)
    }

    /// DELETE. None: it is gone; some: a pod that has until its deletionTimestamp.
    pub fn delete(
        &mut self,
        resource: Resource,
        name: &str,
        deletion: &Deletion,
        now: Instant,
    ) -> Result<(Arc<Value>, Gone), Refusal> {
        let old = self.get(resource, name)?;
        for (field, word, wanted, then) in [
            ("uid", "UID", &deletion.uid, "deleted and then recreated"),
            (
                "resourceVersion",
                "ResourceVersion",
                &deletion.version,
                "modified",
            ),
        ] {
            let has = text(&old, field);
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != has) {
                let why = format!(
                    "the {word} in the precondition ({wanted}) does not match the {word} in record ({has}). The object might have been {then}"
                );
                return Err(Refusal::other_than_meant(resource, name, &why));
            }
        }
        let grace = grace(resource, &old, deletion.grace);
        if grace > 0 {
            let mut object = Value::clone(&old);
            let left = old["metadata"]["deletionGracePeriodSeconds"].as_u64();
            if left.is_some_and(|left| left <= grace) {
                return Ok((old, Gone::Ending));
            }
            object["metadata"]["deletionTimestamp"] = self.wall_clock(now, grace).into();
            object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
            return Ok((self.overwrite(resource, &old, object, now), Gone::Ending));
        }
        let key = (resource, name.to_owned());
        self.objects.remove(&key);
        self.owners.died(&key, &old);
        self.version += 1;
        let mut last = Value::clone(&old);
        last["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.remember(resource, Some(old.clone()), Arc::new(last), true, now);
        Ok((old, Gone::Gone))
    }

    /// What a kubelet does: merges into a pod's status and metadata with nobody's leave.
    pub fn force(
        &mut self,
        resource: Resource,
        name: &str,
        patch: &Value,
        now: Instant,
    ) -> Result<Arc<Value>, Refusal> {
        let old = self.get(resource, name)?;
        let mut object = Value::clone(&old);
        merge(&mut object, patch);
        Ok(self.overwrite(resource, &old, object, now))
    }

    /// An owner of a kind that is not held here is gone.
    pub fn owner_departed(&mut self, uid: &str) {
        self.owners.departed(uid);
    }

    /// The objects that may have become garbage since the last call, and are.
    pub fn take_garbage(&mut self) -> Vec<(Key, String)> {
        let suspects: BTreeSet<Key> = self.owners.take_suspects();
        suspects
            .into_iter()
            .filter_map(|key| {
                let object = self.objects.get(&key)?;
                let uid = text(object, "uid").to_owned();
                self.owners.is_garbage(object).then_some((key, uid))
            })
            .collect()
    }

    /// Deletes an object if it is still the same and still garbage.
    pub fn collect(&mut self, (resource, name): &Key, uid: &str, now: Instant) {
        let deletion = Deletion {
            uid: Some(uid.to_owned()),
            ..Deletion::default()
        };
        if let Ok(object) = self.get(*resource, name)
            && self.owners.is_garbage(&object)
        {
            // Refused: somebody put another object there, which is not ours to judge.
            let _ = self.delete(*resource, name, &deletion, now);
        }
    }

    fn check_decodes(
        &self,
        resource: Resource,
        name: Option<&str>,
        object: &mut Value,
    ) -> Result<(), Refusal> {
        if !object.is_object() {
            return Err(Refusal::bad_request("the body is no object"));
        }
        if let Some(complaint) = undecodable(object) {
            let kind = resource.kind();
            return Err(Refusal::bad_request(format!(
                "{kind} in version \"v1\" cannot be handled as a {kind}: {complaint}"
            )));
        }
        for (field, is) in [
            ("apiVersion", resource.api_version()),
            ("kind", resource.kind()),
        ] {
            match object[field].as_str() {
                None => object[field] = is.into(),
                Some(said) if said == is => {}
                Some(said) => {
                    return Err(Refusal::bad_request(format!(
                        "the {field} in the data ({said}) does not match the expected {field} ({is})"
                    )));
                }
            }
        }
        if object["metadata"].is_null() {
            object["metadata"] = json!({});
        }
        let namespace = text(object, "namespace");
        if !namespace.is_empty() && namespace != self.namespace {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let said = text(object, "name");
        if let Some(name) = name
            && said != name
        {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({said}) does not match the name on the URL ({name})"
            )));
        }
        object["metadata"]["namespace"] = self.namespace.clone().into();
        Ok(())
    }

    /// The common end of PUT and PATCH: versions, what may not change, and the rules of metadata.
    fn commit(
        &mut self,
        resource: Resource,
        name: &str,
        old: &Arc<Value>,
        mut object: Value,
        now: Instant,
    ) -> Result<Arc<Value>, Refusal> {
        match text(&object, "resourceVersion") {
            // Pods may be overwritten blindly, Leases may not.
            "" if resource == Resource::Pods => {}
            "" => {
                let cause = Cause::unset_version();
                return Err(Refusal::invalid(resource, name, vec![cause]));
            }
            version if version != text(old, "resourceVersion") => {
                return Err(Refusal::outdated(resource, name));
            }
            _ => {}
        }
        let mut causes = Vec::new();
        for field in ["name", "namespace", "uid", "creationTimestamp"] {
            let said = text(&object, field);
            if !said.is_empty() && said != text(old, field) {
                let field = format!("metadata.{field}");
                causes.push(Cause::invalid(field, said, "field is immutable"));
            }
        }
        causes.extend(complaints(resource, &object));
        if !causes.is_empty() {
            return Err(Refusal::invalid(resource, name, causes));
        }
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            keep(&mut object["metadata"], &old["metadata"], field);
        }
        keep(&mut object, old, "apiVersion");
        keep(&mut object, old, "kind");
        if resource == Resource::Pods {
            keep(&mut object, old, "status"); // it has a door of its own
        }
        Ok(self.overwrite(resource, old, object, now))
    }

    /// A write that changes nothing makes no version and no event.
    fn overwrite(
        &mut self,
        resource: Resource,
        old: &Arc<Value>,
        mut object: Value,
        now: Instant,
    ) -> Arc<Value> {
        object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        if object == **old {
            return old.clone();
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let after = Arc::new(object);
        let key = (resource, text(old, "name").to_owned());
        self.owners.changed(&key, old, &after);
        self.objects.insert(key, after.clone());
        self.remember(resource, Some(old.clone()), after.clone(), false, now);
        after
    }

    fn remember(
        &mut self,
        resource: Resource,
        before: Option<Arc<Value>>,
        after: Arc<Value>,
        gone: bool,
        at: Instant,
    ) {
        self.history.push_back(Change {
            version: self.version,
            at,
            resource,
            before,
            after,
            gone,
        });
        self.trim();
    }

    fn trim(&mut self) {
        while self.history.len() > self.window {
            if let Some(change) = self.history.pop_front() {
                self.forgotten = change.version;
            }
        }
    }

    fn wall_clock(&self, now: Instant, ahead: u64) -> String {
        let passed = now.duration_since(self.start) + Duration::from_secs(ahead);
        let seconds = i64::try_from(passed.as_secs()).unwrap_or(i64::MAX / 2);
        Timestamp::from_second(EPOCH.saturating_add(seconds))
            .unwrap_or(Timestamp::MAX)
            .to_string()
    }
}

/// What a DELETE left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gone {
    /// Nothing.
    Gone,
    /// A pod with a deletionTimestamp.
    Ending,
}

/// A pod that never got a node or has ended has nothing left to wait for.
fn grace(resource: Resource, object: &Value, asked: Option<u64>) -> u64 {
    let over = matches!(
        object["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if resource != Resource::Pods || over || object["spec"]["nodeName"].is_null() {
        return 0;
    }
    asked
        .or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_u64())
        .unwrap_or(GRACE)
}

/// A text of the metadata; empty when it is missing.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
}

fn keep(value: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(old) => value[field] = old.clone(),
        None => remove(value, field),
    }
}
