//! Subscriptions grouped by pattern, so that a row is encoded once for all subscribers of a
//! pattern.
//!
//! ```text
//! names    BTC → 1, USD → 2, coinbase → 3          only parts that some pattern names
//! groups   (latest, *, *, *, …)       rows of this tick, sequence, members by subscription id
//!          (latest, BTC, USD, *, …)   …
//! ```
//!
//! While a scan reads the first rows for a group, the group keeps the rows that change. They are
//! sent after the scan's rows, so that together they are the state at that moment.
//!
//! A pair matches at most eight groups, and an option at most 32: each part by its name or by `*`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use schemas::PairKey;

use super::client_queue::ClientId;
use super::pattern::{Channel, PARTS, Pattern, market};
use super::protocol::{Frame, Frames, rows};
use super::recent_changes::Key;
use super::scans::PendingSubscription;
use super::snapshot::{Parts, Rows};
use crate::api::budget::{Budget, SharedText};

/// Keys that may change during a scan: some tens of megabytes. Beyond it the scan is repeated.
const MAX_CHANGED: usize = 100_000;
/// The number of `*`.
const ANY: u32 = 0;

/// A pattern as numbers.
type Selector = (Channel, [u32; PARTS]);

/// The subscriptions of one pattern.
pub(super) struct SubscriptionGroup {
    pattern: Pattern,
    sequence: u64,
    /// The rows that changed in this tick.
    pub(super) rows: Rows,
    /// By subscription id: subscribers with the same id get the same bytes.
    members: BTreeMap<u32, Vec<ClientId>>,
    /// Subscriptions that wait for their first rows, and then become members.
    pub(super) waiting: Vec<PendingSubscription>,
    /// The rows that changed since the scan began.
    since: Since,
}

/// The state of a group's scan.
#[derive(Default)]
enum Since {
    /// No scan runs.
    #[default]
    Idle,
    /// A scan runs; the newest row of each key that changed since.
    Changed(FxHashMap<Key, String>),
    /// A scan runs and its rows are invalid: changes are missing, or are too many.
    Void,
}

impl SubscriptionGroup {
    /// The pattern.
    pub(super) const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// The sequence of the last update.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Subscription ids, and the clients of each.
    pub(super) fn members(&self) -> impl Iterator<Item = (u32, &[ClientId])> {
        self.members.iter().map(|(id, clients)| (*id, clients.as_slice()))
    }

    /// Takes this tick's rows, one message each, and the sequence before the first.
    pub(super) fn take_rows(&mut self, budget: &Budget) -> (Parts, u64) {
        let taken = std::mem::take(&mut self.rows).into_parts(budget);
        let before = self.sequence;
        self.sequence += taken.len() as u64;
        (taken, before)
    }

    /// Whether a scan runs.
    pub(super) const fn is_scanning(&self) -> bool {
        !matches!(self.since, Since::Idle)
    }

    /// Marks the beginning of a scan.
    pub(super) fn begin(&mut self) {
        self.since = Since::Changed(FxHashMap::default());
    }

    /// Invalidates the running scan.
    pub(super) fn invalidate_scan(&mut self) {
        if self.is_scanning() {
            self.since = Since::Void;
        }
    }

    /// Marks the end of a scan. Returns the rows that changed meanwhile, or `None` if it was
    /// invalid.
    pub(super) fn end(&mut self) -> Option<Rows> {
        match std::mem::take(&mut self.since) {
            Since::Changed(changed) => {
                let mut rows = Rows::default();
                for row in changed.values() {
                    rows.push(|out| out.push_str(row));
                }
                Some(rows)
            }
            Since::Idle | Since::Void => None,
        }
    }

    fn push(&mut self, key: &Key, row: &str) {
        // A group without members has only pending subscriptions.
        if !self.members.is_empty() {
            self.rows.push(|out| out.push_str(row));
        }
        if let Since::Changed(changed) = &mut self.since {
            changed.insert(Arc::clone(key), row.to_owned());
            if changed.len() > MAX_CHANGED {
                self.since = Since::Void;
            }
        }
    }

    /// Removes all members, with their subscription ids.
    pub(super) fn take_members(&mut self) -> Vec<(u32, ClientId)> {
        let members = std::mem::take(&mut self.members).into_iter();
        members.flat_map(|(id, who)| who.into_iter().map(move |client| (id, client))).collect()
    }

    fn is_idle(&self) -> bool {
        self.members.is_empty() && self.waiting.is_empty() && !self.is_scanning()
    }
}

/// The updates of one tick for the subscribers with this id. Each message has the next sequence,
/// and the last one has the token.
pub(super) fn updates(id: u32, before: u64, parts: &Parts, resume: &Arc<str>) -> Frames {
    let last = parts.len() - 1;
    let frame = |(index, part): (usize, &Arc<SharedText>)| -> Frame {
        let sequence = before + 1 + index as u64;
        rows("update", id, sequence, (1, 1), part, (index == last).then_some(resume))
    };
    parts.iter().enumerate().map(frame).collect()
}

/// All groups.
#[derive(Default)]
pub(super) struct Groups {
    /// Parts that patterns name: the number of each, and how many patterns name it.
    names: HashMap<String, (u32, usize)>,
    last_name: u32,
    by_pattern: FxHashMap<Selector, SubscriptionGroup>,
}

impl Groups {
    /// The number of a part, if some pattern names it.
    fn number(&self, part: &str) -> Option<u32> {
        self.names.get(part).map(|(number, _)| *number)
    }

    fn selector(&self, pattern: &Pattern) -> Option<Selector> {
        let mut numbers = [ANY; PARTS];
        for (number, part) in numbers.iter_mut().zip(pattern.named()) {
            if let Some(part) = part {
                *number = self.number(part)?;
            }
        }
        Some((pattern.channel, numbers))
    }

    fn name(&mut self, part: Option<&String>) -> u32 {
        let Some(part) = part else { return ANY };
        if let Some((number, users)) = self.names.get_mut(part) {
            *users += 1;
            return *number;
        }
        self.last_name += 1;
        self.names.insert(part.clone(), (self.last_name, 1));
        self.last_name
    }

    /// Adds a client to the group of a pattern.
    pub(super) fn join(&mut self, pattern: &Pattern, id: u32, client: ClientId) {
        self.open(pattern).members.entry(id).or_default().push(client);
    }

    /// The group of a pattern, created if absent. An unused group is removed at the end of the
    /// tick.
    pub(super) fn open(&mut self, pattern: &Pattern) -> &mut SubscriptionGroup {
        let selector = match self.selector(pattern) {
            Some(selector) if self.by_pattern.contains_key(&selector) => selector,
            _ => {
                let parts = pattern.named().map(|part| self.name(part.as_ref()));
                (pattern.channel, parts)
            }
        };
        self.by_pattern.entry(selector).or_insert_with(|| SubscriptionGroup {
            pattern: pattern.clone(),
            sequence: 0,
            rows: Rows::default(),
            members: BTreeMap::new(),
            waiting: Vec::new(),
            since: Since::Idle,
        })
    }

    /// Removes a client's subscription, pending or not. The group stays until the end of the tick.
    pub(super) fn leave(&mut self, pattern: &Pattern, id: u32, client: ClientId) {
        let Some(selector) = self.selector(pattern) else { return };
        let Some(group) = self.by_pattern.get_mut(&selector) else { return };
        group.waiting.retain(|wanted| wanted.client != client || wanted.id != id);
        if let Some(clients) = group.members.get_mut(&id) {
            if let Some(at) = clients.iter().position(|known| *known == client) {
                clients.swap_remove(at);
            }
            if clients.is_empty() {
                group.members.remove(&id);
            }
        }
    }

    /// The group of a pattern, if there is one.
    pub(super) fn group(&mut self, pattern: &Pattern) -> Option<&mut SubscriptionGroup> {
        let selector = self.selector(pattern)?;
        self.by_pattern.get_mut(&selector)
    }

    /// Whether a channel has a group.
    pub(super) fn has(&self, channel: Channel) -> bool {
        self.by_pattern.keys().any(|(of, _)| *of == channel)
    }

    /// Gives the row of a changed key to every group that its pair matches. `row` is called at most
    /// once.
    pub(super) fn push(
        &mut self,
        channel: Channel,
        key: &Key,
        pair: &PairKey,
        row: impl FnOnce() -> Option<String>,
    ) {
        if channel == Channel::Swaps && pair.base.is_empty() {
            return self.push_to_all(channel, key, pair, row);
        }
        let said = (channel == Channel::Options).then(|| market(&pair.base)).flatten();
        let (currency, expiry) = said.as_ref().map(|(c, e)| (c.as_str(), e.as_str())).unzip();
        let parts = [&pair.base, &pair.quote, &pair.exchange].map(|part| Some(part.as_str()));
        let [base, quote, exchange] = parts;
        let known = [base, quote, exchange, currency, expiry]
            .map(|part| part.and_then(|part| self.number(part)).unwrap_or(ANY));
        // Only options have the last two parts.
        let masks: u32 = if said.is_some() { 1 << PARTS } else { 1 << parts.len() };
        let mut row = Some(row);
        let mut text: Option<String> = None;
        for mask in 0..masks {
            let mut numbers = [ANY; PARTS];
            let named = || (0..PARTS).filter(|bit| mask & (1 << bit) != 0);
            // A part without a number is matched by `*` only, and only once.
            if named().any(|bit| known[bit] == ANY) {
                continue;
            }
            named().for_each(|bit| numbers[bit] = known[bit]);
            let Some(group) = self.by_pattern.get_mut(&(channel, numbers)) else { continue };
            if let Some(row) = row.take() {
                text = row();
            }
            let Some(text) = &text else { return };
            group.push(key, text);
        }
    }

    /// Gives the row of a key whose address is not known to every group that it may be for. Such rows are
    /// deletions, which are rare.
    fn push_to_all(
        &mut self,
        channel: Channel,
        key: &Key,
        pair: &PairKey,
        row: impl FnOnce() -> Option<String>,
    ) {
        let is_for = |group: &&mut SubscriptionGroup| {
            group.pattern.channel == channel && group.pattern.matches(pair)
        };
        let mut groups = self.by_pattern.values_mut().filter(is_for).peekable();
        let Some(text) = groups.peek().is_some().then(row).flatten() else { return };
        groups.for_each(|group| group.push(key, &text));
    }

    /// Every group.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut SubscriptionGroup> {
        self.by_pattern.values_mut()
    }

    /// Removes unused groups at the end of a tick.
    pub(super) fn settle(&mut self) {
        let mut gone = Vec::new();
        self.by_pattern.retain(|_, group| {
            let stays = !group.is_idle();
            if !stays {
                gone.push(group.pattern.clone());
            }
            stays
        });
        for pattern in gone {
            for part in pattern.named().into_iter().flatten() {
                if let Some((_, users)) = self.names.get_mut(part) {
                    *users -= 1;
                    if *users == 0 {
                        self.names.remove(part);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::pattern::AskedParts;
    use super::*;

    fn pattern(parts: [Option<u8>; 3]) -> Pattern {
        let [base, quote, exchange] = parts.map(|part| part.map(|part| part.to_string()));
        let parts = AskedParts { base, quote, exchange, ..AskedParts::default() };
        Pattern::new(Channel::Latest, parts).unwrap()
    }

    /// A pattern of options, whose parts are among a few values.
    fn of_options(parts: [Option<u8>; 5]) -> Pattern {
        let [name, currency, expiry, quote, exchange] = parts;
        let parts = AskedParts {
            instrument: name.map(|n| option(n % 3, n / 3)),
            currency: currency.map(|n| format!("C{n}")),
            expiry: expiry.map(|n| format!("{}DEC26", n + 1)),
            quote: quote.map(|n| n.to_string()),
            exchange: exchange.map(|n| n.to_string()),
            ..AskedParts::default()
        };
        Pattern::new(Channel::Options, parts).unwrap()
    }

    fn option(currency: u8, expiry: u8) -> String {
        format!("C{currency}-{}DEC26-1d5-C", expiry + 1)
    }

    proptest! {
        /// After any subscribes and unsubscribes, a row reaches exactly the groups whose pattern it
        /// matches.
        #[test]
        fn a_row_reaches_whoever_asked_for_it_and_nobody_else(
            patterns in vec([any_part(), any_part(), any_part()], 0..12),
            leaves in vec(any::<bool>(), 12),
            pair in [0..3_u8, 0..3_u8, 0..3_u8],
        ) {
            let mut groups = Groups::default();
            for (client, parts) in (0..).zip(&patterns) {
                groups.join(&pattern(*parts), 1, client);
            }
            for ((client, parts), _) in
                (0..).zip(&patterns).zip(&leaves).filter(|(_, leaves)| **leaves)
            {
                groups.leave(&pattern(*parts), 1, client);
            }
            groups.settle();
            let [base, quote, exchange] = pair.map(|part| part.to_string());
            let pair = PairKey::new(base, quote, exchange);
            let budget = Budget::new(1);
            groups.push(Channel::Latest, &[1][..].into(), &pair, || Some("{}".into()));
            let mut told = Vec::new();
            for group in groups.all() {
                let (parts, before) = group.take_rows(&budget);
                prop_assert_eq!((before, parts.len()), (0, 1));
                if !parts[0].is_empty() {
                    prop_assert_eq!(&**parts[0], "{}");
                    told.extend(group.members().flat_map(|(_, clients)| clients.to_vec()));
                }
            }
            told.sort_unstable();
            let stay = (0..).zip(&patterns).zip(&leaves).filter(|(_, leaves)| !**leaves);
            let expected: Vec<ClientId> = stay
                .filter(|((_, parts), _)| pattern(**parts).matches(&pair))
                .map(|((client, _), _)| client)
                .collect();
            prop_assert_eq!(told, expected);
        }
    }

    proptest! {
        /// The same of options, whose names say two more parts.
        #[test]
        fn an_option_reaches_whoever_asked_for_its_currency_expiry_or_name(
            patterns in vec([any_part(), any_part(), any_part(), any_part(), any_part()], 0..12),
            of in [0..3_u8, 0..3_u8, 0..3_u8, 0..3_u8],
        ) {
            let mut groups = Groups::default();
            for (client, parts) in (0..).zip(&patterns) {
                groups.join(&of_options(*parts), 1, client);
            }
            let [currency, expiry, quote, exchange] = of;
            let name = option(currency, expiry);
            let pair = PairKey::new(name, quote.to_string(), exchange.to_string());
            groups.push(Channel::Options, &[1][..].into(), &pair, || Some("{}".into()));
            let budget = Budget::new(1);
            let mut told = Vec::new();
            for group in groups.all() {
                if !group.take_rows(&budget).0[0].is_empty() {
                    told.extend(group.members().flat_map(|(_, clients)| clients.to_vec()));
                }
            }
            told.sort_unstable();
            let expected: Vec<ClientId> = (0..)
                .zip(&patterns)
                .filter(|(_, parts)| of_options(**parts).matches(&pair))
                .map(|(client, _)| client)
                .collect();
            prop_assert_eq!(told, expected);
        }
    }

    fn any_part() -> impl Strategy<Value = Option<u8>> {
        proptest::option::of(0..3_u8)
    }

    #[test]
    fn sequences_count_messages_and_the_last_has_the_token() {
        let resume: Arc<str> = "t".into();
        let part = SharedText::new("{}".into(), &Budget::new(1));
        let frames = updates(3, 7, &vec![Arc::clone(&part), part], &resume);
        let said: Vec<serde_json::Value> =
            frames.iter().map(|frame| serde_json::from_str(&frame.text()).unwrap()).collect();
        assert_eq!(
            (&said[0]["sequence"], &said[0]["resume"]),
            (&8.into(), &serde_json::Value::Null)
        );
        assert_eq!((&said[1]["sequence"], &said[1]["resume"]), (&9.into(), &"t".into()));
    }
}
