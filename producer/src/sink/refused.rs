//! Records that Kafka refused, and the attempts before one is given up.
//!
//! ```text
//! record ─ refused ─→ once more, alone ─ refused ─→ dead letter ─ refused ─→ shorter, alone ─→ given up
//!             │        (a batch is refused as a whole)    ▲
//!             └─ not for its size or form ────────────────┘
//! ```
//!
//! A spooled record stays in the spool until Kafka has the record or its dead letter. A record that
//! was given up is moved to the spool's `damaged/`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use streams::dead_letter::{MAX_BYTES, VALUE_BYTES, cut};

use crate::labels::{EXCHANGES, REFUSED};
use crate::sink::parcel::{Parcel, Tag, Target};

/// Sendings of a dead letter. Each but the first is alone, and a quarter as long as the one before:
/// the last is 4 KiB, which any topic takes that takes events.
const LETTER_SENDINGS: u32 = 3;
/// Characters of the client's words that are kept.
const MAX_DETAIL_CHARS: usize = 256;

/// A record that Kafka refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) tag: Tag,
    /// The client's words.
    pub(crate) detail: String,
    /// The refusal may be that of another record of the same batch.
    pub(crate) of_batch: bool,
}

/// The reaction to a refused record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// It is sent once more.
    Again(Refused),
    /// Its dead letter is sent.
    Letter(Refused),
    /// The record is kept: a person must look at it.
    GiveUp(Refused),
}

impl Refused {
    /// The client itself takes no record of that size, alone or not.
    pub(crate) fn by_client(parcel: &Parcel<'_>, tag: Tag, detail: String) -> Self {
        let headers = parcel.headers.iter();
        Self {
            key: parcel.key.to_vec(),
            value: parcel.value.to_vec(),
            headers: headers.map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
            tag,
            detail,
            of_batch: false,
        }
    }

    /// The reaction to the refusal.
    pub(crate) fn remedy(mut self) -> Remedy {
        self.tag.sendings += 1;
        if self.tag.target == Target::DeadLetters {
            if self.tag.sendings >= LETTER_SENDINGS {
                return Remedy::GiveUp(self);
            }
            let room = MAX_BYTES >> (2 * self.tag.sendings);
            return Remedy::Again(self.shortened(room));
        }
        if self.of_batch && self.tag.sendings == 1 {
            return Remedy::Again(self);
        }
        let length = self.value.len().to_string();
        let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        self.headers = vec![
            text("source", "producer"),
            text("venue", EXCHANGES[self.tag.label]),
            text("reason", REFUSED),
            text("detail", &self.detail.chars().take(MAX_DETAIL_CHARS).collect::<String>()),
            text("bytes", &length),
        ];
        self.tag = Tag { target: Target::DeadLetters, sendings: 0, ..self.tag };
        Remedy::Letter(self.shortened(MAX_BYTES))
    }

    /// Cut to this many bytes; a header has the original length once.
    fn shortened(mut self, room: usize) -> Self {
        let (key, value, headers) = {
            let cut = cut(&self.key, Some(&self.value), room);
            (cut.key.to_vec(), cut.value.unwrap_or_default().to_vec(), cut.headers)
        };
        if !self.headers.iter().any(|(name, _)| name == VALUE_BYTES) {
            self.headers.extend(headers.into_iter().map(|(name, text)| (name.to_owned(), text)));
        }
        Self { key, value, ..self }
    }

    /// The record in the form that the sink sends.
    pub(crate) fn parcel(&self) -> Parcel<'_> {
        Parcel {
            target: self.tag.target,
            venue: EXCHANGES[self.tag.label],
            key: &self.key,
            value: &self.value,
            headers: self.headers.iter().map(|(name, text)| (&name[..], &text[..])).collect(),
        }
    }
}

/// The records that Kafka refused, until the sink handles them. They are at most as many as the
/// client's queue holds, because the sink handles them before it queues more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals {
    /// Between the client's thread and the sink's; held to push or pop one.
    queue: Arc<Mutex<VecDeque<Refused>>>,
}

impl Refusals {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Refused>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, refused: Refused) {
        self.queue().push_back(refused);
    }

    /// There was no room for it in the client's queue: it is the next again.
    pub(crate) fn push_front(&self, refused: Refused) {
        self.queue().push_front(refused);
    }

    pub(crate) fn pop(&self) -> Option<Refused> {
        self.queue().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::parcel::PairTopic;

    fn refused(bytes: usize, of_batch: bool) -> Refused {
        let target = Target::Key(PairTopic::Quotes);
        let tag = Tag { target, label: 0, number: 7, received: None, sendings: 0 };
        Refused {
            key: b"key".to_vec(),
            value: vec![1; bytes],
            headers: Vec::new(),
            tag,
            detail: "too large".into(),
            of_batch,
        }
    }

    fn header<'a>(refused: &'a Refused, name: &str) -> Option<&'a str> {
        let mut found = refused.headers.iter().filter(|(own, _)| own == name);
        let text = found.next().map(|(_, text)| &text[..]);
        assert!(found.next().is_none(), "{name} is said once");
        text
    }

    #[test]
    fn a_record_of_a_refused_batch_is_sent_once_more_before_it_is_a_dead_letter() {
        let Remedy::Again(again) = refused(10, true).remedy() else { panic!("not again") };
        assert_eq!((again.tag.sendings, again.value.len()), (1, 10));
        let Remedy::Letter(letter) = again.remedy() else { panic!("no letter") };
        assert_eq!((letter.tag.target, letter.tag.number), (Target::DeadLetters, 7));
        assert_eq!((&letter.key[..], letter.value.len()), (&b"key"[..], 10));
        assert_eq!(header(&letter, "detail"), Some("too large"));
        assert!(matches!(refused(10, false).remedy(), Remedy::Letter(_)));
    }

    #[test]
    fn a_refused_dead_letter_becomes_shorter_and_is_given_up_at_last() {
        let Remedy::Letter(letter) = refused(1 << 20, false).remedy() else { panic!("no letter") };
        let (mut lengths, mut next) = (Vec::new(), letter);
        let given_up = loop {
            assert_eq!(header(&next, VALUE_BYTES), Some("1048576"));
            assert_eq!(header(&next, "bytes"), Some("1048576"));
            lengths.push(next.key.len() + next.value.len());
            match next.remedy() {
                Remedy::Again(shorter) => next = shorter,
                Remedy::GiveUp(given_up) => break given_up,
                Remedy::Letter(letter) => panic!("{letter:?}"),
            }
        };
        assert_eq!(lengths, [MAX_BYTES, MAX_BYTES / 4, MAX_BYTES / 16]);
        assert_eq!(given_up.tag.number, 7);
    }
}
