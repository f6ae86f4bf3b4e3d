//! Which objects a list or a watch is about: equality of labels, and an object's own name.

use serde_json::Value;

use super::status::Refusal;

/// A parsed pair of `labelSelector` and `fieldSelector`; the default takes everything.
#[derive(Clone, Default, Debug)]
pub struct Selector(Vec<Term>);

#[derive(Clone, Debug)]
enum Term {
    Label {
        key: String,
        value: String,
        equal: bool,
    },
    LabelExists(String),
    Field {
        name: &'static str,
        value: String,
        equal: bool,
    },
}

impl Selector {
    /// Adds the terms of a `labelSelector`. Sets (`in`, `notin`) are not spoken here: better a 400
    /// than a list that is silently wrong.
    pub fn labels(&mut self, text: &str) -> Result<(), Refusal> {
        for term in text.split(',').filter(|term| !term.is_empty()) {
            if term.contains(['(', ')', ' ', '!']) && !term.contains("!=") {
                return Err(Refusal::bad_request(format!(
                    "unable to parse requirement: {term}"
                )));
            }
            self.0.push(match equation(term) {
                Some((key, value, equal)) => Term::Label {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    equal,
                },
                None => Term::LabelExists(term.to_owned()),
            });
        }
        Ok(())
    }

    /// Adds the terms of a `fieldSelector`.
    pub fn fields(&mut self, text: &str) -> Result<(), Refusal> {
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let Some((field, value, equal)) = equation(term) else {
                return Err(Refusal::bad_request(format!(
                    "invalid selector: {term:?}; can't understand {term:?}"
                )));
            };
            let Some(name) = ["name", "namespace"]
                .into_iter()
                .find(|name| field.strip_prefix("metadata.") == Some(name))
            else {
                return Err(Refusal::bad_request(format!(
                    "field label not supported: {field}"
                )));
            };
            self.0.push(Term::Field {
                name,
                value: value.to_owned(),
                equal,
            });
        }
        Ok(())
    }

    /// Whether an object is one of them.
    pub fn takes(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        self.0.iter().all(|term| match term {
            Term::Label { key, value, equal } => {
                (metadata["labels"][key].as_str() == Some(value)) == *equal
            }
            Term::LabelExists(key) => metadata["labels"][key].is_string(),
            Term::Field { name, value, equal } => {
                (metadata[name].as_str() == Some(value)) == *equal
            }
        })
    }
}

fn equation(term: &str) -> Option<(&str, &str, bool)> {
    if let Some((key, value)) = term.split_once("!=") {
        return Some((key, value, false));
    }
    let (key, value) = term.split_once('=')?;
    Some((key, value.strip_prefix('=').unwrap_or(value), true))
}
