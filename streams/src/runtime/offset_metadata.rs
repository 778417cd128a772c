//! The text beside a committed offset: a version, the task's stream time, and the sources of the group.
//!
//! ```text
//! 1 STREAM_TIME                     a group with one source
//! 2 STREAM_TIME SOURCE,SOURCE,…     a group with several: a member that lacks one is refused at its start
//! ```
//!
//! Names of topics have neither spaces nor commas. The first version of all was the stream time alone.

use crate::error::{Error, Result};
use crate::record::Timestamp;
use crate::topology::{SubTopology, Topology};

const ALONE: &str = "1";
const SEVERAL: &str = "2";

/// The text for a stream time; `sources` is [`list`] of the topology.
pub(super) fn encode(stream_time: Timestamp, sources: Option<&str>) -> String {
    match sources {
        None => format!("{ALONE} {stream_time}"),
        Some(sources) => format!("{SEVERAL} {stream_time} {sources}"),
    }
}

/// The sources of a topology, those of tables left out, as a committed offset names them; `None` for one
/// that reads a single source.
pub(super) fn list(topology: &Topology) -> Option<String> {
    let read = topology.sub_topologies().iter().filter(|one| !one.is_table());
    let sources: Vec<&str> = read.map(SubTopology::source).collect();
    (sources.len() > 1).then(|| sources.join(","))
}

/// The content of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OffsetMetadata<'a> {
    pub(super) stream_time: Timestamp,
    /// Empty where the group had one source, or an earlier version wrote the text.
    pub(super) sources: Vec<&'a str>,
}

/// The content of a text; `place` names the offset in an error.
///
/// # Errors
/// [`Error::Invalid`] for a text that this program cannot read: with a stream time that begins anew,
/// windows that are closed would open again.
pub(super) fn decode<'a>(text: &'a str, place: &str) -> Result<OffsetMetadata<'a>> {
    let (stream_time, sources) = match text.split(' ').collect::<Vec<_>>()[..] {
        [stream_time] | [ALONE, stream_time] => (Some(stream_time), ""),
        [SEVERAL, stream_time, sources] => (Some(stream_time), sources),
        _ => (None, ""),
    };
    let stream_time = stream_time.and_then(|text| text.parse().ok()).map(Timestamp);
    let sources = sources.split(',').filter(|source| !source.is_empty()).collect();
    stream_time.map(|stream_time| OffsetMetadata { stream_time, sources }).ok_or_else(|| {
        Error::Invalid(format!(
            "{place}: the metadata of the committed offset is {text:?}, which this version cannot read: \
             another program or a newer version has set it; delete the offset \
             (kafka-consumer-groups --delete-offsets) and start with --reset-offsets, or use the newer \
             version"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builder;

    #[test]
    fn metadata_reads_as_it_was_written_and_as_the_first_version_wrote_it() -> Result<()> {
        for stream_time in [Timestamp::MIN, Timestamp(0), Timestamp(1_700_000_000_000)] {
            let alone = OffsetMetadata { stream_time, sources: Vec::new() };
            assert_eq!(decode(&encode(stream_time, None), "here")?, alone);
            assert_eq!(decode(&stream_time.to_string(), "here")?, alone);
            let several = OffsetMetadata { stream_time, sources: vec!["a", "b-c.d"] };
            assert_eq!(decode(&encode(stream_time, Some("a,b-c.d")), "here")?, several);
        }
        Ok(())
    }

    #[test]
    fn other_text_is_an_error_that_names_the_place() {
        for text in ["", "x", "3 7", "1 x", "1 7 8", " 7", "2 x a", "2 7 a b"] {
            let said = decode(text, "group app, events/3").map_err(|error| error.to_string());
            let named = said.as_ref().is_err_and(|said| said.contains("group app, events/3"));
            assert!(named, "{text:?}: {said:?}");
        }
    }

    #[test]
    fn a_group_of_one_source_has_no_list() -> Result<()> {
        let sources = |names: &'static [&str]| {
            let wired = Topology::new(move |builder: &mut Builder| {
                for name in names {
                    builder.source(*name, |record| Ok(record.key.to_vec()));
                }
            });
            Ok::<_, Error>(list(&wired?))
        };
        assert_eq!(sources(&["events"])?, None);
        assert_eq!(sources(&["events", "quotes"])?.as_deref(), Some("events,quotes"));
        Ok(())
    }
}
