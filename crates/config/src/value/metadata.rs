use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value};

/// Labels for subset balancing: `{"filter_metadata": {"mosn.lb": {"zone": "a"}}}`.
///
/// Other namespaces and values that are not strings are dropped, as in MOSN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(pub BTreeMap<String, String>);

const NAMESPACE: &str = "mosn.lb";

#[derive(serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Outer {
    filter_metadata: Map<String, Value>,
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut outer = serializer.serialize_map(Some(1))?;
        outer.serialize_entry("filter_metadata", &BTreeMap::from([(NAMESPACE, &self.0)]))?;
        outer.end()
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let outer = Outer::deserialize(deserializer)?;
        let labels = match outer.filter_metadata.get(NAMESPACE) {
            Some(Value::Object(labels)) => Some(labels),
            None | Some(Value::Null) => None,
            Some(other) => {
                return Err(D::Error::custom(format_args!(
                    "expected an object under {NAMESPACE:?}, found {other}"
                )));
            }
        };
        let strings = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| value.as_str().map(|value| (key.clone(), value.to_owned())));
        Ok(Self(strings.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strings_of_the_one_namespace_count() {
        let json = r#"{"filter_metadata":{"other":{"a":"b"},"mosn.lb":{"zone":"a","n":1}}}"#;
        let metadata: Metadata = serde_json::from_str(json).unwrap();
        assert_eq!(metadata.0, BTreeMap::from([("zone".to_owned(), "a".to_owned())]));
        assert!(serde_json::from_str::<Metadata>(r#"{"filter_metadata":{"mosn.lb":"zone"}}"#).is_err());
        assert_eq!(
            serde_json::to_string(&metadata).unwrap(),
            r#"{"filter_metadata":{"mosn.lb":{"zone":"a"}}}"#
        );
    }
}
