//! The filter of logs: addresses and topics, as `eth_subscribe` and `eth_getLogs` take them.

use std::collections::HashSet;

use serde_json::Value;

/// Addresses, and the topics of each place; nothing chosen is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    addresses: HashSet<String>,
    topics: Vec<HashSet<String>>,
}

impl Filter {
    /// Reads the filter of a request; the refusal of a node otherwise.
    pub fn read(value: &Value) -> Result<Self, String> {
        let addresses = words(&value["address"], 42)?;
        let mut topics = Vec::new();
        match &value["topics"] {
            Value::Null => {}
            Value::Array(places) if places.len() <= 4 => {
                for place in places {
                    topics.push(words(place, 66)?);
                }
            }
            _ => return Err("invalid argument 0: exceed max topics".into()),
        }
        Ok(Self { addresses, topics })
    }

    /// A log with this address and these topics passes.
    pub fn takes(&self, address: &str, topics: &[String]) -> bool {
        let is_chosen =
            |chosen: &HashSet<String>, word: &str| chosen.is_empty() || chosen.contains(word);
        is_chosen(&self.addresses, address)
            && self.topics.len() <= topics.len()
            && self.topics.iter().zip(topics).all(|(chosen, topic)| is_chosen(chosen, topic))
    }
}

/// A word, several, or none.
fn words(value: &Value, length: usize) -> Result<HashSet<String>, String> {
    let one = |value: &Value| {
        let text = value.as_str().filter(|text| text.starts_with("0x") && text.len() == length);
        let text = text.map(str::to_lowercase);
        text.ok_or_else(|| {
            format!("invalid argument 0: hex string has another length than {length}: {value}")
        })
    };
    match value {
        Value::Null => Ok(HashSet::new()),
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(HashSet::from([one(value)?])),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_takes_any_of_a_place_and_every_place() -> Result<(), String> {
        let [a, b] = ["a", "b"].map(|digit| format!("0x{}", digit.repeat(40)));
        let [s, t] = ["1", "2"].map(|digit| format!("0x{}", digit.repeat(64)));
        let takes = |filter: &Value, address: &str, topics: &[&String]| {
            let topics: Vec<String> = topics.iter().map(|topic| (*topic).clone()).collect();
            Filter::read(filter).map(|filter| filter.takes(address, &topics))
        };
        assert!(takes(&json!({}), &a, &[&s])?);
        assert!(takes(&json!({"address": a.to_uppercase().replace("0X", "0x")}), &a, &[&s])?);
        assert!(!takes(&json!({"address": [a]}), &b, &[&s])?);
        assert!(takes(&json!({"topics": [[s, t]]}), &b, &[&t])?);
        assert!(!takes(&json!({"topics": [s, t]}), &b, &[&s])?);
        assert!(takes(&json!({"topics": [null, t]}), &b, &[&s, &t])?);
        assert!(Filter::read(&json!({"address": "0x12"})).is_err());
        Ok(())
    }
}
