//! The text beside a committed offset: a version, and the task's stream time.

use crate::error::{Error, Result};
use crate::record::Timestamp;

/// The version of the text that is written. The first version was the stream time alone.
const VERSION: &str = "1";

/// The text for a stream time.
pub(super) fn encode(stream_time: Timestamp) -> String {
    format!("{VERSION} {stream_time}")
}

/// The stream time of a text; `place` names the offset in an error.
///
/// # Errors
/// [`Error::Invalid`] for a text that this program cannot read: with a stream time that begins anew,
/// windows that are closed would open again.
pub(super) fn decode(text: &str, place: &str) -> Result<Timestamp> {
    let stream_time = match text.split_once(' ') {
        Some((VERSION, stream_time)) => Some(stream_time),
        Some(_) => None,
        None => Some(text),
    };
    stream_time.and_then(|text| text.parse().ok()).map(Timestamp).ok_or_else(|| {
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

    #[test]
    fn metadata_reads_as_it_was_written_and_as_the_first_version_wrote_it() -> Result<()> {
        for time in [Timestamp::MIN, Timestamp(0), Timestamp(1_700_000_000_000)] {
            assert_eq!(decode(&encode(time), "here")?, time);
            assert_eq!(decode(&time.to_string(), "here")?, time);
        }
        Ok(())
    }

    #[test]
    fn other_text_is_an_error_that_names_the_place() {
        for text in ["", "x", "2 7", "1 x", "1 7 8", " 7"] {
            let said = decode(text, "group app, events/3").map_err(|error| error.to_string());
            let named = said.as_ref().is_err_and(|said| said.contains("group app, events/3"));
            assert!(named, "{text:?}: {said:?}");
        }
    }
}
