//! The scans for the subscriptions that wait for one pattern: one for all that begin with a
//! snapshot, and one for all that resume from the same token.

use super::pattern::Pattern;
use super::protocol::Resume;
use super::recent_changes::{Gone, Key};
use super::resume_token::ResumeToken;
use super::scans::{MAX_SCANS_PER_JOB, PendingSubscription, Scan, ScanTarget, StartFrom};

/// Keys of one plan. They are copied on the hub's thread, which takes a few milliseconds.
const MAX_KEYS: usize = 65_536;

/// The scans to run now, and the subscriptions that wait for the next plan.
pub(super) struct SnapshotPlan {
    /// The scans and their targets.
    pub(super) scans: Vec<(Scan, ScanTarget)>,
    /// The subscriptions that exceed the bounds of one plan.
    pub(super) later: Vec<PendingSubscription>,
}

/// Plans the scans; `since` returns the keys that have changed since a token was made.
pub(super) fn of(
    waiting: Vec<PendingSubscription>,
    pattern: &Pattern,
    here: &[i32],
    since: impl Fn(&ResumeToken) -> Result<Vec<(i32, Key)>, Gone>,
) -> SnapshotPlan {
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
        if let Some((_, scan, _)) =
            tokens.iter_mut().find(|(known, ..)| Some(known) == token.as_ref())
        {
            scan.wanted.push((wanted, None));
        } else if tokens.len() >= MAX_SCANS_PER_JOB || keys >= MAX_KEYS {
            later.push(wanted);
        } else {
            let changed = match &token {
                Some(token) => since(token),
                None => Err(Gone {
                    reason: "the token is not from this server",
                    partitions: here.to_vec(),
                }),
            };
            match (changed, token) {
                (Ok(changed), Some(token)) => {
                    keys += changed.len();
                    let (of, wanted) = (wanted.client, vec![(wanted, None)]);
                    let kind = "resumed";
                    let scan = Scan { pattern: pattern.clone(), wanted, kind, of };
                    tokens.push((token, scan, ScanTarget::Keys(changed)));
                }
                (Err(gone), _) => all.push((wanted, Some(gone))),
                (Ok(_), None) => all.push((wanted, None)),
            }
        }
    }
    let mut scans: Vec<_> = tokens.into_iter().map(|(_, scan, what)| (scan, what)).collect();
    if let Some((first, _)) = all.first() {
        let (of, kind) = (first.client, "snapshot");
        let scan = Scan { pattern: pattern.clone(), wanted: all, kind, of };
        scans.push((scan, ScanTarget::All));
    }
    SnapshotPlan { scans, later }
}
