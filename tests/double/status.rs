//! The `Status` bodies the API server answers with when it refuses. Reasons, codes and messages
//! are the real ones, since code under test branches on them and people read them in logs.

use serde_json::{Value, json};

use super::resource::{Resource, Verb};

/// A refusal.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

/// One reason why an object is invalid.
#[derive(Clone, Debug)]
pub struct Cause {
    reason: &'static str,
    field: String,
    message: String,
}

impl Cause {
    /// A value that breaks a rule; `value` as it appears in the message.
    pub fn invalid(field: impl Into<String>, value: &str, rule: &str) -> Cause {
        Cause {
            reason: "FieldValueInvalid",
            field: field.into(),
            message: format!("Invalid value: {}: {rule}", Value::from(value)),
        }
    }

    /// A write that does not say which version it changes.
    pub fn unset_version() -> Cause {
        Cause {
            reason: "FieldValueInvalid",
            field: "metadata.resourceVersion".to_owned(),
            message: "Invalid value: 0x0: must be specified for an update".to_owned(),
        }
    }

    /// A value that is missing.
    pub fn required(field: &str, rule: &str) -> Cause {
        Cause {
            reason: "FieldValueRequired",
            field: field.to_owned(),
            message: format!("Required value: {rule}"),
        }
    }

    /// A value past its limit.
    pub fn too_long(field: &str, limit: usize) -> Cause {
        Cause {
            reason: "FieldValueTooLong",
            field: field.to_owned(),
            message: format!("Too long: may not be more than {limit} bytes"),
        }
    }
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: String) -> Refusal {
        Refusal {
            code,
            reason,
            message,
            details: None,
        }
    }

    fn about(mut self, resource: Resource, name: &str) -> Refusal {
        let mut details = json!({"name": name, "kind": resource.plural()});
        if !resource.group().is_empty() {
            details["group"] = resource.group().into();
        }
        self.details = Some(details);
        self
    }

    /// 404 for one object.
    pub fn not_found(resource: Resource, name: &str) -> Refusal {
        let message = format!("{} {name:?} not found", resource.qualified());
        Refusal::new(404, "NotFound", message).about(resource, name)
    }

    /// 404 for a path nobody serves.
    pub fn no_such_path() -> Refusal {
        let message = "the server could not find the requested resource".to_owned();
        Refusal::new(404, "NotFound", message)
    }

    /// 404 for a namespace.
    pub fn no_such_namespace(namespace: &str) -> Refusal {
        let mut refusal = Refusal::new(
            404,
            "NotFound",
            format!("namespaces {namespace:?} not found"),
        );
        refusal.details = Some(json!({"name": namespace, "kind": "namespaces"}));
        refusal
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: Resource, name: &str) -> Refusal {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Refusal::new(409, "AlreadyExists", message).about(resource, name)
    }

    /// 409: something else is there than the writer thought.
    pub fn conflict(resource: Resource, name: &str, why: &str) -> Refusal {
        Refusal::cannot_be_fulfilled(&resource.qualified(), resource, name, why)
    }

    /// 409: something else is there than who deletes it thought. The real server names the kind
    /// here, and the resource elsewhere.
    pub fn other_than_meant(resource: Resource, name: &str, why: &str) -> Refusal {
        Refusal::cannot_be_fulfilled(&resource.qualified_kind(), resource, name, why)
    }

    fn cannot_be_fulfilled(what: &str, resource: Resource, name: &str, why: &str) -> Refusal {
        let message = format!("Operation cannot be fulfilled on {what} {name:?}: {why}");
        Refusal::new(409, "Conflict", message).about(resource, name)
    }

    /// 409: the resourceVersion is not the newest.
    pub fn outdated(resource: Resource, name: &str) -> Refusal {
        Refusal::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422: the object may not look like this.
    pub fn invalid(resource: Resource, name: &str, causes: Vec<Cause>) -> Refusal {
        let said: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let list = match &said[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} {name:?} is invalid: {list}", resource.qualified_kind());
        let mut refusal = Refusal::new(422, "Invalid", message).about(resource, name);
        if let Some(details) = &mut refusal.details {
            details["kind"] = resource.kind().into();
            details["causes"] = causes
                .into_iter()
                .map(|it| json!({"reason": it.reason, "message": it.message, "field": it.field}))
                .collect();
        }
        refusal
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Refusal {
        Refusal::new(400, "BadRequest", message.into())
    }

    /// 405.
    pub fn method_not_allowed() -> Refusal {
        let message = "the server does not allow this method on the requested resource".to_owned();
        Refusal::new(405, "MethodNotAllowed", message)
    }

    /// 415: a body of another kind than the double understands.
    pub fn unsupported_media_type(accepted: &str) -> Refusal {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Refusal::new(415, "UnsupportedMediaType", message)
    }

    /// 403, as the role-based authorizer says it.
    pub fn forbidden(
        client: &str,
        verb: Verb,
        resource: Resource,
        name: Option<&str>,
        namespace: &str,
    ) -> Refusal {
        let said = name.map(|name| format!(" {name:?}")).unwrap_or_default();
        let message = format!(
            "{}{said} is forbidden: User \"system:serviceaccount:{namespace}:{client}\" cannot {} resource {:?} in API group {:?} in the namespace {namespace:?}",
            resource.qualified(),
            verb.as_str(),
            resource.plural(),
            resource.group(),
        );
        Refusal::new(403, "Forbidden", message).about(resource, name.unwrap_or_default())
    }

    /// 410 inside a watch: the history it wants is forgotten.
    pub fn expired(wanted: u64, oldest: u64) -> Refusal {
        let message = format!("too old resource version: {wanted} ({oldest})");
        Refusal::new(410, "Expired", message)
    }

    /// 504: the store is not that far yet.
    pub fn too_large_version(wanted: u64, newest: u64) -> Refusal {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {newest}");
        Refusal::new(504, "Timeout", message)
    }

    /// What overload, a failing store and a server on its way out answer.
    pub fn trouble(code: u16) -> Refusal {
        let (reason, message) = match code {
            429 => (
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => (
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            _ => (
                "InternalError",
                "Internal error occurred: etcdserver: request timed out",
            ),
        };
        Refusal::new(code, reason, message.to_owned())
    }

    /// 500 for a new object that says which version it has.
    pub fn version_on_create() -> Refusal {
        let message = "resourceVersion should not be set on objects to be created".to_owned();
        Refusal::new(500, "InternalError", message)
    }

    /// The body.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        body
    }
}
