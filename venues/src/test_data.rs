//! The recorded data that unit tests read.

#[path = "../../tests/support/recordings.rs"]
#[expect(unreachable_pub, reason = "a library elsewhere")]
mod recordings;

use anyhow::Result;

pub(crate) use recordings::{bodies, frames, lines};

/// The single messages of one exchange among those of many: kind, case, text.
pub(crate) fn mixed(exchange: &str) -> Result<Vec<(String, String, String)>> {
    let mut messages = Vec::new();
    for line in recordings::json("mixed/messages.jsonl.zst")? {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        if line["exchange"] == exchange {
            messages.push((text("kind"), text("case"), text("raw")));
        }
    }
    Ok(messages)
}
