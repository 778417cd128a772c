//! The schemas as they are, against version 1: what was written then must be read for ever.
//!
//! `fixtures/v1` is a copy that nobody edits. A schema of ours may change as long as it reads what
//! the copy has written.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use apache_avro::Schema;
use apache_avro::schema_compatibility::SchemaCompatibility;
use schemas::Kind;

use crate::{Outcome, reference};

fn files(folder: &str) -> Outcome<BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().into_string()));
    let names: Result<Vec<_>, std::io::Error> = names.collect();
    Ok(names?.into_iter().flatten().collect())
}

/// `MarketEvent` is in `market_event.avsc`.
fn file_of(kind: Kind) -> String {
    let mut file = String::new();
    for letter in kind.as_str().chars() {
        if letter.is_uppercase() && !file.is_empty() {
            file.push('_');
        }
        file.extend(letter.to_lowercase());
    }
    file + ".avsc"
}

#[test]
fn every_schema_file_has_a_kind_and_a_version_1() -> Outcome {
    let kinds: BTreeSet<String> = Kind::ALL.into_iter().map(file_of).collect();
    assert_eq!(files("avro")?, kinds);
    assert_eq!(files("fixtures/v1")?, kinds);
    Ok(())
}

#[test]
fn every_schema_is_valid_and_bears_its_name() -> Outcome {
    for kind in Kind::ALL {
        let schema = reference::schema(kind)?;
        let name = schema.name().ok_or("a record has a name")?;
        assert_eq!(name.fullname(None), format!("market.{}", kind.as_str()));
    }
    Ok(())
}

/// The schema with our decimals as bytes: the reference implementation finds two decimals
/// incompatible even when they are the same. One of another scale stays, and is.
fn comparable(text: &str) -> Outcome<Schema> {
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}"#;
    let integer = r#"{"type": "bytes", "logicalType": "decimal", "precision": 78, "scale": 0}"#;
    let text = text.replace(decimal, r#""bytes""#).replace(integer, r#""bytes""#);
    Ok(Schema::parse_str(&text)?)
}

#[test]
fn every_schema_reads_what_version_1_wrote() -> Outcome {
    for kind in Kind::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1");
        let first = comparable(&fs::read_to_string(folder.join(file_of(kind)))?)?;
        SchemaCompatibility::can_read(&first, &comparable(kind.schema())?)
            .map_err(|error| format!("{} is not BACKWARD compatible: {error}", kind.as_str()))?;
    }
    Ok(())
}

#[test]
fn another_scale_would_not_be_compatible() -> Outcome {
    let first = comparable(Kind::LatestPrice.schema())?;
    let text = Kind::LatestPrice.schema().replace(r#""scale": 18"#, r#""scale": 9"#);
    assert!(SchemaCompatibility::can_read(&first, &comparable(&text)?).is_err());
    Ok(())
}

#[test]
fn a_field_without_a_default_would_not_be_compatible() -> Outcome {
    let writer = reference::schema(Kind::PairKey)?;
    let added = r#"{"name": "venue_id", "type": "long"}, {"name": "quote""#;
    let text = Kind::PairKey.schema().replace(r#"{"name": "quote""#, added);
    let reader = Schema::parse_str(&text)?;
    assert!(SchemaCompatibility::can_read(&writer, &reader).is_err());
    Ok(())
}
