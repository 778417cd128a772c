//! What is read for those who wait for the same pattern: once for all who begin with a snapshot, and
//! once for all who were away equally long.

use super::pattern::Pattern;
use super::protocol::Resume;
use super::recent_changes::{Gone, Key};
use super::resume_token::ResumeToken;
use super::scans::{MAX_SCANS_PER_JOB, PendingSubscription, Scan, ScanTarget, StartFrom};

/// Keys of one plan. They are copied on the hub's thread: a few milliseconds.
const MAX_KEYS: usize = 65_536;

/// What is read now, and who waits for the next reading.
pub(super) struct Plan {
    /// What is read, and for whom.
    pub(super) readings: Vec<(Scan, ScanTarget)>,
    /// Those for whom it would be too much.
    pub(super) later: Vec<PendingSubscription>,
}

/// Sorts those who wait; `since` tells the keys that have changed since a token was made.
pub(super) fn of(
    waiting: Vec<PendingSubscription>,
    pattern: &Pattern,
    here: &[i32],
    since: impl Fn(&ResumeToken) -> Result<Vec<(i32, Key)>, Gone>,
) -> Plan {
    let (mut all, mut later) = (Vec::new(), Vec::new());
    let mut tokens: Vec<(ResumeToken, Scan, ScanTarget)> = Vec::new();
    let mut keys = 0;
    for wanted in waiting {
        let token = match &wanted.start {
            StartFrom::New => {
                all.push((wanted, None));
                continue;
            }
            StartFrom::Restart(partitions) => {
                let reason = "partitions have moved, or changes came too fast";
                let gone = Gone { reason, partitions: partitions.clone() };
                all.push((wanted, Some(gone)));
                continue;
            }
            StartFrom::Resume(Resume::Unknown) => None,
            StartFrom::Resume(Resume::From(token)) => Some(token.clone()),
        };
        if let Some((_, reading, _)) =
            tokens.iter_mut().find(|(known, ..)| Some(known) == token.as_ref())
        {
            reading.wanted.push((wanted, None));
        } else if tokens.len() >= MAX_SCANS_PER_JOB || keys >= MAX_KEYS {
            later.push(wanted);
        } else {
            let changed = match &token {
                Some(token) => since(token),
                None => {
                    Err(Gone { reason: "the token is none of ours", partitions: here.to_vec() })
                }
            };
            match (changed, token) {
                (Ok(changed), Some(token)) => {
                    keys += changed.len();
                    let (of, wanted) = (wanted.client, vec![(wanted, None)]);
                    let kind = "resumed";
                    let reading = Scan { pattern: pattern.clone(), wanted, kind, of };
                    tokens.push((token, reading, ScanTarget::Keys(changed)));
                }
                (Err(gone), _) => all.push((wanted, Some(gone))),
                (Ok(_), None) => all.push((wanted, None)),
            }
        }
    }
    let mut readings: Vec<_> =
        tokens.into_iter().map(|(_, reading, what)| (reading, what)).collect();
    if let Some((first, _)) = all.first() {
        let (of, kind) = (first.client, "snapshot");
        let reading = Scan { pattern: pattern.clone(), wanted: all, kind, of };
        readings.push((reading, ScanTarget::All));
    }
    Plan { readings, later }
}
