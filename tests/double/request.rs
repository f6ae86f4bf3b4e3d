//! From an HTTP request to what is asked: verb, resource, name, selectors, body. What the double
//! does not know (other paths, subresources, parameters, other kinds of patches) it refuses: a test
//! must not pass because something was silently left out.

use std::collections::BTreeMap;

use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::resource::{Resource, Verb};
use super::selector::Selector;
use super::status::Refusal;
use super::store::Deletion;

/// Parameters that are taken and change nothing here: pages are never made, versions of a list are
/// always the newest, and unknown fields are always kept.
const WITHOUT_EFFECT: [&str; 6] = [
    "limit",
    "pretty",
    "fieldManager",
    "fieldValidation",
    "force",
    "resourceVersionMatch",
];

/// What a client asks.
pub struct ApiRequest {
    /// What it does.
    pub verb: Verb,
    /// To which kind.
    pub resource: Resource,
    /// In which namespace; none for all of them.
    pub namespace: Option<String>,
    /// To which object; none for all of them, and for a new one.
    pub name: Option<String>,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
    media_type: String,
}

impl ApiRequest {
    /// Reads a request whose body has arrived.
    pub fn parse(parts: &Parts, body: Vec<u8>) -> Result<ApiRequest, Refusal> {
        let path: Vec<String> = parts.uri.path().split('/').map(decoded).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let (group, rest) = match &path[..] {
            ["", "api", "v1", rest @ ..] => ("", rest),
            ["", "apis", "coordination.k8s.io", "v1", rest @ ..] => ("coordination.k8s.io", rest),
            _ => return Err(Refusal::no_such_path()),
        };
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural] => (Some(*namespace), plural, None),
            ["namespaces", namespace, plural, name] => (Some(*namespace), plural, Some(*name)),
            [plural] => (None, plural, None),
            _ => return Err(Refusal::no_such_path()),
        };
        let resource = Resource::ALL
            .into_iter()
            .find(|it| it.group() == group && it.plural() == *plural)
            .ok_or_else(Refusal::no_such_path)?;
        let query = pairs(parts.uri.query().unwrap_or_default());
        let watches = query
            .get("watch")
            .is_some_and(|it| it == "true" || it == "1");
        let verb = match (&parts.method, name) {
            (&Method::GET, Some(_)) if !watches => Verb::Get,
            (&Method::GET, None) if watches => Verb::Watch,
            (&Method::GET, None) => Verb::List,
            (&Method::POST, None) => Verb::Create,
            (&Method::PUT, Some(_)) => Verb::Update,
            (&Method::PATCH, Some(_)) => Verb::Patch,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            _ => return Err(Refusal::method_not_allowed()),
        };
        let media_type = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|it| it.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let request = ApiRequest {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            query,
            body,
            media_type,
        };
        request.check_parameters()?;
        Ok(request)
    }

    fn check_parameters(&self) -> Result<(), Refusal> {
        let understood: &[&str] = match self.verb {
            Verb::List => &["labelSelector", "fieldSelector", "resourceVersion"],
            Verb::Watch => &[
                "watch",
                "labelSelector",
                "fieldSelector",
                "resourceVersion",
                "timeoutSeconds",
                "allowWatchBookmarks",
            ],
            Verb::Get => &["resourceVersion"],
            Verb::Delete => &["gracePeriodSeconds", "propagationPolicy"],
            Verb::Create | Verb::Update | Verb::Patch => &[],
        };
        let unknown = self.query.keys().find(|key| {
            !understood.contains(&key.as_str()) && !WITHOUT_EFFECT.contains(&key.as_str())
        });
        match unknown {
            Some(key) => Err(Refusal::bad_request(format!(
                "the double knows no parameter {key:?} for {}",
                self.verb.as_str()
            ))),
            None => Ok(()),
        }
    }

    /// Its two selectors.
    pub fn selector(&self) -> Result<Selector, Refusal> {
        let mut selector = Selector::default();
        selector.labels(self.text("labelSelector"))?;
        selector.fields(self.text("fieldSelector"))?;
        Ok(selector)
    }

    /// The version it starts from; none when it says nothing.
    pub fn version(&self) -> Result<Option<u64>, Refusal> {
        match self.text("resourceVersion") {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Refusal::bad_request(format!("Invalid value: {text:?}: invalid resource version"))
            }),
        }
    }

    /// How long a watch shall last, in seconds.
    pub fn timeout(&self) -> Option<u64> {
        self.text("timeoutSeconds").parse().ok()
    }

    /// Whether a watch wants bookmarks.
    pub fn wants_bookmarks(&self) -> bool {
        self.text("allowWatchBookmarks") == "true"
    }

    /// The object in the body.
    pub fn object(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad_request(format!("the body is no JSON: {error}")))
    }

    /// The merge patch in the body.
    pub fn merge_patch(&self) -> Result<Value, Refusal> {
        const MERGE: &str = "application/merge-patch+json";
        match self.media_type.split(';').next() {
            Some(MERGE) => self.object(),
            _ => Err(Refusal::unsupported_media_type(MERGE)),
        }
    }

    /// The conditions of a DELETE, from body and query.
    pub fn deletion(&self) -> Result<Deletion, Refusal> {
        let options = match self.body.is_empty() {
            true => Value::Null,
            false => self.object()?,
        };
        let wanted = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
        Ok(Deletion {
            uid: wanted("uid"),
            version: wanted("resourceVersion"),
            grace: options["gracePeriodSeconds"]
                .as_u64()
                .or_else(|| self.text("gracePeriodSeconds").parse().ok()),
        })
    }

    fn text(&self, key: &str) -> &str {
        self.query.get(key).map_or("", String::as_str)
    }
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(&value.replace('+', " ")))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
