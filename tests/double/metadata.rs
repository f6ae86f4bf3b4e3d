//! The rules of object metadata: names, label and annotation keys, label values, the limit of all
//! annotations together, and the one annotation of pods that the API server itself parses.

use serde_json::{Map, Value};

use super::resource::Resource;
use super::status::Cause;

/// Bytes all keys and values of one object's annotations may have together.
pub const ANNOTATIONS_LIMIT: usize = 262_144;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

const LABEL_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Everything wrong with an object's metadata.
pub fn complaints(resource: Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if !is_subdomain(name) {
        causes.push(Cause::invalid("metadata.name", name, NAME_RULE));
    }
    for (key, value) in entries(metadata, "labels") {
        if !is_qualified_name(key) {
            causes.push(Cause::invalid("metadata.labels", key, KEY_RULE));
        }
        let value = value.as_str().unwrap_or_default();
        if value.len() > 63 {
            let rule = "must be no more than 63 bytes";
            causes.push(Cause::invalid("metadata.labels", value, rule));
        } else if !value.is_empty() && !is_label_text(value) {
            causes.push(Cause::invalid("metadata.labels", value, LABEL_RULE));
        }
    }
    let mut bytes = 0;
    for (key, value) in entries(metadata, "annotations") {
        // The key is checked in lower case: annotations may have capitals in their prefix.
        if !is_qualified_name(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", key, KEY_RULE));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_LIMIT {
        causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS_LIMIT));
    }
    if let Some(cost) = metadata["annotations"][DELETION_COST].as_str()
        && resource == Resource::Pods
        && !is_deletion_cost(cost)
    {
        let field = format!("metadata.annotations[{DELETION_COST}]");
        causes.push(Cause::invalid(field, cost, "must be a 32bit integer"));
    }
    causes
}

/// Labels and annotations are maps of text to text; anything else does not even decode.
pub fn undecodable(object: &Value) -> Option<String> {
    let metadata = &object["metadata"];
    if !metadata.is_object() && !metadata.is_null() {
        return Some("metadata is no object".to_owned());
    }
    for field in ["labels", "annotations"] {
        match &metadata[field] {
            Value::Null => {}
            Value::Object(map) => {
                if let Some((_, value)) =
                    map.iter().find(|(_, it)| !it.is_string() && !it.is_null())
                {
                    let found = match value {
                        Value::Number(_) => "number",
                        Value::Bool(_) => "bool",
                        Value::Array(_) => "array",
                        _ => "object",
                    };
                    return Some(format!(
                        "json: cannot unmarshal {found} into Go struct field ObjectMeta.metadata.{field} of type string"
                    ));
                }
            }
            _ => {
                return Some(format!(
                    "json: cannot unmarshal into Go struct field ObjectMeta.metadata.{field} of type map[string]string"
                ));
            }
        }
    }
    None
}

fn entries<'a>(metadata: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    metadata
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

/// What the API server takes: no sign of plus, and no zeros in front but behind a minus.
fn is_deletion_cost(text: &str) -> bool {
    let begins = text == "0" || text.starts_with(|c: char| matches!(c, '-' | '1'..='9'));
    begins && text.parse::<i32>().is_ok()
}

fn is_label_text(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_qualified_name(key: &str) -> bool {
    let name = match key.split_once('/') {
        Some((prefix, name)) if is_subdomain(prefix) => name,
        Some(_) => return false,
        None => key,
    };
    name.len() <= 63 && is_label_text(name)
}

fn is_subdomain(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(|part| {
            edge(part.chars().next())
                && edge(part.chars().next_back())
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}
