//! Which connection carries which stream, and where a new stream has room.
//!
//! The plan fills the connections; while they stand, instruments are listed and end. A new instrument goes to
//! the connection with the most room, whichever announces it: room that an expiry has left is used again.
//!
//! Invariants:
//! - A stream is carried by one connection at most.
//! - A connection never carries more streams than it may.

use std::collections::BTreeSet;

/// The place of some streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A connection carries them already.
    Carried,
    /// This connection takes them: its name.
    At(String),
    /// No connection has room for all of them.
    Full,
}

/// The streams of one connection.
#[derive(Debug)]
struct Room {
    connection: String,
    streams: BTreeSet<String>,
    most: usize,
}

impl Room {
    fn free(&self) -> usize {
        self.most.saturating_sub(self.streams.len())
    }
}

/// The streams of all connections of a process.
///
/// ```
/// use producer::feed::rooms::{Place, Rooms};
/// let mut rooms = Rooms::default();
/// rooms.open("deribit-0", ["a"].map(String::from), 2);
/// rooms.open("deribit-1", [], 2);
/// let new = ["b".to_owned(), "c".to_owned()];
/// assert_eq!(rooms.place(&new), Place::At("deribit-1".into()));
/// assert_eq!(rooms.place(&new), Place::Carried);
/// assert_eq!(rooms.place(&["d".to_owned(), "e".to_owned()]), Place::Full);
/// rooms.release(&new);
/// assert_eq!(rooms.place(&["d".to_owned(), "e".to_owned()]), Place::At("deribit-1".into()));
/// ```
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: Vec<Room>,
}

impl Rooms {
    /// A connection begins with these streams, and may carry this many.
    pub fn open(
        &mut self,
        connection: &str,
        streams: impl IntoIterator<Item = String>,
        most: usize,
    ) {
        let streams = streams.into_iter().collect();
        self.rooms.push(Room { connection: connection.to_owned(), streams, most });
    }

    /// Finds a place for new streams and reserves it: all of them on one connection, the first of those with
    /// the most room.
    pub fn place(&mut self, streams: &[String]) -> Place {
        if streams.iter().all(|stream| self.carries(stream)) {
            return Place::Carried;
        }
        // The last of the greatest is taken, and the first one is wanted.
        let Some(room) = self.rooms.iter_mut().rev().max_by_key(|room| room.free()) else {
            return Place::Full;
        };
        if room.free() < streams.len() {
            return Place::Full;
        }
        room.streams.extend(streams.iter().cloned());
        Place::At(room.connection.clone())
    }

    /// These streams have ended.
    pub fn release(&mut self, streams: &[String]) {
        for room in &mut self.rooms {
            room.streams.retain(|stream| !streams.contains(stream));
        }
    }

    fn carries(&self, stream: &str) -> bool {
        self.rooms.iter().any(|room| room.streams.contains(stream))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the rule itself: one connection a stream, no connection above its most, and full only when
        /// no connection has room.
        #[test]
        fn streams_are_carried_once_and_within_the_limit(
            steps in prop::collection::vec((any::<bool>(), 0usize..12), 1..80),
        ) {
            const MOST: usize = 5;
            let mut rooms = Rooms::default();
            for name in ["a", "b"] {
                rooms.open(name, [format!("of {name}")], MOST);
            }
            let mut carried = BTreeSet::new();
            for (is_new, instrument) in steps {
                let streams = [format!("{instrument} trades"), format!("{instrument} ticker")];
                if is_new {
                    let free: Vec<_> = rooms.rooms.iter().map(Room::free).collect();
                    match rooms.place(&streams) {
                        Place::Carried => prop_assert!(carried.contains(&instrument)),
                        Place::At(_) => prop_assert!(carried.insert(instrument)),
                        Place::Full => {
                            prop_assert!(!carried.contains(&instrument));
                            prop_assert!(free.iter().all(|free| *free < streams.len()), "{free:?}");
                        }
                    }
                } else {
                    rooms.release(&streams);
                    carried.remove(&instrument);
                }
                let all: usize = rooms.rooms.iter().map(|room| room.streams.len()).sum();
                prop_assert_eq!(all, 2 + 2 * carried.len());
                prop_assert!(rooms.rooms.iter().all(|room| room.streams.len() <= MOST));
            }
        }
    }

    #[test]
    fn the_first_of_the_connections_with_the_most_room_is_taken() {
        let mut rooms = Rooms::default();
        assert_eq!(rooms.place(&["x".to_owned()]), Place::Full, "there is no connection");
        rooms.open("a", ["1".to_owned()], 4);
        rooms.open("b", [], 3);
        assert_eq!(rooms.place(&["x".to_owned()]), Place::At("a".into()));
        assert_eq!(rooms.place(&["y".to_owned()]), Place::At("b".into()));
    }
}
